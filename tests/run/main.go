// Command run is what `make test` starts: it sets the machine up, builds, puts binaries and sources where an
// unprivileged user can read them, runs every part of the tests as the users they are meant for, and prints the time
// of each part. It does not test anything itself.
//
//	go run ./tests/run [-only unit|e2e|real] [-all] [-run REGEXP]
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

// The names that tests/setup.sh makes: the users with and without sub-ids, and the world-readable place that it fills.
var (
	as       = cmp.Or(os.Getenv("SBX_TEST_AS"), "sbx")
	withIDs  = as + "test"
	noSubIDs = as + "nosub"
	stage    = "/var/lib/" + as + "-test"
)

type options struct {
	only string
	all  bool
	run  string
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "one part: unit, e2e or real")
	flag.BoolVar(&o.all, "all", false, "also the long scripts")
	flag.StringVar(&o.run, "run", "", "only tests and scripts that match")
	flag.Parse()
	start := time.Now()
	total, err := testAll(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/run:", err)
		os.Exit(2)
	}
	fmt.Printf("%-28s %7.1f s\n", "all parts", time.Since(start).Seconds())
	if total.skipped > 0 {
		fmt.Printf("%d skipped, each named above with its reason\n", total.skipped)
	}
	fmt.Printf("%d passed, %d failed\n", total.passed, total.failed)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

