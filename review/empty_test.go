package review

import (
	"path/filepath"
	"strings"
	"testing"
)

// beside notes a point in an upper that began empty.
func (p *project) beside(script string, points ...string) *project {
	p.t.Helper()
	p.sandbox(script)
	c, err := ReadCapture(filepath.Join(p.held, "0"))
	if err != nil {
		p.t.Fatal(err)
	}
	c.Point(points)
	if err := Begin(c.Dir, *c); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// What lies in a capture that began empty comes beside the host's files. Where the host has another file, that is a
// conflict; marks of an overlay delete nothing.
func TestEmptyChanges(t *testing.T) {
	p := newProject(t, Empty, "mkdir -p hello tool/bin other; echo mine >taken; echo mine >asked; echo same >same; chmod 700 other; mkdir dir; echo x >dir/x; ln -s a link")
	p.beside(`mkdir -p hello tool/bin new; echo deb >new.deb; echo y >new/y; echo x >tool/bin/x; echo x >tool/y
		echo other >taken; echo same >same; echo z >dir; ln -s b link; mknod asked c 0 0; mkdir other; setfattr -n user.overlay.opaque -v y other || true`,
		"hello", "tool/bin")
	p.expect("replaced asked (conflict) (refused)", "replaced dir (conflict)", "changed link (conflict)", "created new/y", "created new.deb", "changed taken (conflict)", "created tool/y")
}

// A folder that sbx made for what is mounted in it is no change, though the host has none.
func TestEmptyPoints(t *testing.T) {
	p := newProject(t, Empty, "true").beside("mkdir -p a/b/c d; echo x >a/x", "a/b/c", "d")
	p.expect("created a/x")
}

// What would lie among the host's own files, or where settings lie, runs later: it is not what a build leaves.
func TestEmptyLater(t *testing.T) {
	p := newProject(t, Empty, "mkdir -p other/src")
	p.beside(`mkdir -p .config/autostart .new other/src made; touch .config/autostart/x.desktop .bashrc .new/x other/json.py other/src/x made/data a.deb a.changes made/.hidden
		mkdir -p node_modules/chalk made/node_modules/x; touch node_modules/chalk/index.js made/node_modules/x/index.js`)
	for _, c := range p.changes() {
		later := strings.HasPrefix(c.Path, ".") || strings.HasPrefix(c.Path, "other/") || strings.Contains(c.Path, "/.") || strings.HasPrefix(c.Path, "node_modules/")
		if (c.Later != "") != later && !c.Inner {
			t.Errorf("%s runs later: %q", c.Path, c.Later)
		}
	}
}

// What is applied is a change no more, is taken back by undo, and stands in nobody's way but after the host changed it.
func TestEmptyApply(t *testing.T) {
	p := newProject(t, Empty, "mkdir hello; echo x >hello/x")
	p.beside("mkdir hello out; echo 1 >a.deb; echo 2 >out/b", "hello")
	p.must(p.apply(nil))
	if got := p.sh(p.dir, "cat a.deb out/b hello/x"); got != "1\n2\nx\n" {
		t.Fatalf("the host has %q", got)
	}
	p.expect()
	p.must(p.undo())
	if got := p.sh(p.dir, "find . -type f"); got != "./hello/x\n" {
		t.Fatalf("after the undo the host has %q", got)
	}
	p.expect("created a.deb", "created out/b")
	p.must(p.apply(nil))
	p.beside("echo again >a.deb", "hello")
	p.expect("changed a.deb")
	p.host("echo mine >a.deb")
	p.expect("changed a.deb (conflict)")
	if err := p.apply(nil); err == nil {
		t.Error("what the host has changed was overwritten")
	}
}

// Nothing comes to what is shut, nor is put above it, by which a link would lead there, before the host has it.
func TestEmptyShut(t *testing.T) {
	p := newProject(t, Empty, "true")
	p.beside("mkdir -p cfg/sbx .local/share/sbx; echo x >cfg/sbx/config.toml; ln -s cfg .config; touch .local/share/sbx/x .local/share/y")
	c, err := ReadCapture(filepath.Join(p.held, "0"))
	p.must(err)
	c.Hide([]string{".config/sbx", ".local/share/sbx"})
	p.must(Begin(c.Dir, *c))
	p.expect("created .config (refused)", "created .local/share/sbx/x (refused)", "created .local/share/y", "created cfg/sbx/config.toml")
}
