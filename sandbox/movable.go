package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/review"
)

// Making a folder of the host one of an overlay's upper layer, so that it can be renamed: see renames.go.

// prepare makes what lies at a path of the sandbox movable, if it is a folder of a capture.
func (m *mover) prepare(root *os.File, path string) error {
	parent, err := openInRoot(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", parent.Fd()))
	if err != nil {
		return err
	}
	for _, c := range m.spec.Captured {
		if c.Driver != review.Overlay || !host.Within(where, c.Target) {
			continue
		}
		top, err := openInRoot(root, c.Target)
		if err != nil {
			return err
		}
		same := sameMount(top, "", parent, "")
		top.Close()
		rel, err := filepath.Rel(c.Target, filepath.Join(where, name))
		if err == nil && same && c.comesFromBelow(rel) {
			upper := c.upperFolder(rel)
			defer upper.Close() // of a nil file: an error that nobody needs
			return m.lift(parent, name, upper)
		}
	}
	return nil
}

// openInRoot opens a folder by the path that it has below a root.
func openInRoot(root *os.File, path string) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, wrap(err, "opening", path)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// sameMount tells whether two names, each in a folder or that folder itself, lie in one mount.
func sameMount(a *os.File, nameA string, b *os.File, nameB string) bool {
	one, err1 := mountOf(a, nameA)
	two, err2 := mountOf(b, nameB)
	return err1 == nil && err2 == nil && one == two
}

func mountOf(dir *os.File, name string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = unix.ENOTSUP
	}
	return st.Mnt_id, err
}

// comesFromBelow tells whether a folder of an overlay has a lower one: the host has it, and nothing hides that.
func (c *Captured) comesFromBelow(rel string) bool {
	lower, err := openFolder(c.Folder)
	if err != nil {
		return false
	}
	at := ""
	for _, name := range strings.Split(rel, "/") {
		next, err := openBelow(lower, name, unix.O_RDONLY|unix.O_DIRECTORY)
		lower.Close()
		if err != nil {
			return false
		}
		lower, at = next, filepath.Join(at, name)
		value := make([]byte, 1)
		n, err := unix.Lgetxattr(filepath.Join(c.Dir, review.UpperName, at), "user.overlay.opaque", value)
		if err == nil && n == 1 && value[0] == 'y' {
			lower.Close()
			return false
		}
	}
	lower.Close()
	return true
}

// upperFolder opens what an overlay's upper has of a folder by now; nil is nothing.
func (c *Captured) upperFolder(rel string) *os.File {
	upper, err := openFolder(filepath.Join(c.Dir, review.UpperName))
	if err != nil {
		return nil
	}
	defer upper.Close()
	return folderBelow(upper, rel)
}

// folderBelow opens a folder below another, either of which may be nil, for nothing.
func folderBelow(dir *os.File, rel string) *os.File {
	if dir == nil {
		return nil
	}
	f, err := openBelow(dir, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	return f
}

// liftedTree is what a folder that is lifted may have in it at most.
var liftedTree = bounds{entries: 500_000, bytes: 1 << 40}

// liftedDepth is how deep it may be.
const liftedDepth = 200

// lift makes a folder one of the upper layer. A supervisor that is killed meanwhile leaves a part of it under another
// name: in what is held for review, that is seen there.
func (m *mover) lift(parent *os.File, name string, upper *os.File) error {
	old, err := openBelow(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	left := liftedTree
	if err := liftable(old, &left, liftedDepth); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(old.Fd()), &st); err != nil {
		return err
	}
	passing := fmt.Sprintf(".sbx-moving-%016x", rand.Uint64())
	made, err := makeLike(parent, passing)
	if err != nil {
		return err
	}
	defer made.Close()
	for range 3 { // others may put something into it meanwhile
		if err = (&transfer{stop: &m.ending}).all(old, made, upper); err != nil {
			break
		}
		if err = unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != unix.ENOTEMPTY {
			break
		}
	}
	if err != nil {
		return errors.Join(err, (&transfer{back: true}).all(made, old, nil), like(old, &st), unix.Unlinkat(int(parent.Fd()), passing, unix.AT_REMOVEDIR))
	}
	err = finishLike(made, old, &st)
	return errors.Join(err, unix.Renameat2(int(parent.Fd()), passing, int(parent.Fd()), name, unix.RENAME_NOREPLACE))
}

// liftable refuses a folder in which not all could be moved, or in which something is mounted.
func liftable(dir *os.File, left *bounds, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o700 != 0o700 || depth == 0 {
		return &notCopiedError{dir.Name() + " cannot be emptied"}
	}
	again, err := openBelow(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer again.Close()
	return eachEntry(again, func(name string, st *unix.Stat_t) error {
		left.entries--
		left.bytes -= st.Blocks * 512
		if left.entries < 0 || left.bytes < 0 || !sameMount(dir, "", dir, name) {
			return &notCopiedError{name + " cannot be moved"}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		sub, err := openBelow(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer sub.Close()
		return liftable(sub, left, depth-1)
	})
}

// makeLike makes a folder that nobody else can use yet, or opens the one that is there.
func makeLike(parent *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil && err != unix.EEXIST {
		return nil, wrap(err, "making", name)
	}
	return openBelow(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// finishLike gives a folder what the old one had.
func finishLike(made, old *os.File, st *unix.Stat_t) error {
	copyAttributes(made, old)
	unix.Fchown(int(made.Fd()), -1, int(st.Gid))
	return like(made, st)
}
