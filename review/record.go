package review

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Record notes how the host's files are at the end of a run, for each path that the captures in the folder
// dir have changed: what the host changes later is then told from what is the same still, and text can be
// merged. It costs by what changed. Where a supervisor was killed before it could, the first look at the
// changes does it.
//
// foreign is as Set.Foreign.
func Record(dir string, foreign func(folder string) (*os.File, error)) error {
	set, err := Open(dir)
	if err != nil {
		return err
	}
	defer set.Close()
	set.Foreign = foreign
	for _, h := range set.captures {
		if err := h.record(); err != nil {
			return err
		}
	}
	return nil
}

// noteBases records what nobody has recorded.
func (h *held) noteBases() error {
	_, err := os.Lstat(filepath.Join(h.Dir, baseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return h.record()
	}
	return err
}

// record adds the host's files that are changed now to those noted at earlier ends.
func (h *held) record() error {
	if h.Driver == Empty {
		return noteJSON(h.Dir, baseFile, byPath[base]{}) // the sandbox began with none of the host's files
	}
	list, err := h.walkOf(true)
	if err != nil {
		return fmt.Errorf("reading what was changed in %s: %w", h.Folder, err)
	}
	if h.bases == nil {
		h.bases = byPath[base]{}
	}
	for _, c := range list {
		if _, noted := h.bases[raw(c.Path)]; noted || c.old == nil {
			continue
		}
		b, err := h.baseOf(c, len(h.bases))
		if err != nil {
			return err
		}
		h.bases[raw(c.Path)] = b
	}
	return noteJSON(h.Dir, baseFile, h.bases)
}

// baseOf looks at one file of the host, and keeps a copy of it where it is text.
func (h *held) baseOf(c *Change, number int) (base, error) {
	b := base{Node: *c.old, Changed: c.old.Ctime > h.Began.UnixNano() && !c.old.folder()}
	if was, ok := h.agreed[raw(c.Path)]; ok && was.holds(c.old) {
		b.Changed = false
	}
	if !c.old.regular() || c.old.Size > maxText || b.Changed {
		return b, nil
	}
	f, n, err := h.host.open(c.Path)
	if missing(err) || refused(err) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil || !n.same(c.old) {
		return b, err // it changes just now: a conflict, if it was read
	}
	if b.Digest, err = digest(f, n.Size); err != nil {
		return b, ignoreChanged(err)
	}
	if c.new == nil || bytes.IndexByte(text, 0) >= 0 {
		return b, nil
	}
	b.Copy = strconv.Itoa(number)
	dir := filepath.Join(h.Dir, baseFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return b, err
	}
	return b, os.WriteFile(filepath.Join(dir, b.Copy), text, 0o600)
}

func ignoreChanged(err error) error {
	if errors.Is(err, ErrChanged) {
		return nil
	}
	return err
}

// agree notes how the host's files are after an apply, or the undo of one: what is there now is what the
// user wanted there.
func (h *held) agree(now byPath[agreement]) error {
	if err := h.load(); err != nil {
		return err
	}
	if h.agreed == nil {
		h.agreed = byPath[agreement]{}
	}
	for name, a := range now {
		if a.Now != nil && a.Now.folder() {
			delete(h.agreed, name) // its ctime is that of the last name that came or went in it
		} else {
			h.agreed[name] = a
		}
	}
	return writeJSON(h.Dir, agreedFile, h.agreed)
}
