package review

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Patch is a change as text: hunks of lines, or a word where it is no text.
type Patch struct {
	// Binary says that one of the sides is no text, or larger than what is compared line by line.
	Binary bool
	Hunks  []Hunk
	old    string
}

// Hunk is some lines that belong together. Lines count from 1.
type Hunk struct {
	OldLine, OldCount, NewLine, NewCount int
	Lines                                []Line
}

// Line is one line, with its line feed where it has one. Mark is ' ', '-' or '+'.
type Line struct {
	Mark byte
	Text string
}

// Patch compares the two sides of a change line by line. What it shows is what Apply will take: the digest
// of what was read is held against what is copied.
func (c *Change) Patch() (*Patch, error) {
	old, new, ok, err := c.sides()
	if err != nil || !ok {
		return &Patch{Binary: err == nil}, err
	}
	return compareText(string(old), string(new)), nil
}

// Choose makes the text that has some of the hunks and, elsewhere, the host's lines.
func (p *Patch) Choose(chosen func(i int) bool) []byte {
	lines := strings.SplitAfter(p.old, "\n")
	var out strings.Builder
	at := 0 // lines of the old text that are written
	for i, h := range p.Hunks {
		if !chosen(i) {
			continue
		}
		begin := max(h.OldLine-1, 0)
		for ; at < begin; at++ {
			out.WriteString(lines[at])
		}
		for _, l := range h.Lines {
			if l.Mark != '-' {
				out.WriteString(l.Text)
			}
		}
		at = begin + h.OldCount
	}
	for ; at < len(lines); at++ {
		out.WriteString(lines[at])
	}
	return []byte(out.String())
}

// sides reads both sides of a change; ok is false where it is no text.
func (c *Change) sides() (old, new []byte, ok bool, err error) {
	plain := func(n *node) bool { return n == nil || n.regular() && n.Size <= maxText }
	if !plain(c.old) || !plain(c.new) || c.old == nil && c.new == nil {
		return nil, nil, false, nil
	}
	from := c.Path
	oldNode := c.old
	if c.Kind == Renamed {
		from = c.From
		if oldNode, err = c.held.host.lookup(from); err != nil || !plain(oldNode) {
			return nil, nil, false, err
		}
	}
	if oldNode != nil {
		if old, _, err = readText(c.held.host, from); err != nil {
			return nil, nil, false, err
		}
	}
	if c.new != nil {
		var sum string
		if new, sum, err = readText(c.held.upper, c.Path); err != nil {
			return nil, nil, false, err
		}
		c.digest = sum
	}
	return old, new, isText(old) && isText(new), nil
}

// isText tells what can be shown line by line. A byte that is not UTF-8 is shown escaped.
func isText(text []byte) bool {
	return bytes.IndexByte(text, 0) < 0 && (utf8.Valid(text) || bytes.IndexByte(text, '\n') >= 0)
}

// readText reads a file of at most maxText bytes, with its digest.
func readText(t *tree, rel string) ([]byte, string, error) {
	f, n, err := t.open(rel)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, "", err
	}
	if int64(len(text)) != n.Size {
		return nil, "", &os.PathError{Op: "reading", Path: f.Name(), Err: ErrChanged}
	}
	return text, digestOf(text), nil
}

// digestOf is the digest of a text.
func digestOf(text []byte) string {
	h := newHasher()
	for at := 0; at < len(text); at += block {
		part := text[at:min(at+block, len(text))]
		if !bytes.Equal(part, zeros[:len(part)]) {
			h.add(int64(at), part)
		}
	}
	return h.end(int64(len(text)))
}

// MergeError is text that both sides have changed at one place, or that has no known beginning.
type MergeError struct{ Why string }

func (e *MergeError) Error() string { return e.Why }

// Merge makes one text of what the host and what the sandbox has made of a third, for a change that is in
// conflict. Apply takes that instead. Its error is a *MergeError where it cannot be done.
func (c *Change) Merge() error {
	b, noted := c.held.bases[raw(c.Path)]
	switch {
	case c.Kind == Deleted || c.old == nil:
		return &MergeError{"one side deleted it"}
	case !noted || b.Copy == "":
		return &MergeError{"what both began with is not known"}
	}
	began, err := os.ReadFile(filepath.Join(c.held.Dir, baseFolder, b.Copy))
	if err != nil {
		return err
	}
	host, sandbox, ok, err := c.sides()
	if err != nil {
		return err
	}
	if !ok {
		return &MergeError{"it is no text"}
	}
	text, err := mergeText(string(began), string(host), string(sandbox))
	if err != nil {
		return err
	}
	c.Replace([]byte(text))
	c.Conflict = ""
	return nil
}

// Replace has Apply write this text in place of what the sandbox has.
func (c *Change) Replace(text []byte) { c.text = &text }

// ReplaceInPart is Replace with a text that takes only part of what the sandbox has.
func (c *Change) ReplaceInPart(text []byte) { c.text, c.part = &text, true }

// InPart tells whether only part of a change was agreed to.
func (c *Change) InPart() bool { return c.part }
