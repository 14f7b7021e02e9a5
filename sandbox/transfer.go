package sandbox

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// transfer moves what is in one folder of an overlay into another one, folder by folder and file by file. Nothing that
// is mounted on is moved.
//
// To rename a file of the lower layer the kernel copies it up first, and waits for the disk with each one (ovl_copy_up_data
// in fs/overlayfs/copy_up.c, fsync unless the overlay is volatile): a thousand files took seconds. So such a file is
// copied here, which waits for nothing, and then the old one goes. A lease on the old one (fcntl(2), F_SETLEASE) is had
// only while nobody has it open to write, and holds up whoever opens it for that: it is renamed after all then, as where
// there is no lease, or a copy would not be the same for who looks at it. So what others write meanwhile, or put in its
// place, is not lost, but for one who is between finding the file and opening it, or replaces it, in the instant in which it goes.
type transfer struct {
	stop *atomic.Bool // set: what is begun is broken off
	back bool         // all that is moved lies in the upper layer: nothing needs a copy
	copy treeCopy
}

// all moves all of a folder. upper is what the upper layer has of it; nil is nothing.
func (t *transfer) all(from, to, upper *os.File) error {
	again, err := openBelow(from, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer again.Close()
	return eachEntry(again, func(name string, st *unix.Stat_t) error {
		switch {
		case t.stop != nil && t.stop.Load():
			return wrap(unix.ECANCELED, "moving", name)
		case !sameMount(from, "", from, name):
			return wrap(unix.EBUSY, "moving", name)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return t.file(from, to, upper, name, st)
		}
		return t.folder(from, to, upper, name, st)
	})
}

func (t *transfer) folder(from, to, upper *os.File, name string, st *unix.Stat_t) error {
	sub, err := openBelow(from, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer sub.Close()
	made, err := makeLike(to, name)
	if err != nil {
		return err
	}
	defer made.Close()
	below := folderBelow(upper, name)
	defer below.Close() // of a nil file: an error that nobody needs
	// Where it fails half way, this one tells still what the other was like, to who moves all back.
	if err := errors.Join(t.all(sub, made, below), finishLike(made, sub, st)); err != nil {
		return err
	}
	return wrap(unix.Unlinkat(int(from.Fd()), name, unix.AT_REMOVEDIR), "removing", name)
}

// file moves what is no folder.
func (t *transfer) file(from, to, upper *os.File, name string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFREG && !t.back && !hasName(upper, name) && t.byCopy(from, to, name) {
		return nil
	}
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE)
	switch {
	case err != unix.EEXIST:
	case t.back: // somebody has put another one in its place, after it was moved away
		err = unix.Unlinkat(int(from.Fd()), name, 0)
	default: // it is the other one, which came in the place of what was moved before
		err = unix.Renameat(int(from.Fd()), name, int(to.Fd()), name)
	}
	return wrap(err, "moving", name)
}

// hasName tells whether the upper layer has a file: whoever has that one open, or another name of it, keeps it.
func hasName(upper *os.File, name string) bool {
	if upper == nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstatat(int(upper.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != unix.ENOENT
}

// byCopy puts a copy of a file of the lower layer in the other folder, and removes the file. It tells whether it did;
// else nothing has changed.
func (t *transfer) byCopy(from, to *os.File, name string) bool {
	in, err := openBelow(from, name, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer in.Close() // which gives the lease back
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Getuid() || !plainAttributes(in) {
		return false
	}
	out, err := createBelow(to, name)
	if err != nil {
		return false
	}
	defer out.Close()
	err = t.copy.shareOrCopy(in, out, &st)
	copyAttributes(out, in)
	if err == nil {
		err = unix.Fchown(int(out.Fd()), -1, int(st.Gid))
	}
	if err == nil {
		err = like(out, &st)
	}
	if lease, failed := unix.FcntlInt(in.Fd(), unix.F_GETLEASE, 0); err == nil && (failed != nil || lease != unix.F_RDLCK) {
		err = unix.EAGAIN // somebody waits to write to it
	}
	if err == nil && !isNamed(from, name, &st) {
		err = unix.EAGAIN // somebody has put another one in its place
	}
	if err == nil {
		err = unix.Unlinkat(int(from.Fd()), name, 0)
	}
	if err != nil {
		unix.Unlinkat(int(to.Fd()), name, 0)
	}
	return err == nil
}

// isNamed tells whether it is this file that has a name.
func isNamed(dir *os.File, name string, st *unix.Stat_t) bool {
	var now unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &now, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && now.Dev == st.Dev && now.Ino == st.Ino
}

// plainAttributes tells whether a file has no extended attributes but the user's own, which are copied, and the label
// of SELinux, which every file has by where it is made: access control lists and capabilities are the kernel's to carry.
func plainAttributes(f *os.File) bool {
	buf := make([]byte, 4096)
	n, err := unix.Flistxattr(int(f.Fd()), buf)
	if err != nil {
		return err == unix.EOPNOTSUPP
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name != "" && !strings.HasPrefix(name, "user.") && name != "security.selinux" {
			return false
		}
	}
	return true
}
