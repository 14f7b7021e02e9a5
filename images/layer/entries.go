package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// file makes a regular file.
func (u *unpacker) file(parent int, base, name string, h *tar.Header, r io.Reader) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, base, flags, 0o600)
	if err == unix.EEXIST {
		if err := u.vacate(parent, base); err != nil {
			return err
		}
		fd, err = unix.Openat(parent, base, flags, 0o600)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	out := &writer{fd: fd, sparse: isSparse(h)}
	if keep := u.keeps(name, h); keep != nil {
		r = io.TeeReader(r, keep)
		defer u.kept(name, keep)
	}
	n, err := io.CopyBuffer(out, onlyReader{r}, u.buffer)
	if err != nil {
		return err
	}
	u.meta.Bytes += n
	if out.sparse {
		if err := unix.Ftruncate(fd, n); err != nil {
			return err
		}
	}
	if err := u.attributes(fd, h); err != nil {
		return err
	}
	ts := timespecs(h.ModTime)
	return unix.UtimesNanoAt(parent, base, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

// onlyReader hides other methods of a reader, so that the copy uses our buffer.
type onlyReader struct{ io.Reader }

// writer writes to a descriptor; of a sparse file it leaves out what is zero.
type writer struct {
	fd     int
	sparse bool
}

const hole = 4096

var zeros [hole]byte

func (w *writer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		chunk := p[done:]
		if w.sparse {
			chunk = chunk[:min(hole, len(chunk))]
			if bytes.Equal(chunk, zeros[:len(chunk)]) {
				if _, err := unix.Seek(w.fd, int64(len(chunk)), io.SeekCurrent); err != nil {
					return done, err
				}
				done += len(chunk)
				continue
			}
		}
		n, err := unix.Write(w.fd, chunk)
		if err != nil {
			if err == unix.EINTR {
				continue
			}
			return done, err
		}
		done += n
	}
	return done, nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// dir makes a folder, or gives one that an earlier entry made its attributes.
func (u *unpacker) dir(parent int, base, name string, h *tar.Header) error {
	err := u.makeFolder(parent, base, 0o700)
	fd := -1
	if err == nil || err == unix.EEXIST {
		fd, err = openBase(parent, base)
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		if err = u.vacate(parent, base); err != nil {
			return err
		}
		if err = unix.Mkdirat(parent, base, 0o700); err != nil {
			return err
		}
		fd, err = openBase(parent, base)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	u.times = append(u.times, folderTime{name, h.ModTime})
	return u.attributes(fd, h)
}

// make does what makes a file, and once more where an earlier entry is in its place.
func (u *unpacker) make(parent int, base string, make func() error) error {
	err := make()
	if err != unix.EEXIST {
		return err
	}
	if err := u.vacate(parent, base); err != nil {
		return err
	}
	return make()
}

func (u *unpacker) symlink(parent int, base string, h *tar.Header) error {
	if err := u.make(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) }); err != nil {
		return err
	}
	if err := u.own(h, func(uid, gid int) error { return unix.Fchownat(parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return err
	}
	if len(xattrs(h)) > 0 {
		u.meta.Attributes = noted(u.meta.Attributes, h.Name)
	}
	ts := timespecs(h.ModTime)
	return unix.UtimesNanoAt(parent, base, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

// link makes a hard link to what an earlier entry of this layer made. Its attributes are those of
// that entry.
func (u *unpacker) link(parent int, base string, h *tar.Header) error {
	target, err := clean(h.Linkname)
	if err != nil || target == "" {
		return fmt.Errorf("it is a hard link to %q, which is no name", h.Linkname)
	}
	dir, name := path.Split(target)
	from := u.root
	if dir != "" {
		if from, err = openIn(u.root, strings.TrimSuffix(dir, "/")); err != nil {
			return fmt.Errorf("it is a hard link to %q, whose folder is not in this layer: %w", target, err)
		}
		defer unix.Close(from)
	}
	var there, here unix.Stat_t
	if err := unix.Fstatat(from, name, &there, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("it is a hard link to %q, which is not in this layer: %w", target, err)
	}
	if kind := there.Mode & unix.S_IFMT; kind == unix.S_IFDIR || kind == unix.S_IFCHR {
		return fmt.Errorf("it is a hard link to %q, which is no file", target)
	}
	if unix.Fstatat(parent, base, &here, unix.AT_SYMLINK_NOFOLLOW) == nil && here.Ino == there.Ino && here.Dev == there.Dev {
		return nil
	}
	return u.make(parent, base, func() error { return unix.Linkat(from, name, parent, base, 0) })
}

func (u *unpacker) fifo(parent int, base string, h *tar.Header) error {
	if err := u.make(parent, base, func() error { return unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0) }); err != nil {
		return err
	}
	if err := u.own(h, func(uid, gid int) error { return unix.Fchownat(parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return err
	}
	// A FIFO was just made: no link can be in its place, and fchmodat(2) follows none but that.
	return unix.Fchmodat(parent, base, uint32(h.Mode&0o7777), 0)
}

// attributes gives a file or folder its owner, mode and extended attributes. The order matters: a
// change of the owner clears the set-uid bit and file capabilities (chown(2)).
func (u *unpacker) attributes(fd int, h *tar.Header) error {
	if err := u.own(h, func(uid, gid int) error { return unix.Fchown(fd, uid, gid) }); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil {
		return fmt.Errorf("setting its mode: %w", err)
	}
	if u.SingleID && (h.Uid != 0 || h.Gid != 0) {
		note := fmt.Sprintf("%d:%d:0%o", h.Uid, h.Gid, h.Mode&0o7777)
		if err := unix.Fsetxattr(fd, ownerXattr, []byte(note), 0); err != nil {
			return fmt.Errorf("noting its owner: %w", err)
		}
	}
	for name, value := range xattrs(h) {
		if !mayBeSet(name) || unix.Fsetxattr(fd, name, []byte(value), 0) != nil {
			u.meta.Attributes = noted(u.meta.Attributes, h.Name+" "+name)
		}
	}
	return nil
}

// own gives a file its owner, unless there is one id alone.
func (u *unpacker) own(h *tar.Header, chown func(uid, gid int) error) error {
	if u.SingleID {
		return nil
	}
	err := chown(h.Uid, h.Gid)
	if err == unix.EINVAL {
		return &IDError{UID: h.Uid, GID: h.Gid}
	}
	if err != nil {
		return fmt.Errorf("setting its owner: %w", err)
	}
	return nil
}

// IDError is an owner that the id map does not have.
type IDError struct{ UID, GID int }

func (e *IDError) Error() string {
	return fmt.Sprintf("it belongs to %d:%d, which is beyond the ids of this sandbox", e.UID, e.GID)
}

const paxXattr = "SCHILY.xattr."

// xattrs are the extended attributes of an entry.
func xattrs(h *tar.Header) map[string]string {
	var all map[string]string
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			if all == nil {
				all = map[string]string{}
			}
			all[name] = value
		}
	}
	return all
}

// mayBeSet leaves out the attributes by which an overlay keeps its books: a layer that brought them
// would forge whiteouts and owners. Of the security ones only file capabilities mean the same here.
func mayBeSet(name string) bool {
	for _, prefix := range []string{"user.overlay.", "user.fuseoverlayfs.", "user.containers."} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return strings.HasPrefix(name, "user.") || name == "security.capability" ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// timespecs are the two times of utimensat(2), both the same.
func timespecs(t time.Time) [2]unix.Timespec {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	return [2]unix.Timespec{ts, ts}
}

// mostNoted bounds the lists of what was left out.
const mostNoted = 20

func noted(list []string, name string) []string {
	if len(list) < mostNoted {
		list = append(list, name)
	}
	return list
}

// maxAccounts bounds the account files that a start needs to know, in bytes.
const maxAccounts = 256 << 10

// keeps tells whether the content of a file is kept in the record, and where it goes.
func (u *unpacker) keeps(name string, h *tar.Header) *bytes.Buffer {
	if (name == "etc/passwd" || name == "etc/group") && h.Size <= maxAccounts {
		return &bytes.Buffer{}
	}
	return nil
}

func (u *unpacker) kept(name string, content *bytes.Buffer) {
	text := content.String()
	if name == "etc/passwd" {
		u.meta.Passwd = &text
	} else {
		u.meta.Group = &text
	}
}

// atTop are the names whose kind is kept in the record: what mounts of the sandbox could lie below.
func atTop(name string) bool {
	return !strings.Contains(name, "/") || strings.Count(name, "/") == 1 &&
		(strings.HasPrefix(name, "var/") || strings.HasPrefix(name, "home/"))
}

// maxTop bounds the names that the record has.
const maxTop = 4096

// note keeps what the record tells of a name.
func (u *unpacker) note(name string, h *tar.Header) {
	switch name {
	case "etc/passwd":
		u.meta.Passwd = nil
	case "etc/group":
		u.meta.Group = nil
	}
	if name == "etc/passwd" || name == "etc/group" {
		u.noteGone(name)
	}
	if !atTop(name) || len(u.meta.Links)+len(u.meta.Folders) > maxTop {
		return
	}
	delete(u.meta.Links, name)
	if h.Typeflag == tar.TypeSymlink {
		u.meta.Links[name] = h.Linkname
	} else {
		u.meta.Folders = append(u.meta.Folders, name)
	}
}

// noteGone keeps that a name of the layers below is hidden.
func (u *unpacker) noteGone(name string) {
	if (atTop(name) || name == "etc/passwd" || name == "etc/group" || name == "etc/") && len(u.meta.Gone) < maxTop {
		u.meta.Gone = append(u.meta.Gone, name)
	}
}

// removeAt removes a name and all that is below it.
func removeAt(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return fmt.Errorf("removing what was in its place: %w", err)
	}
	if err := emptyAt(parent, base); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, base, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the folder in its place: %w", err)
	}
	return nil
}
