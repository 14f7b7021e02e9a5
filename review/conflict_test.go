package review

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asConflict tells whether an error is that of the host standing against it, and of what.
func asConflict(err error) []string {
	var e *ConflictError
	if !errors.As(err, &e) {
		return nil
	}
	var list []string
	for _, c := range e.Conflicts {
		list = append(list, filepath.Base(c.Path))
	}
	return list
}

// What the host changed meanwhile is told, and never overwritten.
func TestHostChangedMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "echo a >edited; echo a >touched; echo a >gone; mkdir d; echo a >d/a; echo a >same; echo a >later")
		p.sandbox("echo b >>edited; echo b >>touched; echo b >>gone; rm -r d; echo new >made; echo b >>same; echo b >>later")
		p.must(Record(p.held, nil))
		p.host("echo host >>edited; touch touched; rm gone; echo host >>d/a; echo host >made; echo b >>same")
		p.expect("changed edited (conflict)", "changed touched", "created gone (conflict)", "deleted d (conflict)", "changed made (conflict)", "changed later")
		before := p.hash()
		if got := asConflict(p.apply(nil)); len(got) != 4 {
			t.Errorf("conflicts: %v", got)
		}
		if p.hash() != before {
			t.Error("an apply in conflict changed something")
		}
		p.must(p.apply(func(c *Change) bool { return c.Conflict == "" }))
		p.expect("changed edited (conflict)", "created gone (conflict)", "deleted d (conflict)", "changed made (conflict)")
	})
}

// What the sandbox goes on to change after an apply is no conflict; what the host does, is one.
func TestAppliedThenChangedAgain(t *testing.T) {
	p := newProject(t, Overlay, "echo a >one; echo a >two").sandbox("echo b >>one; echo b >>two")
	p.must(p.apply(nil))
	p.expect()
	p.host("echo host >>two")
	p.sandbox("echo c >>one; echo c >>two")
	p.expect("changed one", "changed two (conflict)")
}

// What the host does to what goes, after the changes were listed, is a conflict too.
func TestHostChangedAfterTheList(t *testing.T) {
	p := newProject(t, Overlay, "mkdir d; echo a >d/a; echo something >from").sandbox("rm -r d; mv from to")
	s := p.open()
	list, err := s.Changes()
	p.must(err)
	p.host("echo new >d/new; echo host >>from")
	before := p.hash()
	if got := asConflict(p.locked().Apply(s, list, ApplyOptions{})); len(got) != 2 {
		t.Errorf("conflicts: %v", got)
	}
	if p.hash() != before {
		t.Error("an apply in conflict changed something")
	}
	p.must(p.locked().Apply(s, list, ApplyOptions{Overwrite: true}))
}

func TestUndoRefusesWhatTheHostChanged(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "echo a >one; echo a >two").sandbox("echo b >>one; rm two; echo new >three")
		p.must(p.apply(nil))
		p.host("echo host >>three; echo host >two")
		before := p.hash()
		if got := asConflict(p.undo()); len(got) != 2 {
			t.Errorf("conflicts: %v", got)
		}
		if p.hash() != before {
			t.Error("a refused undo changed something")
		}
	})
}

func TestMerge(t *testing.T) {
	p := newProject(t, Overlay, "seq 30 >text; seq 30 >clash; seq 30 >ends")
	p.sandbox("sed -i 's/^5$/five/' text clash; echo end >>ends")
	p.must(Record(p.held, nil))
	p.host("sed -i 's/^25$/twentyfive/' text; sed -i 's/^5$/FIVE/' clash; echo END >>ends")
	list := p.changes()
	for _, c := range list {
		err := c.Merge()
		var cannot *MergeError
		if c.Path == "text" && err != nil || c.Path != "text" && !errors.As(err, &cannot) {
			t.Errorf("%s: %v", c.Path, err)
		}
	}
	s := p.open()
	list, err := s.Changes()
	p.must(err)
	for _, c := range list {
		if c.Path == "text" {
			p.must(c.Merge())
			p.must(p.locked().Apply(s, []*Change{c}, ApplyOptions{}))
		}
	}
	p.expect("changed clash (conflict)", "changed ends (conflict)")
	data, err := os.ReadFile(filepath.Join(p.dir, "text"))
	if err != nil || !strings.Contains(string(data), "\nfive\n") || !strings.Contains(string(data), "\ntwentyfive\n") {
		t.Errorf("merged: %v\n%s", err, data)
	}
	p.must(p.undo())
	if data, _ := os.ReadFile(filepath.Join(p.dir, "text")); strings.Contains(string(data), "five\n6") || !strings.Contains(string(data), "twentyfive") {
		t.Errorf("undone: %s", data)
	}
}

