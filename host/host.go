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
	"strconv"
	"strings"
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
