package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sbx/slirp"
)

// control is the line to the supervisor: JSON values, one a line.
type control struct {
	mutex sync.Mutex
	file  *os.File
	lines *bufio.Reader
}

func newControl(fd int) *control {
	file := os.NewFile(uintptr(fd), "supervisor")
	return &control{file: file, lines: bufio.NewReader(file)}
}

// setup reads the first line, with which the device comes.
func (c *control) setup() (*slirp.Setup, int, error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	first, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, failed = unix.Recvmsg(int(fd), first, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, -1, err
	}
	device, err := descriptor(oob[:oobn])
	if err != nil || n != 1 {
		return nil, -1, errors.Join(err, errors.New("no network device came with it"))
	}
	rest, err := c.lines.ReadBytes('\n')
	if err != nil {
		return nil, -1, err
	}
	s := &slirp.Setup{}
	return s, device, json.Unmarshal(append(first, rest...), s)
}

func descriptor(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(err, errors.New("no descriptor"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(err, errors.New("no descriptor"))
	}
	return fds[0], nil
}

func (c *control) hear() (r slirp.Reply, err error) {
	line, err := c.lines.ReadBytes('\n')
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}

func (c *control) say(w slirp.Word) {
	line, err := json.Marshal(w)
	if err != nil {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.file.Write(append(line, '\n'))
}
