package sandbox

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the caller's terminal and the sandbox's own. The payload never holds a descriptor
// of the caller's: whoever has one can read from it, and can type into it (TIOCSTI).
type terminal struct {
	master *os.File
	outer  *os.File // the caller's terminal: keys come from here, sizes are its
	// makeRaw says that the caller's terminal is to be raw, so that the inner one does all editing.
	makeRaw bool
	mutex   sync.Mutex
	saved   *term.State
	drained chan struct{}
}

// relay starts to copy both ways. It is nil where the payload has no terminal.
func relay(terminals [3]bool, streams Streams, master *os.File) *terminal {
	if master == nil {
		return nil
	}
	t := &terminal{master: master, drained: make(chan struct{})}
	in, out := terminals[0], terminals[1] || terminals[2]
	sink := streams.Stdout
	switch {
	case terminals[1]:
	case terminals[2]:
		sink = streams.Stderr
	default:
		sink = openTTY()
	}
	t.outer = streams.Stdin
	if !in {
		t.outer = openTTY()
	}
	t.makeRaw = out
	if !t.makeRaw {
		muteEcho(master)
	}
	t.raw()
	go t.toScreen(sink)
	if t.outer != nil {
		go t.fromKeys()
	}
	return t
}

// openTTY opens the caller's controlling terminal; nil where there is none.
func openTTY() *os.File {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return f
}

// muteEcho is for an output that goes elsewhere: the caller's terminal echoes then, and twice is
// once too often.
func muteEcho(master *os.File) {
	fd := int(master.Fd())
	if state, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		state.Lflag &^= unix.ECHO
		unix.IoctlSetTermios(fd, unix.TCSETS, state)
	}
}

// raw makes the caller's terminal raw, and remembers what it was.
func (t *terminal) raw() {
	if t == nil || t.outer == nil || !t.makeRaw || !inForeground(t.outer) {
		return
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	state, err := term.MakeRaw(int(t.outer.Fd()))
	if err == nil && t.saved == nil {
		t.saved = state
	}
}

// inForeground tells whether this process may set modes of its terminal without being stopped.
func inForeground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// resize gives the sandbox's terminal the size of the caller's.
func (t *terminal) resize() {
	if t == nil || t.outer == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(t.outer.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// toScreen copies until the last process inside has closed the terminal (EIO).
func (t *terminal) toScreen(sink *os.File) {
	defer close(t.drained)
	if sink == nil {
		io.Copy(io.Discard, t.master)
		return
	}
	io.Copy(onlyWriter{sink}, onlyReader{t.master})
}

// fromKeys copies what is typed. Where another program of the same pipeline has taken the terminal
// (a pager, which makes it non-canonical), the keys are that one's.
func (t *terminal) fromKeys() {
	buf := make([]byte, 4096)
	for {
		if !t.makeRaw && !t.ours() {
			continue
		}
		n, err := t.outer.Read(buf)
		if n > 0 {
			t.master.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// ours waits until there is something to read and tells whether it is for the payload.
func (t *terminal) ours() bool {
	fds := []unix.PollFd{{Fd: int32(t.outer.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, -1); err != nil || n == 0 {
		return false
	}
	state, err := unix.IoctlGetTermios(int(t.outer.Fd()), unix.TCGETS)
	if err == nil && state.Lflag&unix.ICANON == 0 {
		time.Sleep(50 * time.Millisecond)
		return false
	}
	return true
}

// end shows what is left and gives the caller's terminal back as it was.
func (t *terminal) end() {
	if t == nil {
		return
	}
	<-t.drained
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.saved != nil {
		term.Restore(int(t.outer.Fd()), t.saved)
	}
	t.master.Close()
}

// onlyReader and onlyWriter keep io.Copy from splice(2), which a terminal does not take.
type onlyReader struct{ io.Reader }

type onlyWriter struct{ io.Writer }
