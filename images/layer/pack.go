package layer

import (
	"archive/tar"
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
}

// packer writes one tar.
type packer struct {
	PackOptions
	tar   *tar.Writer
	links map[inode]string // names of files with several
	left  []string         // what has no place in a layer
}

type inode struct{ dev, ino uint64 }

// Pack writes the tar of a tree. Its order is that of the names, so that the same tree makes the same
// layer. It returns what it left out: devices and sockets.
func Pack(w io.Writer, root string, o PackOptions) ([]string, error) {
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the tree: %w", err)
	}
	p := &packer{PackOptions: o, tar: tar.NewWriter(w), links: map[inode]string{}}
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
		return &EntryError{name, err}
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
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &EntryError{name, err}
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), Format: tar.FormatPAX,
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = p.dir(parent, base, h)
	case unix.S_IFREG:
		err = p.file(parent, base, h, &st)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = readlink(parent, base); err == nil {
			err = p.tar.WriteHeader(h)
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
		err = p.tar.WriteHeader(h)
	case unix.S_IFCHR:
		if p.Upper && st.Rdev == 0 {
			dir, base := path.Split(name)
			err = p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + whiteoutPrefix + base, Format: tar.FormatPAX})
			break
		}
		p.left = noted(p.left, name)
	default:
		p.left = noted(p.left, name)
	}
	if err != nil {
		return &EntryError{name, err}
	}
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
	if opaque && p.Upper {
		err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + whiteoutOpaque, Format: tar.FormatPAX})
		if err != nil {
			unix.Close(fd)
			return err
		}
	}
	return p.folder(fd, name)
}

func (p *packer) file(parent int, base string, h *tar.Header, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, ok := p.links[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.tar.WriteHeader(h)
		}
		p.links[id] = h.Name
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	p.attributes(fd, h)
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(p.tar, f, st.Size)
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
