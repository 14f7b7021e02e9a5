package review

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// block is how much is looked at at once, in bytes. Blocks of zeros are the same as holes.
const block = 64 << 10

// zeros is such a block.
var zeros [block]byte

// errnoOf finds the system's own error in another.
func errnoOf(err error) (syscall.Errno, bool) {
	var errno syscall.Errno
	ok := errors.As(err, &errno)
	return errno, ok
}

// ErrChanged is a file that changed while it was read.
var ErrChanged = errors.New("it changed while it was read")

// blocks calls do with each block of a file that may hold something: holes are skipped, so that a sparse
// file costs what it holds. The last block may be shorter.
func blocks(f *os.File, size int64, do func(at int64, data []byte) error) error {
	buf := make([]byte, min(block, size))
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil // nothing but a hole up to the end
		}
		if err == nil {
			at = max(at, data/block*block)
		} // else a file system without holes: all is data
		if at >= size {
			return nil
		}
		want := buf[:min(block, size-at)]
		n, err := f.ReadAt(want, at)
		if err == io.EOF && n < len(want) {
			return ErrChanged
		}
		if err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(want, zeros[:n]) {
			if err := do(at, want); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return nil
}

// hasher makes the digest of a file's content: SHA-256 of each block that is not all zeros, with its place,
// and of the size. So a hole of 100 GB costs nothing.
type hasher struct {
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func newHasher() *hasher { return &hasher{sha256.New()} }

func (h *hasher) add(at int64, data []byte) {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(at))
	h.sum.Write(place[:])
	h.sum.Write(data)
}

func (h *hasher) end(size int64) string {
	h.add(size, nil)
	return hex.EncodeToString(h.sum.Sum(nil))
}

// digest is that of an open file.
func digest(f *os.File, size int64) (string, error) {
	h := newHasher()
	err := blocks(f, size, func(at int64, data []byte) error { h.add(at, data); return nil })
	if err != nil {
		return "", &os.PathError{Op: "reading", Path: f.Name(), Err: err}
	}
	return h.end(size), nil
}

// sameContent compares two files of one size.
func sameContent(a, b *os.File, size int64) (bool, error) {
	if size == 0 {
		return true, nil
	}
	if size <= block {
		x, y := make([]byte, size), make([]byte, size)
		if _, err := a.ReadAt(x, 0); err != nil && err != io.EOF {
			return false, err
		}
		if _, err := b.ReadAt(y, 0); err != nil && err != io.EOF {
			return false, err
		}
		return bytes.Equal(x, y), nil
	}
	errDiffer := errors.New("they differ")
	covers := func(a, b *os.File) error { // what a holds, b holds
		buf := make([]byte, block)
		return blocks(a, size, func(at int64, data []byte) error {
			n, err := b.ReadAt(buf[:len(data)], at)
			if err != nil && err != io.EOF {
				return err
			}
			if !bytes.Equal(data, buf[:n]) {
				return errDiffer
			}
			return nil
		})
	}
	for _, pair := range [][2]*os.File{{a, b}, {b, a}} {
		switch err := covers(pair[0], pair[1]); {
		case err == errDiffer || err == ErrChanged:
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// copyContent copies a file into a new, empty one, holes as holes, and returns its digest where that is
// wanted.
func copyContent(to, from *os.File, size int64, wanted bool) (string, error) {
	if !wanted {
		return "", copyFast(to, from, size)
	}
	h := newHasher()
	err := blocks(from, size, func(at int64, data []byte) error {
		h.add(at, data)
		_, err := to.WriteAt(data, at)
		return err
	})
	if err == nil {
		err = unix.Ftruncate(int(to.Fd()), size)
	}
	return h.end(size), err
}

// copyFast copies without looking at what it copies: shared extents where the file system has them.
func copyFast(to, from *os.File, size int64) error {
	if size > block && unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	if size > block {
		err := blocks(from, size, func(at int64, data []byte) error {
			_, err := to.WriteAt(data, at)
			return err
		})
		if err == nil {
			err = unix.Ftruncate(int(to.Fd()), size)
		}
		return err
	}
	if size == 0 {
		return nil
	}
	buf := make([]byte, size)
	n, err := from.ReadAt(buf, 0)
	if n < len(buf) {
		return errors.Join(ErrChanged, ignoreEOF(err))
	}
	_, err = to.Write(buf)
	return err
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// userAttributes are the names of the extended attributes that go along with a file: the user's own, but
// for those of an overlay.
func userAttributes(f *os.File) []string {
	buf := make([]byte, 4096)
	n, err := unix.Flistxattr(int(f.Fd()), buf)
	if err != nil || n == 0 {
		return nil
	}
	var names []string
	for name := range bytes.SplitSeq(buf[:n], []byte{0}) {
		if bytes.HasPrefix(name, []byte("user.")) && !bytes.HasPrefix(name, []byte("user.overlay.")) {
			names = append(names, string(name))
		}
	}
	return names
}

// copyAttributes copies them, as far as the file system takes them.
func copyAttributes(to, from *os.File) {
	for _, name := range userAttributes(from) {
		value := make([]byte, 64<<10)
		if n, err := unix.Fgetxattr(int(from.Fd()), name, value); err == nil {
			unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
		}
	}
}
