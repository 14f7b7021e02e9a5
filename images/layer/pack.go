package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PackOptions say what of a tree goes into a layer.
type PackOptions struct {
	// Exclude are paths, relative to the tree, that are left out with all below them.
	Exclude []string `json:"exclude"`
	// Upper says that the tree is the upper of an overlay: whiteouts and opaque folders in it are told as a
	// layer tells them. Else a 0:0 device is a device, and left out like all others.
	Upper bool `json:"upper"`
	// Fuse says that fuse-overlayfs made the upper: it keeps its books in other names.
	Fuse bool `json:"fuse"`
	// Without are lines, with their ends, that are taken out of files: by path, relative to the tree.
	Without map[string]string `json:"without"`
}

// ChangedError is a file that something wrote to while it was packed.
type ChangedError struct{ Name string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%q became shorter while it was read", e.Name)
}

// packer writes one tar.
type packer struct {
	PackOptions
	tar   *tar.Writer
	links map[inode]string // names of files with several
	left  []string         // what has no place in a layer
	// buffer is for copies: one of 32 KiB a file would cost more than most files do.
	buffer []byte
}

type inode struct{ dev, ino uint64 }

// Pack writes the tar of a tree. Its order is that of the names, so that the same tree makes the same
// layer. It returns what it left out: devices, sockets, and names that mean something else in a layer. What
// is gone by the time it is looked at was removed while the tree was packed, and is not there.
func Pack(w io.Writer, root string, o PackOptions) ([]string, error) {
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the tree: %w", err)
	}
	p := &packer{PackOptions: o, tar: tar.NewWriter(w), links: map[inode]string{}, buffer: make([]byte, 256<<10)}
	if err := p.folder(fd, ""); err != nil {
		return nil, err
	}
	return p.left, p.tar.Close()
}

// folder packs what is in an open folder, and closes it.
func (p *packer) folder(fd int, name string) error {
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return &PackError{name, err}
	}
	slices.Sort(names)
	for _, base := range names {
		if err := p.entry(int(dir.Fd()), base, path.Join(name, base)); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) entry(parent int, base, name string) error {
	if slices.Contains(p.Exclude, name) {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && strings.HasPrefix(base, whiteoutPrefix) && !p.isBook(base, &st) {
		p.left = noted(p.left, name) // others would take it for a whiteout
		return nil
	}
	if err == nil {
		err = p.kind(parent, base, name, &st)
	}
	var inner *PackError // of a name in this folder
	switch {
	case err == unix.ENOENT:
		return nil
	case err == nil || errors.As(err, &inner):
		return err
	}
	return &PackError{name, err}
}

// isBook tells whether a name is a whiteout of fuse-overlayfs, which lets no payload make such names.
func (p *packer) isBook(base string, st *unix.Stat_t) bool {
	return p.Fuse && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0
}

// PackError is a name that cannot be packed.
type PackError struct {
	Name string
	Err  error
}

func (e *PackError) Error() string { return fmt.Sprintf("packing %q: %v", e.Name, e.Err) }

func (e *PackError) Unwrap() error { return e.Err }

// kind packs what a name is.
func (p *packer) kind(parent int, base, name string, st *unix.Stat_t) error {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p.dir(parent, base, h)
	case unix.S_IFREG:
		return p.file(parent, base, h, st)
	case unix.S_IFLNK:
		to, err := readlink(parent, base)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, to
		return p.tar.WriteHeader(h)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
		return p.tar.WriteHeader(h)
	case unix.S_IFCHR:
		if p.Upper && st.Rdev == 0 {
			dir, base := path.Split(name)
			return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + whiteoutPrefix + base, Format: tar.FormatPAX})
		}
	}
	p.left = noted(p.left, name)
	return nil
}

func (p *packer) dir(parent int, base string, h *tar.Header) error {
	fd, err := openBase(parent, base)
	if err != nil {
		return err
	}
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	opaque := p.attributes(fd, h)
	if err := p.tar.WriteHeader(h); err != nil {
		unix.Close(fd)
		return err
	}
	if opaque && p.Upper && !p.Fuse { // which has the marker beside the attribute
		err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + whiteoutOpaque, Format: tar.FormatPAX})
		if err != nil {
			unix.Close(fd)
			return err
		}
	}
	return p.folder(fd, name)
}

func (p *packer) file(parent int, base string, h *tar.Header, st *unix.Stat_t) error {
	id := inode{uint64(st.Dev), st.Ino}
	if first, ok := p.links[id]; ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return p.tar.WriteHeader(h)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	if st.Nlink > 1 {
		p.links[id] = h.Name
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	p.attributes(fd, h)
	if line, ok := p.Without[h.Name]; ok && st.Size <= maxAccountsFile {
		return p.without(f, h, line)
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{p.tar}, io.LimitReader(onlyReader{f}, st.Size), p.buffer)
	if err == nil && n < st.Size {
		return &ChangedError{h.Name}
	}
	return err
}

type onlyWriter struct{ io.Writer }

// maxAccountsFile is far more than a file of accounts has, in bytes. A larger one is packed as it is.
const maxAccountsFile = 1 << 20

// without packs a small file but for one line.
func (p *packer) without(f *os.File, h *tar.Header, line string) error {
	content, err := io.ReadAll(io.LimitReader(f, h.Size))
	if err != nil {
		return err
	}
	var kept strings.Builder
	for one := range strings.Lines(string(content)) {
		if one != line {
			kept.WriteString(one)
		}
	}
	text := kept.String()
	h.Size = int64(len(text))
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.WriteString(p.tar, text)
	return err
}

// attributes adds the extended attributes that a layer may have, and tells whether the folder is opaque.
// An owner that was noted for want of ids is given back.
func (p *packer) attributes(fd int, h *tar.Header) (opaque bool) {
	size, err := unix.Flistxattr(fd, nil)
	if err != nil || size == 0 {
		return false
	}
	list := make([]byte, size+1024)
	if size, err = unix.Flistxattr(fd, list); err != nil {
		return false
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(fd, name, value)
		if err != nil {
			continue
		}
		switch {
		case name == opaqueXattr:
			opaque = string(value[:n]) == "y"
		case name == ownerXattr:
			var mode int64
			fmt.Sscanf(string(value[:n]), "%d:%d:%o", &h.Uid, &h.Gid, &mode)
		case mayBeSet(name):
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[paxXattr+name] = string(value[:n])
		}
	}
	return opaque
}

func readlink(parent int, base string) (string, error) {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(parent, base, buf)
	return string(buf[:max(n, 0)]), err
}
