package review

import (
	"errors"
	"slices"
	"strings"
)

// A folder that lies elsewhere now, with all that the host has in it and nothing else, is told as one change. An upper
// does not tell what was renamed, so both are read: names, kinds, permissions, where links lead, contents. Nothing
// that has to be looked at by itself is told so: where a file in it would run later at its new place or at its old one, is
// in conflict or cannot be applied, all are told one by one.

// maxInFolders bounds how many files are compared for that.
const maxInFolders = 1_000_000

// errNotMoved ends a comparison.
var errNotMoved = errors.New("it is not what was moved")

// folder is a new folder in a list of changes, with what it holds: the changes that follow it there.
type folder struct {
	change       *Change
	inside       []*Change
	files, bytes int64
	odd          bool // not all of it is new
}

// movedFolders finds deleted folders that lie elsewhere.
type movedFolders struct {
	*held
	gone map[[2]int64][]*Change // by their number of files, and bytes
	left int                    // comparisons
}

// fold puts one change in the place of those that make a moved folder.
func (h *held) fold(list []*Change) ([]*Change, error) {
	m := &movedFolders{held: h, gone: map[[2]int64][]*Change{}, left: maxInFolders}
	for _, c := range list {
		if c.Kind == Deleted && c.old.folder() && c.Files > 0 && c.Refused == "" {
			key := [2]int64{int64(c.Files), c.Bytes}
			m.gone[key] = append(m.gone[key], c)
		}
	}
	if len(m.gone) == 0 {
		return list, nil
	}
	folders, taken := newFolders(list), map[*Change]bool{}
	var out []*Change
	for i := 0; i < len(list); i++ {
		f := folders[i]
		if f == nil || f.odd {
			out = append(out, list[i])
			continue
		}
		gone, err := m.source(f, taken)
		if err != nil {
			return nil, err
		}
		if gone == nil {
			out = append(out, list[i])
			continue
		}
		taken[gone] = true
		out = append(out, f.movedFrom(gone))
		i += len(f.inside)
	}
	return slices.DeleteFunc(out, func(c *Change) bool { return taken[c] }), nil
}

// newFolders are the folders that are new in a list, by the index of their own change. What is in one follows it.
func newFolders(list []*Change) map[int]*folder {
	found := map[int]*folder{}
	var open []int
	shut := func(until int) {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		f := found[i]
		f.inside = list[i+1 : until]
		if len(open) > 0 {
			above := found[open[len(open)-1]]
			above.files, above.bytes, above.odd = above.files+f.files, above.bytes+f.bytes, above.odd || f.odd
		}
	}
	for i, c := range list {
		for len(open) > 0 && !strings.HasPrefix(c.Path, list[open[len(open)-1]].Path+"/") {
			shut(i)
		}
		isNew := c.Kind == Created && c.Refused == ""
		if isNew && c.new.folder() {
			found[i], open = &folder{change: c}, append(open, i)
		} else if len(open) > 0 {
			f := found[open[len(open)-1]]
			f.files, f.bytes, f.odd = f.files+1, f.bytes+sizeOf(c.new), f.odd || !isNew
		}
	}
	for len(open) > 0 {
		shut(len(list))
	}
	return found
}

// source finds the deleted folder that is this one now; nil is none.
func (m *movedFolders) source(f *folder, taken map[*Change]bool) (*Change, error) {
	among := m.gone[[2]int64{f.files, f.bytes}]
	if len(among) == 0 {
		return nil, nil
	}
	came := make(map[string]*Change, len(f.inside))
	for _, c := range f.inside {
		came[c.Path[len(f.change.Path)+1:]] = c
	}
	for _, gone := range among {
		if taken[gone] || gone.old.shown() != f.change.new.shown() {
			continue
		}
		err := m.compare(gone, came)
		if err == nil && m.nothingAside(f, gone) {
			return gone, nil
		}
		if err != nil && !errors.Is(err, errNotMoved) && !missing(err) && !refused(err) {
			return nil, err
		}
	}
	return nil, nil
}

// compare is errNotMoved where what came is not all that the host has in a folder that went.
func (m *movedFolders) compare(gone *Change, came map[string]*Change) error {
	n := 0
	err := m.each(gone.Path, func(rel string, old *node) error {
		c := came[rel[len(gone.Path)+1:]]
		n++
		if m.left--; c == nil || m.left < 0 {
			return errNotMoved
		}
		same, err := m.sameAs(c, rel, old)
		if err == nil && !same {
			err = errNotMoved
		}
		return err
	})
	if err == nil && n != len(came) {
		return errNotMoved
	}
	return err
}

// sameAs tells whether a new file is what the host has at another path.
func (h *held) sameAs(c *Change, rel string, n *node) (bool, error) {
	switch {
	case c.new.kind() != n.kind() || !n.plainFile() && !n.folder() || !n.link() && c.new.shown() != n.shown():
		return false, nil
	case n.folder():
		return true, nil
	case n.link():
		target, err := h.host.readlink(rel)
		return err == nil && target == c.Target, ignoreMissing(err)
	case c.new.Size != n.Size:
		return false, nil
	case n.Size == 0:
		return true, nil
	}
	return h.moved(rel, c)
}

// nothingAside judges what is in a moved folder as what was moved, and tells whether nothing of it has to be told by
// itself.
func (h *held) nothingAside(f *folder, gone *Change) bool {
	return !slices.ContainsFunc(f.inside, func(c *Change) bool {
		as := *c
		as.Kind, as.From = Renamed, gone.Path+c.Path[len(f.change.Path):]
		h.judge(&as)
		return as.Later != "" || as.Conflict != "" || as.Refused != ""
	})
}

// movedFrom is a moved folder as one change.
func (f *folder) movedFrom(gone *Change) *Change {
	c := *f.change
	c.Kind, c.From, c.Files, c.Bytes, c.inside, c.Conflict = Renamed, gone.Path, gone.Files, gone.Bytes, f.inside, gone.Conflict
	return &c
}
