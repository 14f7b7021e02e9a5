package userns

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Range is one line of an id map: user_namespaces(7).
type Range struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// Maps are the id maps of a new user namespace.
type Maps struct {
	UID []Range `json:"uid"`
	GID []Range `json:"gid"`
	// UIDHelper and GIDHelper are paths of newuidmap(1) and newgidmap(1). Empty: the supervisor
	// writes the maps itself, which the kernel allows for one id, the caller's own, or to root.
	UIDHelper string `json:"uid_helper,omitempty"`
	GIDHelper string `json:"gid_helper,omitempty"`
	// DenySetgroups forbids setgroups(2) inside; the kernel asks for it before an unprivileged
	// process may write a gid map itself.
	DenySetgroups bool `json:"deny_setgroups,omitempty"`
}

// MapError is an id map that could not be written.
type MapError struct {
	// File is "uid_map", "gid_map" or "setgroups".
	File string
	// Helper is the program that was to write it, if any, and Said its standard error.
	Helper, Said string
	Err          error
}

func (e *MapError) Error() string {
	switch {
	case e.Helper == "":
		return "writing " + e.File + ": " + e.Err.Error()
	case e.Said == "":
		return e.Helper + ": " + e.Err.Error()
	}
	return e.Helper + ": " + e.Said
}

func (e *MapError) Unwrap() error { return e.Err }

// write writes both maps of the process pid, side by side where helpers do it.
func (m *Maps) write(pid int) error {
	if m.UIDHelper == "" {
		return m.writeDirectly(pid)
	}
	uid, err := startHelper(m.UIDHelper, pid, m.UID)
	if err != nil {
		return &MapError{File: "uid_map", Helper: m.UIDHelper, Err: err}
	}
	gid, err := startHelper(m.GIDHelper, pid, m.GID)
	if err != nil {
		uid.wait()
		return &MapError{File: "gid_map", Helper: m.GIDHelper, Err: err}
	}
	return errors.Join(uid.result("uid_map", m.UIDHelper), gid.result("gid_map", m.GIDHelper))
}

func (m *Maps) writeDirectly(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	if m.DenySetgroups {
		// ENOENT: a kernel before 3.19, which asks for nothing.
		if err := writeProc(proc+"setgroups", []byte("deny")); err != nil && !errors.Is(err, unix.ENOENT) {
			return &MapError{File: "setgroups", Err: err}
		}
	}
	if err := writeProc(proc+"gid_map", mapText(m.GID)); err != nil {
		return &MapError{File: "gid_map", Err: err}
	}
	if err := writeProc(proc+"uid_map", mapText(m.UID)); err != nil {
		return &MapError{File: "uid_map", Err: err}
	}
	return nil
}

// writeProc writes a file of /proc in the one write that such files take.
func writeProc(path string, data []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, data)
	return err
}

func mapText(ranges []Range) []byte {
	var b bytes.Buffer
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.Inside, r.Outside, r.Count)
	}
	return b.Bytes()
}

// helper is a running newuidmap or newgidmap.
type helper struct {
	pid    int
	stderr int // the reading end of a pipe
}

// startHelper starts newuidmap or newgidmap for the process pid. It uses package syscall and not os,
// which makes one more child to find out whether pidfds work.
func startHelper(path string, pid int, ranges []Range) (*helper, error) {
	args := []string{path, strconv.Itoa(pid)}
	for _, r := range ranges {
		for _, n := range []uint32{r.Inside, r.Outside, r.Count} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	defer unix.Close(pipe[1])
	child, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env: []string{}, Files: []uintptr{^uintptr(0), ^uintptr(0), uintptr(pipe[1])},
	})
	if err != nil {
		unix.Close(pipe[0])
		return nil, err
	}
	return &helper{child, pipe[0]}, nil
}

// wait waits for the helper's end and returns what it said.
func (h *helper) wait() (said string, err error) {
	defer unix.Close(h.stderr)
	buf := make([]byte, 1024)
	n, _ := unix.Read(h.stderr, buf)
	if status := reapPID(h.pid); !status.Exited() || status.ExitStatus() != 0 {
		return string(bytes.TrimSpace(buf[:max(n, 0)])), fmt.Errorf("ended with status %d", exitCode(int32(status)))
	}
	return "", nil
}

func (h *helper) result(file, path string) error {
	said, err := h.wait()
	if err != nil {
		return &MapError{File: file, Helper: path, Said: said, Err: err}
	}
	return nil
}
