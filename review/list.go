package review

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
)

// listing tells how a copy was when it was made: by the inode and the ctime of each path, which no sandbox
// can set.
type listing struct {
	Files byPath[listed] `json:"files"`
	below map[string][]string
}

type listed struct {
	Ino   uint64 `json:"i"`
	Ctime int64  `json:"c"`
	Mode  uint32 `json:"m"`
}

// WriteList notes how a copy is just after it was made, before the payload starts: for the driver Copy.
func WriteList(dir string) error {
	t, err := openTree(filepath.Join(dir, UpperName))
	if err != nil {
		return err
	}
	defer t.close()
	l := &listing{Files: byPath[listed]{}}
	if err := l.fill(t, ""); err != nil {
		return fmt.Errorf("listing the copy in %s: %w", dir, err)
	}
	return noteJSON(dir, listFile, l)
}

func (l *listing) fill(t *tree, rel string) error {
	entries, err := t.list(rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, string(e.Name))
		l.Files[raw(name)] = listed{e.Node.Ino, e.Node.Ctime, e.Node.Mode}
		if e.Node.folder() {
			if err := l.fill(t, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func readList(dir string) (*listing, error) {
	l := &listing{}
	if err := readJSON(dir, listFile, l); err != nil {
		return nil, fmt.Errorf("reading how the copy in %s was made: %w", dir, err)
	}
	if l.Files == nil {
		return nil, errors.New("reading how the copy in " + dir + " was made: nothing is listed")
	}
	l.below = map[string][]string{}
	for name := range l.Files {
		dir := path.Dir(string(name))
		if dir == "." {
			dir = ""
		}
		l.below[dir] = append(l.below[dir], path.Base(string(name)))
	}
	return l, nil
}

// copied compares a folder of a copy with how it was made, and what differs with the host.
func (w *walker) copied(rel string, onHost bool) error {
	entries, err := w.upper.list(rel)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var touched []entry
	have := map[string]bool{}
	for _, e := range entries {
		have[string(e.Name)] = true
		was, known := w.made.Files[raw(path.Join(rel, string(e.Name)))]
		if !known || e.Node.folder() || was != (listed{e.Node.Ino, e.Node.Ctime, e.Node.Mode}) {
			touched = append(touched, e)
		}
	}
	var gone []entry
	for _, name := range w.made.below[rel] {
		if !have[name] {
			gone = append(gone, entry{Name: raw(name)})
		}
	}
	olds, err := w.olds(rel, append(gone, touched...), false, onHost)
	if err != nil {
		return err
	}
	for _, e := range touched {
		name := path.Join(rel, string(e.Name))
		old := olds[string(e.Name)]
		delete(olds, string(e.Name))
		was, known := w.made.Files[raw(name)]
		if known && e.Node.folder() && was.Mode == e.Node.Mode && old != nil && old.folder() {
			e.Node.Mode = old.Mode // the sandbox did not touch it; the host may have
		}
		if known && e.Node.folder() && old == nil && was.Mode == e.Node.Mode && was.Ino == e.Node.Ino {
			if err := w.unlessTouched(name); err != nil {
				return err
			}
			continue
		}
		if err := w.compared(name, e.Node, old, false); err != nil {
			return err
		}
		if c := w.last(name); c != nil && known && old == nil && c.Conflict == "" {
			c.Conflict = "the host deleted it since the sandbox began"
		}
	}
	return w.leftOut(rel, olds)
}

// unlessTouched goes on in a folder that the host has deleted: only what the sandbox changed in it counts.
func (w *walker) unlessTouched(name string) error {
	before := len(w.list)
	if err := w.copied(name, false); err != nil {
		return err
	}
	for _, c := range w.list[before:] {
		if c.Conflict == "" {
			c.Conflict = "the host deleted its folder since the sandbox began"
		}
	}
	return nil
}

// last is the change that was noted last, where it is about this path.
func (w *walker) last(name string) *Change {
	if len(w.list) == 0 || w.list[len(w.list)-1].Path != name {
		return nil
	}
	return w.list[len(w.list)-1]
}
