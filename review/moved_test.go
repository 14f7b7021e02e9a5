package review

import (
	"slices"
	"strings"
	"testing"
)

const someFolder = `mkdir -p a/deep/empty; for i in $(seq 30); do echo $i >a/$i; done; echo d >a/deep/d; ln -s d a/deep/link; ln a/1 a/linked
	chmod 640 a/2; mkdir other; echo x >other/x`

// A folder that was renamed is one change, whether by rename(2) or by what mv does where that fails. It is applied and
// taken back as one.
func TestMovedFolder(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, someFolder)
		p.sandbox("mkdir new; cp -a a new/b; rm -r a")
		p.expect("renamed new/b from a")
		list := p.changes()
		i := slices.IndexFunc(list, func(c *Change) bool { return c.Kind == Renamed })
		if c := list[i]; c.Files != 33 || c.Type() != "folder" {
			t.Errorf("renamed a %s of %d files", c.Type(), c.Files)
		}
		before := p.hash()
		s := p.open()
		p.must(s.NoteShown(list, true))
		p.must(p.apply(nil))
		p.expect()
		if got := p.sh(p.dir, "test ! -e a; stat -c '%a %h' new/b/2 new/b/1; readlink new/b/deep/link; ls -A new/b/deep"); got != "640 1\n644 2\nd\nd\nempty\nlink\n" {
			t.Errorf("applied: %s", got)
		}
		p.must(p.undo())
		if got := p.hash(); got != before {
			t.Errorf("undone:\n%s\nwant:\n%s", got, before)
		}
	})
}

// What is not just so is told as what it is.
func TestNotMovedFolder(t *testing.T) {
	for name, does := range map[string]string{
		"content": "echo y >b/7", "one more": "echo x >b/more", "one more folder": "mkdir b/more", "one less": "rm b/7; echo 77 >b/77", "mode": "chmod 600 b/7",
		"another link": "ln -sfn e b/deep/link", "folder mode": "chmod 711 b/deep", "no folder": "rmdir b/deep/empty; ",
		"runs later": "true; mkdir -p .husky; mv b .husky/b", "a pipe": "mkfifo b/pipe", "a file in place of a folder": "rmdir b/deep/empty; touch b/deep/empty",
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, Overlay, someFolder)
			p.sandbox("cp -a a b; rm -r a; " + does)
			for _, c := range p.changes() {
				if c.Kind == Renamed && c.Type() == "folder" {
					t.Errorf("renamed %s from %s", c.Path, c.From)
				}
			}
		})
	}
}

// What ran on the host before is no news where it lies now; where the host changed something meanwhile it is.
func TestMovedFolderOnTheHost(t *testing.T) {
	p := newProject(t, Overlay, "mkdir a; echo x >a/run; chmod 755 a/run; echo y >a/y")
	p.sandbox("cp -a a b; rm -r a")
	p.expect("renamed b from a")
	p.host("echo changed >a/y")
	if got := words(p.changes()); !strings.Contains(strings.Join(got, "\n"), "deleted a (conflict)") {
		t.Errorf("changes: %v", got)
	}
}

// A file that was changed after the folder was shown is refused, as is one that came.
func TestMovedFolderChangedAfterItWasShown(t *testing.T) {
	for _, does := range []string{"echo evil >b/7", "echo evil >b/8; cp -p ../../../project/a/7 b/7; echo more >b/new"} {
		p := newProject(t, Overlay, someFolder)
		p.sandbox("cp -a a b; rm -r a")
		s := p.open()
		list, err := s.Changes()
		p.must(err)
		p.must(s.NoteShown(list, true))
		p.sandbox(does)
		if err := p.locked().Apply(s, list, ApplyOptions{}); err == nil {
			t.Errorf("%s: applied", does)
		}
		again := p.open()
		list, err = again.Changes()
		p.must(err)
		if err := again.HoldToShown(list); err == nil {
			t.Errorf("%s: held to be what was shown", does)
		}
	}
}
