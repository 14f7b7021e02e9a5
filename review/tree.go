package review

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// raw is a path as bytes, which JSON would take for text: what is not UTF-8 is written as %XX, and % too.
type raw string

// MarshalText writes a path as text that tells every two paths apart.
func (r raw) MarshalText() ([]byte, error) {
	s := string(r)
	if utf8.ValidString(s) && !strings.Contains(s, "%") {
		return []byte(s), nil
	}
	var out []byte
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == '%' || c == utf8.RuneError && n == 1 {
			out = fmt.Appendf(out, "%%%02X", s[0])
		} else {
			out = append(out, s[:n]...)
		}
		s = s[n:]
	}
	return out, nil
}

// UnmarshalText reads what MarshalText wrote.
func (r *raw) UnmarshalText(text []byte) error {
	if !slices.Contains(text, '%') {
		*r = raw(text)
		return nil
	}
	var out []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		var c byte
		if i+2 >= len(text) {
			return fmt.Errorf("reading the path %q: it ends within %%XX", text)
		}
		if _, err := fmt.Sscanf(string(text[i+1:i+3]), "%02X", &c); err != nil {
			return fmt.Errorf("reading the path %q: %w", text, err)
		}
		out = append(out, c)
		i += 2
	}
	*r = raw(out)
	return nil
}

// byPath is a map whose keys JSON keeps apart: encoding/json takes keys of a string type as they are.
type byPath[T any] map[raw]T

// MarshalJSON writes the keys as raw does.
func (m byPath[T]) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	err := writeByPath(&out, maps.All(m))
	return out.Bytes(), err
}

// writeByPath writes a map piece by piece: of a million files it is more than a buffer should hold.
func writeByPath[T any](w io.Writer, list iter.Seq2[raw, T]) error {
	separator := "{"
	for path, v := range list {
		key, err := json.Marshal(path)
		if err != nil {
			return err
		}
		value, err := json.Marshal(v)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s:%s", separator, key, value)
		}
		if err != nil {
			return err
		}
		separator = ","
	}
	if separator == "{" {
		_, err := io.WriteString(w, "{}")
		return err
	}
	_, err := io.WriteString(w, "}")
	return err
}

// node is what lstat(2) tells of a path. Times are in nanoseconds since 1970.
type node struct {
	Dev   uint64 `json:"dev,omitempty"`
	Ino   uint64 `json:"ino"`
	Mode  uint32 `json:"mode"` // with the bits of the type
	Size  int64  `json:"size,omitempty"`
	Mtime int64  `json:"mtime"`
	Ctime int64  `json:"ctime"`
	Nlink uint64 `json:"nlink,omitempty"`
	Rdev  uint64 `json:"rdev,omitempty"`
	GID   uint32 `json:"gid,omitempty"`
}

func nodeOf(st *unix.Stat_t) node {
	return node{st.Dev, st.Ino, st.Mode, st.Size, st.Mtim.Nano(), st.Ctim.Nano(), uint64(st.Nlink), st.Rdev, st.Gid}
}

func (n *node) kind() uint32  { return n.Mode & unix.S_IFMT }
func (n *node) folder() bool  { return n.kind() == unix.S_IFDIR }
func (n *node) regular() bool { return n.kind() == unix.S_IFREG }
func (n *node) link() bool    { return n.kind() == unix.S_IFLNK }
func (n *node) perm() uint32  { return n.Mode & 0o7777 }

// shown are the permissions that count: those of its owner to a folder do not, since apply never takes them.
func (n *node) shown() uint32 {
	if n.folder() {
		return n.perm() | 0o700
	}
	return n.perm()
}
func (n *node) runnable() bool  { return n.regular() && n.Mode&0o111 != 0 }
func (n *node) plainFile() bool { return n.regular() || n.link() }

// same tells that nothing has happened to a file: nobody can set a ctime, and rename(2), link(2) and
// unlink(2) change it too.
func (n *node) same(o *node) bool {
	return n.Dev == o.Dev && n.Ino == o.Ino && n.Mode == o.Mode && n.Size == o.Size && n.Mtime == o.Mtime && n.Ctime == o.Ctime
}

// alike is same for a file that was itself renamed meanwhile.
func (n *node) alike(o *node) bool {
	return n.Dev == o.Dev && n.Ino == o.Ino && n.Mode == o.Mode && n.Size == o.Size && n.Mtime == o.Mtime
}

// still tells that a file is what it was. One with more names has a new ctime after any of them was moved,
// by our own hand too.
func (n *node) still(o *node) bool { return n.same(o) || n.Nlink > 1 && n.alike(o) }

// entry is a node with its name in a folder.
type entry struct {
	Name raw  `json:"name"`
	Node node `json:"node"`
}

// tree is a folder whose content is reached by descriptor alone.
type tree struct {
	root *os.File
	path string
	// ask reaches files that the caller may not, where that can be.
	ask func() (*peer, error)
}

// beneath are the rules of every walk: nothing above, no link, no other mount.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV

