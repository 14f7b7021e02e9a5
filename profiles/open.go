package profiles

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openFlags: a FIFO must not hold us up before we see what it is.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY

// readOwn reads a file of the user's own, which may be a symlink: people keep
// such files elsewhere and link to them.
func readOwn(path string) (string, error) {
	fd, err := unix.Open(path, openFlags, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	return readRegular(fd, path)
}

// readProject reads a file of the project. Whoever wrote the project is not
// trusted: a link must not lead out of it, at the time of opening.
func readProject(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	dirfd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(dirfd)
	fd, err := openBeneath(dirfd, name)
	switch {
	case errors.Is(err, unix.EXDEV):
		return "", faultf("replace it by the file itself", "is a link that leads out of the project")
	case errors.Is(err, unix.ELOOP):
		return "", faultf("replace it by the file itself", "is a link that cannot be followed")
	case err != nil:
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	return readRegular(fd, path)
}

// openBeneath opens a name without leaving the folder. Where the kernel is
// older than 5.6, or a filter refuses the call, no link is followed at all.
func openBeneath(dirfd int, name string) (int, error) {
	how := &unix.OpenHow{Flags: openFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for range 16 { // EAGAIN: something was renamed meanwhile
		fd, err := unix.Openat2(dirfd, name, how)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			continue
		case err == unix.ENOSYS || err == unix.EPERM:
			return unix.Openat(dirfd, name, openFlags|unix.O_NOFOLLOW, 0)
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

// readRegular reads what was opened, if it is a file and not too large.
func readRegular(fd int, path string) (string, error) {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() {
		return "", faultf("", "is %s, not a file", kindOf(fi.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("reading a profile: %w", err)
	}
	return string(data), nil
}

func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&os.ModeNamedPipe != 0:
		return "a pipe"
	case m&os.ModeSocket != 0:
		return "a socket"
	case m&os.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
