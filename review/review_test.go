package review

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// project is a folder of the host, and what a sandbox made of it.
type project struct {
	t         *testing.T
	dir, held string
	journals  Journals
	driver    string
}

// newProject makes a folder by a shell script.
func newProject(t *testing.T, driver, script string) *project {
	t.Helper()
	base := t.TempDir()
	p := &project{t, filepath.Join(base, "project"), filepath.Join(base, "captures"), Journals(filepath.Join(base, "applied")), driver}
	for _, dir := range []string{p.dir, filepath.Join(p.held, "0")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.host(script)
	t.Cleanup(func() { // what nobody may enter, nobody could remove
		filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return p
}

func (p *project) sh(dir, script string, args ...string) string {
	p.t.Helper()
	args = append(args, "sh", "-euc", script)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// host runs a script on the host.
func (p *project) host(script string) { p.t.Helper(); p.sh(p.dir, script) }

// sandbox captures the folder and runs a script as a sandbox would: on a real overlay, or on a copy.
func (p *project) sandbox(script string) *project {
	p.t.Helper()
	dir := filepath.Join(p.held, "0")
	time.Sleep(12 * time.Millisecond) // file times are coarse: what came before is not to seem to come after
	if err := Begin(dir, Capture{Folder: p.dir, Driver: p.driver, Began: time.Now()}); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(12 * time.Millisecond)
	os.MkdirAll(filepath.Join(dir, WorkName), 0o700)
	upper := filepath.Join(dir, UpperName)
	if p.driver == Empty {
		os.MkdirAll(upper, 0o755)
		p.sh(upper, script)
		return p
	}
	if p.driver == Copy {
		if _, err := os.Stat(upper); err != nil {
			p.sh(dir, "cp -a "+p.dir+" upper")
			if err := WriteList(dir); err != nil {
				p.t.Fatal(err)
			}
		}
		p.sh(upper, script)
		return p
	}
	os.MkdirAll(upper, 0o755)
	os.MkdirAll(filepath.Join(dir, "merged"), 0o755)
	mount := fmt.Sprintf("mount -t overlay -o userxattr,lowerdir=%s,upperdir=%s,workdir=%s overlay merged\ncd merged\n", p.dir, upper, filepath.Join(dir, WorkName))
	p.sh(dir, mount+script, "unshare", "-Urm")
	return p
}

func (p *project) open() *Set {
	p.t.Helper()
	s, err := Open(p.held)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(s.Close)
	return s
}

func (p *project) changes() []*Change {
	p.t.Helper()
	list, err := p.open().Changes()
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// words are changes as lines.
func words(list []*Change) []string {
	out := []string{}
	for _, c := range list {
		line := string(c.Kind) + " " + c.Path
		if c.From != "" {
			line += " from " + c.From
		}
		if c.Conflict != "" {
			line += " (conflict)"
		}
		if c.Refused != "" {
			line += " (refused)"
		}
		if !c.Inner {
			out = append(out, line)
		}
	}
	return out
}

func (p *project) expect(want ...string) {
	p.t.Helper()
	got := words(p.changes())
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("changes (%s):\n  %s\nwant:\n  %s", p.driver, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// hash is what a folder holds: names, kinds, modes, links, contents, and which names are one file.
func (p *project) hash() string {
	p.t.Helper()
	return p.sh(p.dir, `find . -mindepth 1 -printf '%p %y %m %l\n' | LC_ALL=C sort; find . -type f -readable -print0 | LC_ALL=C sort -z | xargs -0r sha256sum; find . -type f -links +1 -printf '%i %p\n' | LC_ALL=C sort -k2 | awk '{ if (!($1 in n)) n[$1] = NR; print n[$1], $2 }'`)
}

func (p *project) apply(choose func(*Change) bool) error {
	p.t.Helper()
	s := p.open()
	list, err := s.Changes()
	if err != nil {
		p.t.Fatal(err)
	}
	var chosen []*Change
	for _, c := range list {
		if c.Refused == "" && (choose == nil || choose(c)) {
			chosen = append(chosen, c)
		}
	}
	lock, err := p.journals.Lock()
	if err != nil {
		p.t.Fatal(err)
	}
	defer lock.Close()
	return p.journals.Apply(s, chosen, ApplyOptions{Sandbox: "test"})
}

func (p *project) undo() error {
	p.t.Helper()
	a, err := p.journals.Last(func(*Applied) bool { return true })
	if err != nil || a == nil {
		p.t.Fatalf("the last apply: %v, %v", a, err)
	}
	return p.journals.Undo(a)
}

// locked are the journals, for a test that calls them itself.
func (p *project) locked() Journals {
	p.t.Helper()
	lock, err := p.journals.Lock()
	p.must(err)
	lock.Close()
	return p.journals
}

func (p *project) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// both runs a test with either driver.
func both(t *testing.T, test func(t *testing.T, driver string)) {
	for _, driver := range []string{Overlay, Copy} {
		t.Run(driver, func(t *testing.T) { test(t, driver) })
	}
}

const someFiles = `
mkdir -p src/deep old/a/b empty; echo one >src/one; echo two >src/two; echo three >src/deep/three
echo gone >old/gone; echo x >old/a/b/x; ln -s one src/link; printf '#!/bin/sh\n' >run.sh; chmod 755 run.sh
echo was a file >thing; mkdir folder; echo in >folder/in; ln src/two src/twin; seq 1000 >numbers; echo same >same`

const someChanges = `
echo more >>src/one; echo new >new; mkdir -p made/in/here; echo y >made/in/here/y; mkdir made/bare; rm -r old
rm src/link; ln -s two src/link; chmod 700 run.sh; rm thing; mkdir thing; echo now >thing/inner; rm -r folder; echo file >folder
mv numbers counted; echo same >same; mkdir -p folded; ln new folded/other; chmod 500 made/bare; mkfifo pipe`

func TestChanges(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, someFiles).sandbox(someChanges)
		p.expect("changed src/one", "created new", "created made/in/here/y", "created made/bare", "deleted old", "changed src/link",
			"mode run.sh", "replaced thing", "created thing/inner", "replaced folder", "renamed counted from numbers",
			"created folded/other", "created pipe (refused)")
	})
}

// A folder that was removed and made anew hides what the host has in it: an opaque one, in an overlay. So does one in the
// place of a file, and files in the place of what was deleted.
func TestMadeAnew(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		const files = "mkdir -p d/sub e/deep; echo a >d/a; echo b >d/b; echo c >d/sub/c; echo x >e/deep/x; echo f >f; ln -s d l"
		const changes = "rm -r d; mkdir d; echo new >d/new; echo b >d/b; rm -r e/deep; mkdir -p e/deep/er; echo y >e/deep/er/y; rm f; mkdir f; echo g >f/g; rm l; mkdir l; echo h >l/h"
		p := newProject(t, driver, files)
		before := p.hash()
		p.sandbox(changes)
		p.expect("created d/new", "deleted d/a", "deleted d/sub", "created e/deep/er/y", "deleted e/deep/x", "replaced f", "created f/g", "replaced l", "created l/h")
		want := newProject(t, driver, files)
		want.host(changes)
		p.must(p.apply(nil))
		if got := p.hash(); got != want.hash() {
			t.Fatalf("applied:\n%s\nwant:\n%s", got, want.hash())
		}
		p.expect()
		p.must(p.undo())
		if got := p.hash(); got != before {
			t.Errorf("undone:\n%s\nwant:\n%s", got, before)
		}
	})
}

func TestApplyAndUndo(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, someFiles)
		before := p.hash()
		p.sandbox(someChanges)
		if p.hash() != before {
			t.Fatal("the sandbox changed the host")
		}
		// What it should be, made by the same commands on the host itself.
		want := newProject(t, driver, someFiles)
		want.host(someChanges + "; rm pipe; chmod 700 made/bare") // the owner's own rights to a folder stay
		p.must(p.apply(nil))
		if got := p.hash(); got != want.hash() {
			t.Fatalf("applied:\n%s\nwant:\n%s", got, want.hash())
		}
		p.expect("created pipe (refused)")
		after := p.hash()
		for i := range 2 {
			p.must(p.undo())
			if got := p.hash(); got != before {
				t.Fatalf("undone, time %d:\n%s\nwant:\n%s", i, got, before)
			}
			p.must(p.undo())
			if got := p.hash(); got != after {
				t.Fatalf("undone twice, time %d:\n%s\nwant:\n%s", i, got, after)
			}
		}
	})
}
