package review

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is hidden is never applied, whatever a sandbox does to it or to a folder above.
func TestHiddenIsRefused(t *testing.T) {
	for _, driver := range []string{Overlay, Copy} {
		for script, want := range map[string]string{
			"rm a/key; echo x >b":       "a/key",
			"rm -r a":                   "a",
			"rm -r a; echo x >a":        "a",
			"mv a/key moved":            "moved",
			"echo x >a/key":             "a/key",
			"chmod 711 a":               "a",
			"mkdir -p c; echo x >c/new": "c/new",
		} {
			p := newProject(t, driver, "mkdir a; echo secret >a/key; echo x >a/open")
			p.sandbox(script)
			c, err := ReadCapture(filepath.Join(p.held, "0"))
			if err != nil {
				t.Fatal(err)
			}
			c.Hide([]string{"a/key", "c/new"})
			if err := Begin(c.Dir, *c); err != nil {
				t.Fatal(err)
			}
			for _, c := range p.changes() {
				refused := strings.Contains(c.Refused, "hidden from the sandbox")
				if refused != (c.Path == want) {
					t.Errorf("%s: %s: %s is refused: %q", driver, script, c.Path, c.Refused)
				}
			}
		}
	}
}

// Copies that were made with what is hidden lose it, wherever it lies by then.
func TestBlank(t *testing.T) {
	p := newProject(t, Copy, "mkdir -p a/sub b; echo secret >a/key; echo secret >a/sub/deep; echo secret >b/key; chmod 400 b/key; echo x >a/open")
	p.sandbox("mv a c; echo y >c/open")
	dir := filepath.Join(p.held, "0")
	if err := Blank(dir, []string{"a/key", "a/sub", "b/key"}); err != nil {
		t.Fatal(err)
	}
	if got := p.sh(filepath.Join(dir, UpperName), "cat c/key c/sub/deep b/key c/open; stat -c %a b/key"); got != "y\n400\n" {
		t.Errorf("what is left: %q", got)
	}
	for _, c := range p.changes() {
		if strings.HasPrefix(c.Path, "b") {
			t.Errorf("%s is %s", c.Path, c.Kind)
		}
	}
}