func openTree(dir string) (*tree, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: dir, Err: err}
	}
	return &tree{root: os.NewFile(uintptr(fd), dir), path: dir}, nil
}

func (t *tree) close() { t.root.Close() }

// open opens a path below, as ourselves.
func (t *tree) openOwn(rel string, flags int, mode uint32) (*os.File, error) {
	if rel == "" {
		rel = "."
	}
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Mode: uint64(mode), Resolve: beneath}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(t.root.Fd()), rel, how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path.Join(t.path, rel)), nil
		case (err == unix.EAGAIN || err == unix.EINTR) && tries < 100: // something was renamed meanwhile
			continue
		}
		return nil, &os.PathError{Op: "opening", Path: path.Join(t.path, rel), Err: err}
	}
}

// open opens a regular file to read it. It never waits for a FIFO; and no user can have made a device that
// would act on being opened.
func (t *tree) open(rel string) (*os.File, node, error) {
	f, err := t.openOwn(rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if refused(err) && t.ask != nil {
		f, err = t.foreign('o', rel)
	}
	if err != nil {
		return nil, node{}, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	n := nodeOf(&st)
	if err == nil && !n.regular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		f.Close()
		return nil, n, &os.PathError{Op: "reading", Path: path.Join(t.path, rel), Err: err}
	}
	return f, n, nil
}

func refused(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

// missing tells that there is nothing at a path, be it that what was a folder above it is none now.
func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// gone is missing where a link may have taken the place of a folder above: it is followed nowhere.
func gone(err error) bool { return missing(err) || errors.Is(err, unix.ELOOP) }

// point opens a path without opening what is there.
func (t *tree) point(rel string) (*os.File, error) {
	f, err := t.openOwn(rel, unix.O_PATH, 0)
	if refused(err) && t.ask != nil {
		f, err = t.foreign('s', rel)
	}
	return f, err
}

func (t *tree) stat(rel string) (node, error) {
	f, err := t.point(rel)
	if err != nil {
		return node{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return node{}, &os.PathError{Op: "looking at", Path: path.Join(t.path, rel), Err: err}
	}
	return nodeOf(&st), nil
}

// mountedOn tells whether something is mounted on a folder: openat2(2), RESOLVE_NO_XDEV, goes by mounts.
func (t *tree) mountedOn(rel string) bool {
	f, err := t.openOwn(rel, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EXDEV)
}

// lookup is stat where there may be nothing, which is nil.
func (t *tree) lookup(rel string) (*node, error) {
	n, err := t.stat(rel)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// readlink reads a symlink.
func (t *tree) readlink(rel string) (string, error) {
	f, err := t.point(rel)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err != nil {
		return "", &os.PathError{Op: "reading the link", Path: path.Join(t.path, rel), Err: err}
	}
	return string(buf[:n]), nil
}

// list lists a folder, sorted by name.
func (t *tree) list(rel string) ([]entry, error) {
	f, err := t.openOwn(rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	var list []entry
	if err == nil {
		list, err = listFolder(f)
		f.Close()
	}
	if refused(err) && t.ask != nil {
		if f, err = t.foreign('l', rel); err == nil {
			list, err = readEntries(f)
			f.Close()
		}
	}
	return list, err
}

// listFolder lists an open folder.
func listFolder(f *os.File) ([]entry, error) {
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	list := make([]entry, 0, len(names))
	for _, name := range names {
		e := entry{Name: raw(name)}
		var st unix.Stat_t
		err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, &os.PathError{Op: "looking at", Path: path.Join(f.Name(), name), Err: err}
		}
		e.Node = nodeOf(&st)
		list = append(list, e)
	}
	return list, nil
}

// attributes of overlayfs, as they are called with the mount option userxattr.
const (
	opaqueAttribute = "user.overlay.opaque"
	originAttribute = "user.overlay.origin"
)

// opaque tells whether a folder in an upper hides what the host has below.
func (t *tree) opaque(rel string) (bool, error) {
	value, err := t.attribute(rel, opaqueAttribute, unix.O_DIRECTORY)
	return string(value) == "y", err
}

// copiedUp tells whether a file in an upper began as one of the host's.
func (t *tree) copiedUp(rel string) bool {
	value, err := t.attribute(rel, originAttribute, unix.O_NONBLOCK|unix.O_NOCTTY)
	return err == nil && len(value) > 0
}

// attribute reads an extended attribute; none is no error.
func (t *tree) attribute(rel, name string, flags int) ([]byte, error) {
	f, err := t.openOwn(rel, unix.O_RDONLY|flags, 0)
	if refused(err) && t.ask != nil {
		return t.foreignAttribute(rel, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, err := unix.Fgetxattr(int(f.Fd()), name, buf)
	if err == unix.ENODATA || err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "reading attributes of", Path: f.Name(), Err: err}
	}
	return buf[:n], nil
}

func readEntries(f io.Reader) ([]entry, error) {
	var list []entry
	err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&list)
	return list, err
}
