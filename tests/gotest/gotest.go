// Package gotest reads what test binaries print under -test.v, and tells what passed, what failed and what was skipped.
// It starts nothing: the tests run here or in the guest.
package gotest

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A Count adds up results.
type Count struct{ Passed, Failed, Skipped int }

// Add adds d to c.
func (c *Count) Add(d Count) {
	c.Passed += d.Passed
	c.Failed += d.Failed
	c.Skipped += d.Skipped
}

// A Reader takes in the output of a test binary started with -test.v and keeps the lines of each test apart.
type Reader struct {
	lines   map[string][]string
	current string
	result  map[string]string // PASS, FAIL or SKIP
	seconds map[string]float64
	last    []string
}

var (
	headLine   = regexp.MustCompile(`^=== (?:RUN|NAME|CONT|PAUSE)\s+(\S+)$`)
	resultLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)
)

// NewReader returns a Reader that has read nothing.
func NewReader() *Reader {
	return &Reader{lines: map[string][]string{}, result: map[string]string{}, seconds: map[string]float64{}}
}

// Read takes in lines until in ends.
func (r *Reader) Read(in io.Reader) {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<20), 64<<20)
	for s.Scan() {
		r.Line(s.Text())
	}
	io.Copy(io.Discard, in)
}

// Line takes in one line.
func (r *Reader) Line(line string) {
	if r.last = append(r.last, line); len(r.last) > 60 {
		r.last = r.last[1:]
	}
	if m := headLine.FindStringSubmatch(line); m != nil {
		r.current = m[1]
		return
	}
	if m := resultLine.FindStringSubmatch(line); m != nil {
		r.result[m[2]], r.current = m[1], m[2]
		r.seconds[m[2]], _ = strconv.ParseFloat(m[3], 64)
		return
	}
	r.lines[r.current] = append(r.lines[r.current], line)
}

// Tail is the end of the output, for when it says nothing that can be told apart.
func (r *Reader) Tail() string { return strings.Join(r.last, "\n") + "\n" }

// Slowest prints the n tests that took longest, with their seconds; tests that hold others are not among them.
func (r *Reader) Slowest(w io.Writer, n int) {
	var names []string
	for name := range r.seconds {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.seconds)), func(s string) bool { return strings.HasPrefix(s, name+"/") }) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(r.seconds[b], r.seconds[a]) })
	for _, name := range names[:min(n, len(names))] {
		fmt.Fprintf(w, "    %7.1f s %s\n", r.seconds[name], name)
	}
}

// Report prints what failed and what was skipped. A test whose result never came is a failure too.
func (r *Reader) Report(w io.Writer, part string, allowed []*regexp.Regexp) Count {
	var c Count
	names := make([]string, 0, len(r.result))
	for name := range r.lines {
		if _, ok := r.result[name]; !ok && name != "" && r.current == name {
			r.result[name] = "FAIL"
		}
	}
	for name := range r.result {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		text := strings.Join(r.lines[name], "\n")
		switch r.result[name] {
		case "PASS":
			c.Passed++
		case "SKIP":
			c.Skipped++
			fmt.Fprintf(w, "SKIP %s: %s\n", name, strings.TrimSpace(text))
			if os.Getenv("CI") == "true" && !matches(allowed, part+": "+name) {
				fmt.Fprintf(w, "FAIL %s: skipped, and tests/skips.txt does not allow it\n", name)
				c.Failed++
			}
		case "FAIL":
			c.Failed++
			fmt.Fprintf(w, "FAIL %s\n%s\n", name, text)
		}
	}
	return c
}

func matches(list []*regexp.Regexp, name string) bool {
	for _, re := range list {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

// ReadAllowedSkips reads one regular expression per line; `#` starts a comment, which must say why.
func ReadAllowedSkips(path string) ([]*regexp.Regexp, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []*regexp.Regexp
	for line := range bytes.Lines(b) {
		text, _, _ := strings.Cut(string(line), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		re, err := regexp.Compile("^(?:" + text + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, re)
	}
	return list, nil
}
