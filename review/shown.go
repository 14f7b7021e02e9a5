package review

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
)

// What was shown is noted, so that nothing else is applied in its place: by inode and ctime, which a
// sandbox cannot set, and while it runs by digest too, since a mapped page can be written without either.

// seen is one change as it was shown.
type seen struct {
	Kind   Kind   `json:"kind"`
	Node   *node  `json:"node,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// shown is what a diff has shown last.
type shown struct {
	// All says that all changes of then were shown: any other has come later.
	All  bool         `json:"all"`
	Seen byPath[seen] `json:"seen"`
}

// unfolded are changes with each renamed folder as what it is made of: what went, and what came.
func unfolded(changes []*Change) []*Change {
	var list []*Change
	for _, c := range changes {
		if c.inside == nil {
			list = append(list, c)
			continue
		}
		gone, come := *c, *c
		gone.Path, gone.Kind, gone.new, come.Kind = c.From, Deleted, nil, Created
		list = append(append(list, &gone, &come), c.inside...)
	}
	return list
}

// Pin reads what is to be shown, of a sandbox that may still run, and holds all that follows against that.
func (s *Set) Pin(changes []*Change) error {
	if !s.Live {
		return nil
	}
	for _, c := range unfolded(changes) {
		if c.new == nil || !c.new.regular() || c.digest != "" || c.Refused != "" {
			continue
		}
		f, n, err := c.held.upper.open(c.Path)
		if err != nil {
			return ignoreMissing(err)
		}
		c.digest, err = digest(f, n.Size)
		f.Close()
		if errors.Is(err, ErrChanged) {
			c.digest = "changing"
		} else if err != nil {
			return err
		}
	}
	return nil
}

// NoteShown notes that these changes have been shown; all says that there are no others.
func (s *Set) NoteShown(changes []*Change, all bool) error {
	note := shown{All: all}
	if !all {
		old, err := s.readShown()
		if err != nil {
			return err
		}
		if old != nil {
			note = *old
		}
	}
	list := unfolded(changes)
	for _, c := range list {
		delete(note.Seen, raw(c.Where()))
	}
	err := replaceFile(s.Dir, shownFile, false, func(file io.Writer) error {
		w := bufio.NewWriterSize(file, 64<<10)
		fmt.Fprintf(w, `{"all":%v,"seen":`, note.All)
		err := writeByPath(w, func(yield func(raw, seen) bool) {
			for _, c := range list {
				if !yield(raw(c.Where()), seen{c.Kind, c.new, c.digest}) {
					return
				}
			}
			maps.All(note.Seen)(yield)
		})
		fmt.Fprintln(w, "}")
		return errors.Join(err, w.Flush())
	})
	if err != nil {
		return fmt.Errorf("noting what was shown: %w", err)
	}
	return nil
}

func (s *Set) readShown() (*shown, error) {
	note := &shown{}
	err := readJSON(s.Dir, shownFile, note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && note.Seen == nil {
		err = errors.New("it lacks what was shown")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(s.Dir, shownFile), err)
	}
	return note, nil
}

// NotShownError names what the sandbox changed after it was shown.
type NotShownError struct{ Paths []string }

func (e *NotShownError) Error() string {
	text := e.Paths[0] + ": " + ErrNotAsShown.Error()
	if n := len(e.Paths) - 1; n > 0 {
		text += fmt.Sprintf("; %d more likewise", n)
	}
	return text
}

// HoldToShown refuses changes that are not what the last diff has shown, with a *NotShownError. Where none
// was shown, there is nothing to be held to.
func (s *Set) HoldToShown(changes []*Change) error {
	note, err := s.readShown()
	if err != nil || note == nil {
		return err
	}
	e := &NotShownError{}
	for _, c := range unfolded(changes) {
		was, known := note.Seen[raw(c.Where())]
		switch {
		case !known && !note.All:
		case !known, was.Kind != c.Kind, (was.Node == nil) != (c.new == nil):
			e.Paths = append(e.Paths, c.Where())
		case c.new != nil && !c.new.folder() && !was.Node.same(c.new):
			e.Paths = append(e.Paths, c.Where())
		case was.Digest != "":
			c.digest = was.Digest
		}
	}
	if len(e.Paths) > 0 {
		return e
	}
	return nil
}
