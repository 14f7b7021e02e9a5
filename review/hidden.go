package review

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Hide notes paths, relative to the folder, that the sandbox must not see.
func (c *Capture) Hide(paths []string) {
	for _, p := range paths {
		if !slices.Contains(c.Hidden, raw(p)) {
			c.Hidden = append(c.Hidden, raw(p))
		}
	}
}

// Hides tells whether all of these paths are noted as hidden.
func (c *Capture) Hides(paths []string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return !slices.Contains(c.Hidden, raw(p)) })
}

func within(rel, dir string) bool { return rel == dir || strings.HasPrefix(rel, dir+"/") }

// hidden tells why a change is not to be applied, for what is hidden from the sandbox: it knows nothing of what
// lies there, and what it moves or removes with a folder above would lie bare.
func (h *held) hidden(c *Change) string {
	for _, p := range h.Hidden {
		place := string(p)
		if within(c.Path, place) || c.From != "" && within(c.From, place) {
			return place + " is hidden from the sandbox"
		}
		if !within(place, c.Path) {
			continue
		}
		if c.Kind == Created && h.Driver == Empty && !c.new.folder() {
			return "it would stand above " + place + ", which is hidden from the sandbox"
		}
		if c.Kind == Created {
			continue
		}
		if n, err := h.host.lookup(place); n != nil || err != nil {
			return "it holds " + place + ", which is hidden from the sandbox"
		}
	}
	return ""
}

// Blank empties the files of a copy, made before, that are copies of what lies at or below these paths, wherever
// the sandbox has moved them. The sandbox does not run.
func Blank(dir string, paths []string) error {
	l, err := readList(dir)
	if err != nil {
		return err
	}
	t, err := openTree(filepath.Join(dir, UpperName))
	if err != nil {
		return err
	}
	defer t.close()
	b := &blanker{tree: t, list: l, files: map[uint64]raw{}}
	for name, was := range l.Files {
		hidden := slices.ContainsFunc(paths, func(p string) bool { return within(string(name), p) })
		if hidden && was.Mode&unix.S_IFMT == unix.S_IFREG {
			b.files[was.Ino] = name
		}
	}
	if len(b.files) == 0 {
		return nil
	}
	if err := b.folder(""); err != nil {
		return fmt.Errorf("emptying what is hidden in the copy in %s: %w", dir, err)
	}
	return noteJSON(dir, listFile, l)
}

type blanker struct {
	tree  *tree
	list  *listing
	files map[uint64]raw // by inode, as they were copied
}

func (b *blanker) folder(rel string) error {
	entries, err := b.tree.list(rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, string(e.Name))
		switch was, hidden := b.files[e.Node.Ino]; {
		case e.Node.folder():
			err = b.folder(name)
		case hidden && e.Node.regular():
			err = b.empty(name, was, e.Node)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty empties a file that was copied from a hidden place, unless it is one that has got the number of its inode.
func (b *blanker) empty(name string, was raw, n node) error {
	f, err := b.tree.point(name)
	if err != nil {
		return err
	}
	defer f.Close()
	listed := b.list.Files[was]
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err == nil && st.Mask&unix.STATX_BTIME != 0 && st.Btime.Sec*1e9+int64(st.Btime.Nsec) > listed.Ctime {
		return nil
	}
	through := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err = os.Truncate(through, 0)
	if errors.Is(err, unix.EACCES) {
		if err = os.Chmod(through, 0o600); err == nil {
			err = os.Truncate(through, 0)
		}
		err = errors.Join(err, unix.Chmod(through, n.perm()))
	}
	if err != nil {
		return err
	}
	now, err := b.tree.stat(name)
	if err == nil && listed.Ctime == n.Ctime { // as it was made
		listed.Ctime = now.Ctime
		b.list.Files[was] = listed
	}
	return err
}
