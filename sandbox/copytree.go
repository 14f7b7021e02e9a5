package sandbox

import (
	"errors"
	"io"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tree is copied by descriptor: nothing in it is opened by a path that somebody could lead elsewhere
// meanwhile, and what is mounted below is left out. Hard links within the tree, sparse files, times, modes and
// user attributes stay as they are; devices and sockets are left out. Where the file system has reflinks
// (ioctl_ficlone(2)), the content is shared.

// notCopiedError is a tree that a copy would not be true to, or too large for one.
type notCopiedError struct{ why string }

func (e *notCopiedError) Error() string { return e.why }

// bounds are what a tree that is copied may have at most.
type bounds struct {
	entries int
	bytes   int64 // on disk
}

// survey counts a tree, and ends with a *notCopiedError where it is larger than the bounds or has what a copy
// by this user would change: files of others, or ones that cannot be read.
func survey(dir *os.File, left *bounds, uid uint32) error {
	return eachEntry(dir, func(name string, st *unix.Stat_t) error {
		left.entries--
		left.bytes -= st.Blocks * 512
		switch {
		case left.entries < 0 || left.bytes < 0:
			return &notCopiedError{"it is large"}
		case st.Uid != uid:
			return &notCopiedError{name + " belongs to another user"}
		case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o400 == 0:
			return &notCopiedError{name + " cannot be read"}
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return nil
		}
		sub, err := openBelow(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, unix.EXDEV) {
			return nil // something is mounted there
		}
		if err != nil {
			return &notCopiedError{name + " cannot be read"}
		}
		defer sub.Close()
		return survey(sub, left, uid)
	})
}

// eachEntry calls do for what is in a folder. What goes away meanwhile is left out.
func eachEntry(dir *os.File, do func(name string, st *unix.Stat_t) error) error {
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			if err := do(name, &st); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// openBelow opens what is in a folder, without following a link and without crossing into a mount: EXDEV.
func openBelow(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: flags | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// treeCopy is a copy of a tree in the making.
type treeCopy struct {
	top   *os.File          // of the copy
	links map[fileID]string // files with more than one name: where the copy of them is, below top
	buf   []byte
	// owners says that owners stay as well, and the marks of overlays: it takes root of a user namespace.
	owners bool
	// blank are paths of which only empty files and folders are made.
	blank []string
	// apart says that the two file systems share no content.
	apart bool
}

// copyTree copies what is in the folder from into the folder to, which is empty, with modes and times. At the
// paths blank, relative to them, is nothing but an empty file or folder.
func copyTree(from, to *os.File, blank ...string) error {
	c := &treeCopy{top: to, links: map[fileID]string{}, blank: blank}
	return c.begin(from)
}

func (c *treeCopy) begin(from *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	return c.folder(from, c.top, "", &st)
}

func (c *treeCopy) folder(from, to *os.File, path string, st *unix.Stat_t) error {
	err := eachEntry(from, func(name string, st *unix.Stat_t) error {
		err := c.entry(from, to, path+"/"+name, name, st)
		if errors.Is(err, unix.ENOENT) {
			return nil // it went away
		}
		return err
	})
	if err != nil {
		return err
	}
	copyAttributes(to, from)
	return c.like(to, st)
}

// like is like with the owner, where owners stay.
func (c *treeCopy) like(f *os.File, st *unix.Stat_t) error {
	if c.owners {
		if err := unix.Fchown(int(f.Fd()), int(st.Uid), int(st.Gid)); err != nil {
			return wrap(err, "giving its owner to", f.Name())
		}
	}
	return like(f, st)
}

// like gives a file mode and times of another. Those are last: making what is in a folder changes its times.
func like(f *os.File, st *unix.Stat_t) error {
	if err := unix.Fchmod(int(f.Fd()), st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "setting the mode of", Path: f.Name(), Err: err}
	}
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	// futimens(3), which package unix lacks: utimensat(2) without a path.
	if _, _, err := unix.Syscall6(unix.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); err != 0 {
		return &os.PathError{Op: "setting the times of", Path: f.Name(), Err: err}
	}
	return nil
}

func (c *treeCopy) entry(from, to *os.File, path, name string, st *unix.Stat_t) error {
	if len(c.blank) > 0 && slices.Contains(c.blank, path[1:]) {
		return c.placeholder(to, name, st)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subfolder(from, to, path, name, st)
	case unix.S_IFLNK:
		return c.link(from, to, name, st)
	case unix.S_IFREG:
		id := fileID{st.Dev, st.Ino}
		if first, there := c.links[id]; there {
			return wrap(unix.Linkat(int(c.top.Fd()), first, int(to.Fd()), name, 0), "linking", name)
		}
		if st.Nlink > 1 {
			c.links[id] = path[1:]
		}
		return c.file(from, to, name)
	case unix.S_IFIFO:
		return c.node(to, name, st)
	case unix.S_IFCHR:
		if c.owners && st.Rdev == 0 { // the mark of what was removed
			return c.node(to, name, st)
		}
	}
	return nil
}

// node makes what has no content.
func (c *treeCopy) node(to *os.File, name string, st *unix.Stat_t) error {
	if err := unix.Mknodat(int(to.Fd()), name, st.Mode, 0); err != nil {
		return wrap(err, "making", name)
	}
	return c.own(to, name, st)
}

// own gives an owner to what is not opened, where owners stay.
func (c *treeCopy) own(to *os.File, name string, st *unix.Stat_t) error {
	if !c.owners {
		return nil
	}
	return wrap(unix.Fchownat(int(to.Fd()), name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW), "giving its owner to", name)
}

func wrap(err error, op, path string) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

func (c *treeCopy) subfolder(from, to *os.File, path, name string, st *unix.Stat_t) error {
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return wrap(err, "making", name)
	}
	made, err := openBelow(to, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer made.Close()
	sub, err := openBelow(from, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.EXDEV) {
		return nil // a mount point
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return c.folder(sub, made, path, st)
}

func (c *treeCopy) link(from, to *os.File, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buf)
	if err != nil {
		return wrap(err, "reading the link", name)
	}
	if err := unix.Symlinkat(string(buf[:n]), int(to.Fd()), name); err != nil {
		return wrap(err, "making", name)
	}
	if err := c.own(to, name, st); err != nil {
		return err
	}
	return wrap(unix.UtimesNanoAt(int(to.Fd()), name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW), "setting the times of", name)
}

// file copies a regular file: what is opened decides, not what was there when the folder was read.
func (c *treeCopy) file(from, to *os.File, name string) error {
	in, err := openBelow(from, name, unix.O_RDONLY)
	if errors.Is(err, unix.EXDEV) {
		return c.mountPoint(to, name)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	out, err := createBelow(to, name)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := c.shareOrCopy(in, out, &st); err != nil {
		return err
	}
	copyAttributes(out, in)
	return c.like(out, &st)
}

// shareOrCopy has a file share the content of another, or copies it.
func (c *treeCopy) shareOrCopy(in, out *os.File, st *unix.Stat_t) error {
	if !c.apart && st.Size > 0 {
		if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
			return nil
		}
		c.apart = true
	}
	return c.content(in, out, st.Size)
}

// placeholder makes an empty file or folder, with the mode and times of what it stands for.
func (c *treeCopy) placeholder(to *os.File, name string, st *unix.Stat_t) (err error) {
	var made *os.File
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = unix.Mkdirat(int(to.Fd()), name, 0o700); err == nil {
			made, err = openBelow(to, name, unix.O_RDONLY|unix.O_DIRECTORY)
		}
	case unix.S_IFREG:
		made, err = createBelow(to, name)
	default:
		return nil
	}
	if err != nil {
		return wrap(err, "making", name)
	}
	defer made.Close()
	return c.like(made, st)
}

// mountPoint makes a file for another to be mounted on.
func (c *treeCopy) mountPoint(to *os.File, name string) error {
	f, err := createBelow(to, name)
	if err == nil {
		f.Close()
	}
	return err
}

func createBelow(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "making", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// content copies the parts of a file that have data (lseek(2), SEEK_DATA): holes stay holes.
func (c *treeCopy) content(in, out *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		end := size
		if err == nil {
			end, err = unix.Seek(int(in.Fd()), start, unix.SEEK_HOLE)
		}
		if err != nil { // a file system that knows no holes
			start, end = at, size
		}
		if err := c.part(in, out, start, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return wrap(unix.Ftruncate(int(out.Fd()), size), "sizing", out.Name())
}

const copyBuffer = 256 << 10

func (c *treeCopy) part(in, out *os.File, start, end int64) error {
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	for start < end {
		n, err := in.ReadAt(c.buf[:min(end-start, copyBuffer)], start)
		if n > 0 {
			if _, err := out.WriteAt(c.buf[:n], start); err != nil {
				return err
			}
		}
		start += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyAttributes copies the user's extended attributes; one that cannot be carried is left out.
func copyAttributes(to, from *os.File) {
	buf := make([]byte, 4096)
	n, err := unix.Flistxattr(int(from.Fd()), buf)
	if err != nil || n == 0 {
		return
	}
	for name := range slices.Values(splitNames(buf[:n])) {
		value := make([]byte, 64<<10)
		if size, err := unix.Fgetxattr(int(from.Fd()), name, value); err == nil {
			unix.Fsetxattr(int(to.Fd()), name, value[:size], 0)
		}
	}
}

// splitNames are the names of a list of flistxattr(2) that are the user's own.
func splitNames(list []byte) (names []string) {
	const prefix = "user."
	for start, i := 0, 0; i < len(list); i++ {
		if list[i] != 0 {
			continue
		}
		if name := string(list[start:i]); len(name) > len(prefix) && name[:len(prefix)] == prefix {
			names = append(names, name)
		}
		start = i + 1
	}
	return names
}