// Applies are undone one after the other, though each undo moves files that an earlier apply had left.
func TestUndoOneAfterTheOther(t *testing.T) {
	p := newProject(t, Overlay, "echo 1 >file")
	for range 4 {
		p.sandbox("echo more >>file")
		p.must(p.apply(nil))
	}
	for left := 4; left > 0; left-- {
		a, err := p.journals.Last(func(a *Applied) bool { return !a.Undone })
		if err != nil || a == nil {
			t.Fatalf("%d applies left: %v, %v", left, a, err)
		}
		p.must(p.journals.Undo(a))
		if data, _ := os.ReadFile(filepath.Join(p.dir, "file")); strings.Count(string(data), "more") != left-1 {
			t.Errorf("%d applies left: %q", left-1, data)
		}
	}
}

func TestHunks(t *testing.T) {
	p := newProject(t, Overlay, "seq 60 >text").sandbox("sed -i -e 's/^5$/five/' -e 's/^30$/thirty/' -e '$d' text; printf 'no end' >>text; printf x >made")
	for _, c := range p.changes() {
		patch, err := c.Patch()
		p.must(err)
		if c.Path == "made" {
			if got := string(patch.Choose(func(int) bool { return true })); got != "x" {
				t.Errorf("made: %q", got)
			}
			continue
		}
		if len(patch.Hunks) != 3 {
			t.Fatalf("%d hunks", len(patch.Hunks))
		}
		want, _ := os.ReadFile(filepath.Join(p.held, "0/upper/text"))
		if got := patch.Choose(func(int) bool { return true }); string(got) != string(want) {
			t.Errorf("all hunks: %q", got)
		}
		got := string(patch.Choose(func(i int) bool { return i == 1 }))
		if !strings.Contains(got, "thirty") || strings.Contains(got, "five") || !strings.HasSuffix(got, "59\n60\n") {
			t.Errorf("one hunk: %q", got)
		}
		if got := string(patch.Choose(func(i int) bool { return i == 2 })); !strings.HasSuffix(got, "59\nno end") {
			t.Errorf("the last hunk: %q", got)
		}
	}
}

// A file that is changed after it was shown is not applied in the place of what was shown.
func TestChangedAfterItWasShown(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "echo a >one; echo a >two").sandbox("echo b >>one; echo b >>two")
		s := p.open()
		list, err := s.Changes()
		p.must(err)
		p.must(s.NoteShown(list, true))
		p.must(p.open().HoldToShown(p.changes()))
		p.sandbox("echo evil >>one; touch -d '1 hour ago' one; echo new >three")
		var e *NotShownError
		if err := p.open().HoldToShown(p.changes()); !errors.As(err, &e) || len(e.Paths) != 2 {
			t.Errorf("held to what was shown: %v", err)
		}
		// The one that lists them and goes on to apply is held to what it listed.
		if err := p.locked().Apply(s, list, ApplyOptions{}); !errors.Is(err, ErrNotAsShown) {
			t.Errorf("applied: %v", err)
		}
		p.expect("changed one", "changed two", "created three")
	})
}

// A page that is mapped can be written without a new ctime, so what a living sandbox shows is held by digest.
func TestLiveIsHeldByDigest(t *testing.T) {
	p := newProject(t, Overlay, "true").sandbox("echo good >file")
	s := p.open()
	s.Live = true
	list, err := s.Changes()
	p.must(err)
	p.must(s.Pin(list))
	list[0].digest = digestOf([]byte("evil\n")) // as if the page had held that
	if err := p.locked().Apply(s, list, ApplyOptions{}); !errors.Is(err, ErrNotAsShown) {
		t.Errorf("applied: %v", err)
	}
}

// To note how the host is, nothing is kept of what it does not have.
func TestRecordKeepsNoNewFiles(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "echo a >one; echo a >two").sandbox("echo b >>one; rm two; mkdir made; echo x >made/new; echo x >new")
		list, err := p.open().captures[0].walkOf(true)
		p.must(err)
		if got := words(list); len(got) != 2 {
			t.Errorf("kept: %v", got)
		}
	})
}

// A link in place of a folder is applied, undone and applied again, whatever the folder held.
func TestLinkInPlaceOfAFolder(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "mkdir -p d/e/f; echo a >d/a; echo b >d/e/b; echo c >d/e/f/c")
		before := p.hash()
		p.sandbox("mv d moved; ln -s moved d")
		p.must(p.apply(nil))
		after := p.hash()
		if got := p.sh(p.dir, "readlink d; cat d/e/f/c"); got != "moved\nc\n" {
			t.Fatalf("applied: %s", got)
		}
		p.must(p.undo())
		if got := p.hash(); got != before {
			t.Fatalf("undone:\n%s\nwant\n%s", got, before)
		}
		p.must(p.undo())
		if got := p.hash(); got != after {
			t.Fatalf("done again:\n%s\nwant\n%s", got, after)
		}
	})
}