// testAll runs the steps in order; a step before the tests that fails ends the run.
func testAll(o options) (count, error) {
	var total count
	allowed, err := readAllowedSkips("tests/skips.txt")
	if err != nil {
		return total, err
	}
	dir, err := os.MkdirTemp("", "sbx-test-bin")
	if err != nil {
		return total, err
	}
	defer os.RemoveAll(dir)
	var pkgs []string
	steps := []struct {
		name string
		do   func() error
	}{
		{"set-up", func() error { return setup("prepare") }},
		{"source of hello", func() error { return setup("hello") }},
		{"build", func() (err error) { pkgs, err = build(dir); return err }},
		{"copy to the test users", func() error { return setup("stage", dir, goEnv("GOMODCACHE")) }},
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.do(); err != nil {
			return total, fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("%-28s %7.1f s\n", s.name, time.Since(began).Seconds())
	}
	for _, p := range parts(pkgs, o) {
		total.add(p.run(allowed))
	}
	return total, nil
}

// A part is one test binary run as one user.
type part struct {
	name string
	user string
	dir  string // below the staged source tree
	args []string
	env  []string
}

func parts(pkgs []string, o options) []part {
	var ps []part
	want := func(kind string) bool { return o.only == "" || o.only == kind }
	filter := []string{}
	if o.run != "" {
		filter = []string{"-test.run=" + o.run}
	}
	if want("unit") {
		for _, pkg := range pkgs {
			args := append([]string{stage + "/bin/" + testBinary(pkg), "-test.v", "-test.timeout=10m"}, filter...)
			ps = append(ps, part{name: "unit " + pkg, user: withIDs, dir: pkg, args: args})
			if pkg == "userns" || pkg == "sandbox" {
				ps = append(ps,
					part{name: "unit " + pkg + " (no sub-ids)", user: noSubIDs, dir: pkg, args: args},
					part{name: "unit " + pkg + " (root)", user: "root", dir: pkg, args: args})
			}
		}
	}
	if want("e2e") {
		for _, user := range []string{withIDs, noSubIDs, "root"} {
			ps = append(ps, scripts("scripts as "+user, user, "TestScripts/"+o.run, o.all))
		}
		if o.run == "" {
			ps = append(ps, scripts("documents", withIDs, "Test(ManPage|SafeEnv|Promises)", o.all))
		}
	}
	if want("real") {
		ps = append(ps, scripts("real input", withIDs, "TestReal/"+o.run, o.all))
	}
	return ps
}

func scripts(name, user, run string, all bool) part {
	env := []string{}
	if all {
		env = append(env, "SBX_TEST_LONG=1")
	}
	return part{name: name, user: user, dir: "tests/e2e", env: env,
		args: []string{stage + "/bin/e2e.test", "-test.v", "-test.timeout=20m", "-test.run=" + run}}
}

// run prints failing tests whole, skips with their reason, and one line at the end.
func (p part) run(allowed []*regexp.Regexp) count {
	began := time.Now()
	cmd := asUser(p.user, filepath.Join(stage, "src", p.dir), p.env, p.args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return p.broken(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return p.broken(err)
	}
	r := newReader()
	r.read(out)
	err = cmd.Wait()
	c := r.report(os.Stdout, allowed)
	if err != nil && c.failed == 0 {
		fmt.Printf("%s: %v\n%s", p.name, err, r.tail())
		c.failed++
	}
	fmt.Printf("%-28s %7.1f s   %d passed, %d failed, %d skipped\n", p.name, time.Since(began).Seconds(), c.passed, c.failed, c.skipped)
	return c
}

func (p part) broken(err error) count {
	fmt.Printf("%s: %v\n", p.name, err)
	return count{failed: 1}
}

// asUser builds a command that runs as user in a session, an environment and a folder of its own.
func asUser(user, dir string, env []string, args ...string) *exec.Cmd {
	full := []string{"setsid", "--wait", "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all",
		"--reset-env", "env", "-C", dir, "PATH=" + stage + "/bin:" + filepath.Join(goEnv("GOROOT"), "bin") +
			":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "STAGE=" + stage, "GOMODCACHE=" + stage + "/modcache", "GOPROXY=off", "GOFLAGS=-mod=mod -buildvcs=false",
		"GOTOOLCHAIN=local", "CI=" + os.Getenv("CI")}
	full = append(full, env...)
	return root(append(full, args...)...)
}

// root builds a command that runs as root: as it is for root, through sudo for others.
func root(args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

func setup(args ...string) error {
	cmd := root(append([]string{"env", "SBX_TEST_AS=" + as, "tests/setup.sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// build compiles sbx, the helper programs of the tests and each package's test binary into dir.
func build(dir string) ([]string, error) {
	if err := goRun("build", "-trimpath", "-o", dir+"/", "./cmd/...", "./tests/attacks", "./tests/enosys", "./bench"); err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var pkgs []string
	for _, path := range strings.Fields(string(out)) {
		pkg := strings.TrimPrefix(path, "sbx/")
		if err := goRun("test", "-c", "-trimpath", "-o", filepath.Join(dir, testBinary(pkg)), "./"+pkg); err != nil {
			return nil, err
		}
		if pkg != "tests/e2e" {
			pkgs = append(pkgs, pkg)
		}
	}
	return pkgs, nil
}

func testBinary(pkg string) string {
	if pkg == "tests/e2e" {
		return "e2e.test"
	}
	return strings.ReplaceAll(pkg, "/", "_") + ".unit.test"
}

func goRun(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out))
}

type count struct{ passed, failed, skipped int }

func (c *count) add(d count) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
}

// A reader takes in the output of a test binary started with -test.v and keeps the lines of each test apart.
type reader struct {
	lines   map[string][]string
	current string
	result  map[string]string // PASS, FAIL or SKIP
	last    []string
}

var (
	headLine   = regexp.MustCompile(`^=== (?:RUN|NAME|CONT|PAUSE)\s+(\S+)$`)
	resultLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)
)

func newReader() *reader {
	return &reader{lines: map[string][]string{}, result: map[string]string{}}
}

func (r *reader) read(in io.Reader) {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<20), 64<<20)
	for s.Scan() {
		r.line(s.Text())
	}
	io.Copy(io.Discard, in)
}

func (r *reader) line(line string) {
	if r.last = append(r.last, line); len(r.last) > 60 {
		r.last = r.last[1:]
	}
	if m := headLine.FindStringSubmatch(line); m != nil {
		r.current = m[1]
		return
	}
	if m := resultLine.FindStringSubmatch(line); m != nil {
		r.result[m[2]], r.current = m[1], m[2]
		return
	}
	r.lines[r.current] = append(r.lines[r.current], line)
}

func (r *reader) tail() string { return strings.Join(r.last, "\n") + "\n" }

// report prints what failed and what was skipped. A test whose result never came is a failure too.
func (r *reader) report(w io.Writer, allowed []*regexp.Regexp) count {
	var c count
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
			c.passed++
		case "SKIP":
			c.skipped++
			fmt.Fprintf(w, "SKIP %s: %s\n", name, strings.TrimSpace(text))
			if os.Getenv("CI") == "true" && !matches(allowed, name) {
				fmt.Fprintf(w, "FAIL %s: skipped, and tests/skips.txt does not allow it\n", name)
				c.failed++
			}
		case "FAIL":
			c.failed++
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

// readAllowedSkips reads one regular expression per line; `#` starts a comment, which must say why.
func readAllowedSkips(path string) ([]*regexp.Regexp, error) {
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
