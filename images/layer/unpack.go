package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/images"
)

// Options bound what a layer may hold, and say how ids are kept.
type Options struct {
	// MaxBytes bounds the tar, in bytes, holes of sparse files included.
	MaxBytes int64 `json:"max_bytes"`
	// MaxEntries bounds the entries, each of which costs an inode.
	MaxEntries int64 `json:"max_entries"`
	// SingleID says that one id alone is mapped: owners are noted in an attribute, not given.
	SingleID bool `json:"single_id"`
}

// LimitError is a layer that holds more than it may.
type LimitError struct {
	What string
	Max  int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the layer holds more than %d %s", e.Max, e.What)
}

// EntryError is an entry that cannot be unpacked.
type EntryError struct {
	Name string
	Err  error
}

func (e *EntryError) Error() string { return fmt.Sprintf("unpacking %q: %v", e.Name, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// Whiteouts as the image specification has them.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// opaqueXattr marks a folder that hides those below it in an overlay mounted with userxattr.
const opaqueXattr = "user.overlay.opaque"

// ownerXattr notes the owner and mode of a file where no other id can be given: the form is that of
// containers/storage and fuse-overlayfs.
const ownerXattr = "user.containers.override_stat"

// inTree resolves a path below the tree: absolute links and .. stay in it.
const inTree = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// unpacker makes one tree.
type unpacker struct {
	Options
	root int // the tree
	meta images.Meta
	// The folder of the last entry, since most entries come folder by folder. It is forgotten where
	// something is removed or replaced, for it might be that folder.
	parentName string
	parent     int
	// times are those of folders, which all that is made in them would change.
	times  []folderTime
	buffer []byte // of copies
}

type folderTime struct {
	name string
	time time.Time
}

// Unpack makes the tree of a layer from its tar in the empty folder root. It reads the tar to its end.
func Unpack(r io.Reader, root string, o Options) (*images.Meta, error) {
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the tree of the layer: %w", err)
	}
	defer unix.Close(fd)
	u := &unpacker{Options: o, root: fd, parent: -1, buffer: make([]byte, 256<<10)}
	u.meta.Links = map[string]string{}
	defer u.forget()
	unix.Umask(0)
	if !o.SingleID {
		if err := unix.Fchown(fd, 0, 0); err != nil {
			return nil, fmt.Errorf("giving the tree of the layer to root: %w", err)
		}
	}
	counted := &counter{from: r, left: o.MaxBytes, max: o.MaxBytes}
	if err := u.all(tar.NewReader(counted)); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, counted); err != nil { // what pads the last record
		return nil, err
	}
	return &u.meta, u.setTimes()
}

// DefaultOptions are the bounds where the configuration says nothing: 64 GiB and four million entries.
var DefaultOptions = Options{MaxBytes: 64 << 30, MaxEntries: 4 << 20}

// RemoveAll removes a name in a folder, with all below it; one that is not there is no error.
func RemoveAll(dir, name string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a folder: %w", err)
	}
	defer unix.Close(fd)
	return removeAt(fd, name)
}

// counter reads up to a number of bytes and then fails.
type counter struct {
	from      io.Reader
	left, max int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, &LimitError{"bytes", c.max}
	}
	return n, err
}

func (u *unpacker) all(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the layer: %w", err)
		}
		if u.meta.Entries++; u.meta.Entries > u.MaxEntries {
			return &LimitError{"entries", u.MaxEntries}
		}
		if err := u.entry(h, r); err != nil {
			return &EntryError{h.Name, err}
		}
	}
}

// entry makes what one header says.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return u.rootEntry(h)
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if strings.HasPrefix(dir, whiteoutPrefix) || strings.Contains(dir, "/"+whiteoutPrefix) {
		return errors.New("it lies in a whiteout")
	}
	parent, err := u.folder(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(parent, dir, base)
	}
	u.note(name, h)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(parent, base, name, h, r)
	case tar.TypeDir:
		return u.dir(parent, base, name, h)
	case tar.TypeSymlink:
		return u.symlink(parent, base, h)
	case tar.TypeLink:
		return u.link(parent, base, h)
	case tar.TypeFifo:
		return u.fifo(parent, base, h)
	case tar.TypeChar, tar.TypeBlock:
		u.meta.Devices = noted(u.meta.Devices, name)
		return nil
	}
	return fmt.Errorf("it is of the unknown type %q", h.Typeflag)
}

