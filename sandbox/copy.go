package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CopyOut copies what lies at a path inside to the host, and CopyIn the other way. root is the sandbox's
// root, as a descriptor. The payload changes its files while they are copied, as it likes: so a path inside
// is resolved by the kernel below that root alone, and from there on every step goes by descriptor and
// follows no link. Links are copied as links; what is neither file, nor folder, nor link is left out and
// named. As with cp(1), an existing folder as target gets the copy in it.
func CopyOut(root *os.File, inside, outside string) (skipped []string, err error) {
	if err := refuseFuse(root); err != nil {
		return nil, err
	}
	dir, name := split(inside)
	from, err := openInside(root, dir)
	if err != nil {
		return nil, fmt.Errorf("copying %s: %w", inside, err)
	}
	defer from.Close()
	if name == "" {
		name = "."
	}
	return copyTo(from, name, outside, func(dir string) (*os.File, error) {
		return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	})
}

// CopyIn copies what lies at a path of the host into the sandbox.
func CopyIn(root *os.File, outside, inside string) (skipped []string, err error) {
	if err := refuseFuse(root); err != nil {
		return nil, err
	}
	dir, name := filepath.Split(filepath.Clean(outside))
	if name == "" || name == ".." {
		dir, name = filepath.Clean(outside), "."
	}
	from, err := os.OpenFile(filepath.Clean(dir+"."), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("copying %s: %w", outside, plainError(err))
	}
	defer from.Close()
	return copyTo(from, name, inside, func(dir string) (*os.File, error) { return openInside(root, dir) })
}

// FuseError is a root that fuse-overlayfs serves: the kernel shows it to processes of the sandbox's own user
// namespace alone (fuse(4), allow_other).
type FuseError struct{}

func (FuseError) Error() string {
	return "copying: fuse-overlayfs serves the files of this sandbox, and the kernel shows them to its own processes alone"
}

func refuseFuse(root *os.File) error {
	var st unix.Statfs_t
	if unix.Fstatfs(int(root.Fd()), &st) == nil && st.Type == unix.FUSE_SUPER_MAGIC {
		return FuseError{}
	}
	return nil
}

// split is path.Split of an absolute, clean path inside.
func split(inside string) (dir, name string) {
	dir, name = path.Split(path.Clean("/" + inside))
	return dir, name
}

// openInside opens a folder inside, resolved below the sandbox's root: openat2(2), RESOLVE_IN_ROOT.
func openInside(root *os.File, dir string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(root.Fd()), path.Clean("/"+dir), &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), dir), nil
		case unix.EAGAIN, unix.EINTR: // the tree changed meanwhile
			continue
		}
		return nil, err
	}
}

// copyTo finds out what the target is: a folder that is there, which gets the copy in it, or a name in one.
func copyTo(from *os.File, name, target string, open func(dir string) (*os.File, error)) ([]string, error) {
	c := &copier{}
	into, err := open(target)
	newName := name
	if name == "." {
		newName = ""
	}
	if err != nil {
		if into, err = open(path.Dir(path.Clean(target))); err != nil {
			return nil, fmt.Errorf("copying to %s: %w", target, plainError(err))
		}
		newName = path.Base(path.Clean(target))
	}
	defer into.Close()
	if newName == "" || newName == "/" {
		err = c.folderContent(from, into, target)
	} else {
		err = c.entry(from, name, into, newName, target)
	}
	return c.skipped, err
}

// copier copies trees from descriptor to descriptor.
type copier struct {
	skipped []string
	buf     []byte
}

// maxDepth is far more than folders are nested, and fewer than descriptors can be open.
const maxDepth = 200

func (c *copier) entry(from *os.File, name string, into *os.File, newName, shown string) error {
	if depth(shown) > maxDepth {
		return fmt.Errorf("copying %s: folders are nested too deep", shown)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("copying %s: %w", name, err)
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = c.file(from, name, into, newName)
	case unix.S_IFLNK:
		err = c.link(from, name, into, newName)
	case unix.S_IFDIR:
		return c.folder(from, name, into, newName, st.Mode&0o777, shown)
	default:
		c.skipped = append(c.skipped, shown)
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", name, plainError(err))
	}
	return nil
}

func depth(path string) (n int) {
	for _, c := range path {
		if c == '/' {
			n++
		}
	}
	return n
}

// openAt opens one name in a folder, following no link.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (c *copier) file(from *os.File, name string, into *os.File, newName string) error {
	source, err := openAt(from, name, unix.O_RDONLY|unix.O_NONBLOCK, 0) // it may have become a FIFO
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errors.New("it is no file any more"))
	}
	target, err := openAt(into, newName, unix.O_WRONLY|unix.O_CREAT|unix.O_NONBLOCK, uint32(info.Mode().Perm()))
	if err != nil {
		return err
	}
	defer target.Close()
	if now, err := target.Stat(); err != nil || !now.Mode().IsRegular() {
		return errors.Join(err, errors.New("what is there already is no file"))
	}
	if err := target.Truncate(0); err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, 256<<10)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{target}, struct{ io.Reader }{source}, c.buf)
	return errors.Join(err, target.Chmod(info.Mode().Perm()))
}

func (c *copier) link(from *os.File, name string, into *os.File, newName string) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buf)
	if err != nil {
		return err
	}
	err = unix.Symlinkat(string(buf[:n]), int(into.Fd()), newName)
	if err == unix.EEXIST {
		unix.Unlinkat(int(into.Fd()), newName, 0)
		err = unix.Symlinkat(string(buf[:n]), int(into.Fd()), newName)
	}
	return err
}

func (c *copier) folder(from *os.File, name string, into *os.File, newName string, mode uint32, shown string) error {
	source, err := openAt(from, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("copying %s: %w", shown, plainError(err))
	}
	defer source.Close()
	// Writable while it is filled; its own mode after that.
	made := unix.Mkdirat(int(into.Fd()), newName, 0o700)
	if made != nil && made != unix.EEXIST {
		return fmt.Errorf("making %s: %w", shown, made)
	}
	target, err := openAt(into, newName, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("copying to %s: %w", shown, plainError(err))
	}
	defer target.Close()
	if err := c.folderContent(source, target, shown); err != nil || made != nil {
		return err
	}
	return setMode(target, mode)
}

// setMode changes the mode of an open file. By its name it could be another one by now: a payload that puts a link
// in the place of a folder would have the mode of what that leads to changed.
func setMode(f *os.File, mode uint32) error {
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), mode); err != nil {
		return &os.PathError{Op: "chmod", Path: f.Name(), Err: err}
	}
	return nil
}

func (c *copier) folderContent(from, into *os.File, shown string) error {
	list, err := openAt(from, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("copying %s: %w", shown, plainError(err))
	}
	names, err := list.Readdirnames(-1)
	list.Close()
	if err != nil {
		return fmt.Errorf("copying %s: %w", shown, plainError(err))
	}
	for _, name := range names {
		if err := c.entry(from, name, into, name, shown+"/"+name); err != nil {
			return err
		}
	}
	return nil
}
