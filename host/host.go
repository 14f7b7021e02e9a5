// Package host knows the machine that sbx runs on: who the caller is, which sub-ids and helper programs there are,
// what is mounted, and, by probes that have a name, what this kernel and this distribution allow.
//
// Scope: facts and advice. The facts that every start needs (SubIDs, FindHelper, User, Mounts, Sockets, NoFile) read a
// file or two and start no program, the two look-ups for names that come from a directory service aside. The probes
// try the real thing and may take milliseconds; doctor, fallbacks and test skips ask the same ones, and each is tried
// once in the life of a process.
//
// Not in scope: making a sandbox, changing the machine, printing. A probe that needs a namespace starts an ordinary
// program of the host in it and leaves nothing behind.
package host

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Env is the machine as the probes see it. Root is the folder that stands for "/" when a file is read, so that the
// texts of other distributions can be parsed from fixtures; system calls always go to the running kernel.
type Env struct {
	Root string
	UID  int
}

// Here is the machine itself and the calling user.
func Here() *Env { return &Env{Root: "/", UID: os.Getuid()} }

func (e *Env) path(name string) string { return filepath.Join(e.Root, name) }

// text reads a small file; ok is false where it is missing or shut, which for most knobs means an older kernel.
func (e *Env) text(name string) (s string, ok bool) {
	b, err := os.ReadFile(e.path(name))
	return strings.TrimSpace(string(b)), err == nil
}

// readProc reads a file that the kernel writes while it is read, and that says of itself that it has no length:
// os.ReadFile would ask for it in pieces of 512 bytes.
func readProc(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 1<<14)
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return string(buf), nil
		}
		buf = slices.Grow(buf[:len(buf)+n], 1<<12)
	}
}

func (e *Env) number(name string) (n int, ok bool) {
	s, _ := e.text(name)
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func (e *Env) exists(name string) bool {
	_, err := os.Stat(e.path(name))
	return err == nil
}

// asRoot words a command that needs root: with sudo, unless the caller is root already.
func (e *Env) asRoot(command string) string {
	if e.UID == 0 {
		return command
	}
	return "sudo " + command
}