// clean is a name relative to the tree, without "." and empty parts.
func clean(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("its name has a NUL byte")
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", errors.New(`its name has a ".." in it`)
		default:
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/"), nil
}

// rootEntry is the entry of the tree itself.
func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the top of the tree is no folder")
	}
	u.times = append(u.times, folderTime{".", h.ModTime})
	return u.attributes(u.root, h)
}

func (u *unpacker) forget() {
	if u.parent >= 0 && u.parent != u.root {
		unix.Close(u.parent)
	}
	u.parent, u.parentName = -1, ""
}

// folder opens a folder of the tree, and makes it where the layer did not bring it (yet).
func (u *unpacker) folder(name string) (int, error) {
	if name == "" {
		return u.root, nil
	}
	if u.parent >= 0 && u.parentName == name {
		return u.parent, nil
	}
	fd, err := u.openFolder(name)
	if err != nil {
		return -1, err
	}
	u.forget()
	u.parent, u.parentName = fd, name
	return fd, nil
}

func (u *unpacker) openFolder(name string) (int, error) {
	fd, err := openIn(u.root, name)
	if err == nil {
		return fd, nil
	}
	if err != unix.ENOENT && err != unix.ENOTDIR {
		return -1, fmt.Errorf("opening its folder: %w", err)
	}
	above, base := u.root, name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		if above, err = u.openFolder(name[:i]); err != nil {
			return -1, err
		}
		defer unix.Close(above)
		base = name[i+1:]
	}
	if err := u.makeFolder(above, base, 0o755); err != nil {
		return -1, fmt.Errorf("making its folder: %w", err)
	}
	return openIn(u.root, name)
}

func openIn(root int, name string) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inTree,
	})
}

// makeFolder makes a folder. In the place of a whiteout it hides what layers below have there.
func (u *unpacker) makeFolder(parent int, base string, mode uint32) error {
	err := unix.Mkdirat(parent, base, mode)
	if err != unix.EEXIST || !isWhiteout(parent, base) {
		return err
	}
	if err := unix.Unlinkat(parent, base, 0); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, base, mode); err != nil {
		return err
	}
	return setOpaque(parent, base)
}

func setOpaque(parent int, base string) error {
	fd, err := openBase(parent, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("marking the folder as opaque: %w", err)
	}
	return nil
}

// openBase opens a folder by the last part of its name, following no link.
func openBase(parent int, base string) (int, error) {
	return unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// isWhiteout tells whether a name is a whiteout, of which only .wh. entries make any.
func isWhiteout(parent int, base string) bool {
	var st unix.Stat_t
	return unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// whiteout makes what hides a name, or all of a folder, of the layers below. It never removes what
// this layer brings: a folder of this layer becomes opaque, another file hides by itself.
func (u *unpacker) whiteout(parent int, dir, base string) error {
	u.noteGone(path.Join(dir, strings.TrimPrefix(base, whiteoutPrefix)))
	if base == whiteoutOpaque {
		u.noteGone(dir + "/")
		return unix.Fsetxattr(parent, opaqueXattr, []byte("y"), 0)
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil // of aufs, for itself
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("it hides no name")
	}
	err := unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	if err != unix.EEXIST {
		return err
	}
	if err := setOpaque(parent, name); err != nil && err != unix.ENOTDIR && err != unix.ELOOP {
		return err
	}
	return nil
}

// vacate removes what an earlier entry put in the place of this one.
func (u *unpacker) vacate(parent int, base string) error {
	u.forgetUnless(parent)
	return removeAt(parent, base)
}

// forgetUnless forgets the folder of the last entry where it is not the one in use.
func (u *unpacker) forgetUnless(parent int) {
	if u.parent != parent {
		u.forget()
	}
}

// setTimes gives folders the times that they should have, once nothing more is made in them.
func (u *unpacker) setTimes() error {
	for i := len(u.times) - 1; i >= 0; i-- {
		fd, err := openIn(u.root, u.times[i].name)
		if err != nil {
			continue // a later entry replaced the folder
		}
		ts := timespecs(u.times[i].time)
		err = unix.UtimesNanoAt(fd, "", ts[:], unix.AT_EMPTY_PATH)
		unix.Close(fd)
		if err != nil {
			return &EntryError{u.times[i].name, fmt.Errorf("setting its time: %w", err)}
		}
	}
	return nil
}
