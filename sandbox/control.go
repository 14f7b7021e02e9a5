package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sbx/slirp"
	"sbx/state"
	"sbx/userns"
)

// Other commands of the same user speak with a sandbox's supervisor over a socket in the runtime folder,
// unix(7), SOCK_SEQPACKET: a call or an answer is one message of JSON, and brings descriptors along. The
// folder is shut to other users, and the supervisor looks at who calls besides. No sandbox sees the
// folder: its payload has the caller's uid outside.

// call is what a command asks of a supervisor.
type call struct {
	Op     string        `json:"op"`
	Signal int           `json:"signal,omitempty"`
	Grace  time.Duration `json:"grace,omitempty"`
	Name   string        `json:"name,omitempty"`
	Exec   *ExecRequest  `json:"exec,omitempty"`
	Window *unix.Winsize `json:"window,omitempty"`
	Port   *slirp.Port   `json:"port,omitempty"`
}

// answer is what a supervisor says, once or more often.
type answer struct {
	Refused *refusal `json:"refused,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Ended   bool     `json:"ended,omitempty"`
	Status  int      `json:"status"`
	Cause   string   `json:"cause,omitempty"`
	// Terminal says that what is attached to is a terminal.
	Terminal bool `json:"terminal,omitempty"`
	// Load is the answer to stats, Network that to network.
	Load    *Load         `json:"load,omitempty"`
	Network *slirp.Report `json:"network,omitempty"`
	// Ports are those that are published.
	Ports []slirp.Port `json:"ports,omitempty"`
	// Held is the answer to hold: nothing goes on.
	Held bool `json:"held,omitempty"`
}

// refusal is an error on its way to another process.
type refusal struct {
	Text    string        `json:"text"`
	Hint    string        `json:"hint,omitempty"`
	Command string        `json:"command,omitempty"` // of a NotExecutedError
	Folder  string        `json:"folder,omitempty"`
	Errno   syscall.Errno `json:"errno,omitempty"`
	Do      string        `json:"do,omitempty"`   // of a step that failed
	Port    *slirp.Port   `json:"port,omitempty"` // of a PortError
}

func refuse(err error) *refusal {
	r := &refusal{Text: err.Error()}
	var usage *UsageError
	var not *NotExecutedError
	var step *userns.StepError
	var port *slirp.PortError
	switch {
	case errors.As(err, &port):
		r.Port, r.Errno = &port.Port, port.Errno
	case errors.As(err, &usage):
		r.Hint = usage.Hint
	case errors.As(err, &not):
		r.Command, r.Errno, r.Folder = not.Command, not.Errno, not.Folder
	case errors.As(err, &step):
		r.Do, r.Errno = step.Step.Do, step.Errno
	}
	return r
}

func (r *refusal) err() error {
	switch {
	case r == nil:
		return nil
	case r.Port != nil:
		return &slirp.PortError{Port: *r.Port, Errno: r.Errno}
	case r.Command != "":
		return &NotExecutedError{Command: r.Command, Errno: r.Errno, Folder: r.Folder}
	case r.Do != "":
		return &userns.StepError{Step: userns.Step{Do: r.Do}, Errno: r.Errno}
	}
	return &UsageError{r.Text, r.Hint}
}

// conn is one end of a connection.
type conn struct {
	file *os.File
	raw  syscall.RawConn
}

func newConn(fd int) (*conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "connection")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &conn{file, raw}, nil
}

// connOf makes a connection of one end of a pair.
func connOf(f *os.File) (*conn, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return newConn(fd)
}

func (c *conn) close() { c.file.Close() }

const (
	// maxInline is the longest message, in bytes. A longer one lies in a memfd.
	maxInline = 16 << 10
	// maxMessage is far more than execve(2) takes of arguments and environment, in bytes.
	maxMessage = 32 << 20
	// maxPassed is how many descriptors a message may bring.
	maxPassed = 3 + maxHanded + 1
)

// send sends a message, and copies of these files.
func (c *conn) send(v any, files ...*os.File) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > maxInline {
		memory, err := inMemory("sbx-message", text)
		if err != nil {
			return err
		}
		defer memory.Close()
		text, files = []byte{0}, append([]*os.File{memory}, files...)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	var sent error
	err = c.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), text, oob, nil, unix.MSG_NOSIGNAL)
		return sent != unix.EAGAIN
	})
	return errors.Join(err, sent)
}

// inMemory puts data into a file in memory: memfd_create(2).
func inMemory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	return f, nil
}

// receive takes a message and the files that it brings, which the caller closes. Its error is io.EOF when
// the other end has gone.
func (c *conn) receive(v any) (files []*os.File, err error) {
	var text []byte
	var got error
	err = c.raw.Read(func(fd uintptr) bool {
		buf, oob := make([]byte, maxInline), make([]byte, unix.CmsgSpace(4*maxPassed))
		n, oobn, _, _, e := unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		if got = e; e == unix.EAGAIN {
			return false
		}
		text, files = buf[:max(n, 0)], filesOf(oob[:oobn])
		return true
	})
	switch {
	case errors.Join(err, got) != nil:
		return files, errors.Join(err, got)
	case len(text) == 0:
		return files, io.EOF
	case len(text) == 1 && text[0] == 0 && len(files) > 0:
		text, err = io.ReadAll(io.NewSectionReader(files[0], 0, maxMessage))
		files[0].Close()
		files = files[1:]
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	return files, err
}

// skip takes one message that nobody needs, and lets go of what came with it.
func (c *conn) skip() error {
	var unread json.RawMessage
	files, err := c.receive(&unread)
	closeAll(files)
	return err
}

func filesOf(oob []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// socketAt calls use with a socket and an address that names a file in the folder dir, by a descriptor of
// that folder: the path itself may be longer than an address takes, 107 bytes (unix(7)).
func socketAt(path string, use func(fd int, at *unix.SockaddrUnix) error) (int, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	at := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)}
	if err := use(fd, at); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// backlog is how many connections may wait to be taken; the kernel's own bound may be lower.
const backlog = 1024

// listen makes the socket at path anew.
func listen(path string) (*conn, error) {
	os.Remove(path)
	fd, err := socketAt(path, func(fd int, at *unix.SockaddrUnix) error {
		if err := unix.Bind(fd, at); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
	if err != nil {
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	return newConn(fd)
}

// accept takes a connection of this user.
func (c *conn) accept() (*conn, error) {
	for {
		var fd int
		var got error
		err := c.raw.Read(func(listener uintptr) bool {
			fd, _, got = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return got != unix.EAGAIN
		})
		switch {
		case err != nil:
			return nil, err
		case got == unix.EMFILE || got == unix.ENFILE:
			time.Sleep(glance)
			continue
		case got != nil:
			continue // the caller has gone already
		}
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || int(peer.Uid) != os.Getuid() {
			unix.Close(fd)
			continue
		}
		return newConn(fd)
	}
}

// NotRunningError is a sandbox that does not run, where one that does is needed.
type NotRunningError struct{ Name string }

func (e *NotRunningError) Error() string { return "the sandbox " + e.Name + " does not run" }

// UnreachableError is a sandbox that runs, and whose supervisor cannot be spoken with.
type UnreachableError struct{ Name string }

func (e *UnreachableError) Error() string {
	return "the supervisor of " + e.Name + " cannot be reached: it ends just now, or its socket has been removed"
}

// starting is far longer than a start takes, from the record to the socket.
const starting = 10 * time.Second

// dial connects to the supervisor of a sandbox. One that is just starting is waited for, and so is one
// that just ends, until it says so.
func dial(store *state.Store, name string) (*conn, error) {
	for begun := time.Now(); ; time.Sleep(glance / 2) {
		fd, err := socketAt(store.Socket(name), func(fd int, at *unix.SockaddrUnix) error { return unix.Connect(fd, at) })
		switch err {
		case nil:
			return newConn(fd)
		case unix.ENOENT, unix.ECONNREFUSED:
		default:
			return nil, fmt.Errorf("reaching the supervisor of %s: %w", name, err)
		}
		record, err := store.Read(name)
		if err != nil || record.Status() == state.Exited {
			return nil, &NotRunningError{name}
		}
		patience := slow
		if record.Started.IsZero() {
			patience = starting
		}
		if time.Since(begun) > patience {
			return nil, &UnreachableError{name}
		}
	}
}
