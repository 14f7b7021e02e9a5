package sandbox

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// terminal joins the caller's terminal and the sandbox's own. The payload never holds a descriptor
// of the caller's: whoever has one can read from it, and can type into it (TIOCSTI).
//
// The caller's terminal is shared: with the shell that started this job, which owns it while the
// job is in the background, and with the other programs of the same pipeline. So its modes are set
// and its keys are read only after a look at who has it.
type terminal struct {
	master *os.File
	outer  *os.File // the caller's terminal: keys come from here, sizes are its; nil where there is none
	screen *os.File // takes what the payload writes to its terminal; nil where nothing can
	opened *os.File // the one of these that is this program's own
	usage  usage

	mutex     sync.Mutex
	saved     unix.Termios  // the caller's modes
	set       *unix.Termios // what replaced them; nil while they are in force
	listening bool          // keys are the payload's
	talking   bool          // keys and screen are a dialogue's
	ending    bool
	over      bool

	screens sync.Mutex // of writing to the screen; held for a whole dialogue

	echo    echo
	leaving atomic.Bool   // what comes from now on is of no interest
	wake    int           // an eventfd, written at the end
	shown   chan struct{} // toScreen has ended
	typed   chan struct{} // fromKeys has ended
}

// usage is how much of the caller's terminal the payload has.
type usage int

const (
	// whole: input and output. The caller's is raw, and the inner terminal does all editing.
	whole usage = iota
	// inLines: input alone, as in `sbx run -- make | less`. The caller's edits lines and makes signals,
	// and a pager beside the payload may take it.
	inLines
	// onDemand: output alone, as in `git log | sbx run -- less`. Keys are another program's, until the
	// payload opens /dev/tty and wants single keys.
	onDemand
)

// glance is how often modes that nobody reports are looked at, where they matter.
const glance = 50 * time.Millisecond

// relay starts to copy both ways. It is nil where the payload has no terminal.
func relay(terminals [3]bool, streams Streams, master *os.File) *terminal {
	if master == nil {
		return nil
	}
	t := &terminal{master: pollable(master), usage: usageOf(terminals)}
	if t.usage != whole {
		t.opened = openTTY()
	}
	t.screen, t.outer = t.opened, t.opened
	switch {
	case terminals[1]:
		t.screen = streams.Stdout
	case terminals[2]:
		t.screen = streams.Stderr
	}
	switch {
	case terminals[0]:
		t.outer = streams.Stdin
	case t.outer == nil:
		t.outer = t.screen
	}
	t.begin()
	return t
}

func usageOf(terminals [3]bool) usage {
	switch {
	case !terminals[0]:
		return onDemand
	case !terminals[1]:
		return inLines
	}
	return whole
}

func (t *terminal) begin() {
	t.wake, _ = unix.Eventfd(0, unix.EFD_CLOEXEC)
	t.shown, t.typed = make(chan struct{}), make(chan struct{})
	t.resume()
	go t.toScreen()
	go t.fromKeys()
}

// openTTY opens the caller's controlling terminal; nil where there is none.
func openTTY() *os.File {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return f
}

// pollable replaces a file by one that does not block, whose reads and writes can be called off.
func pollable(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || unix.SetNonblock(fd, true) != nil {
		return f
	}
	f.Close()
	return os.NewFile(uintptr(fd), f.Name())
}

// look brings the caller's terminal into the modes that are wanted now, and finds out whose its
// keys are. It tells whether they are ours: the payload's or a dialogue's. t.mutex is held.
func (t *terminal) look() bool {
	before := t.listening
	t.listening = false
	if t.over || t.outer == nil || !inForeground(t.outer) {
		return false
	}
	now, err := unix.IoctlGetTermios(int(t.outer.Fd()), unix.TCGETS)
	if err != nil {
		return false
	}
	if t.set == nil || *now != *t.set {
		if t.usage != whole && now.Lflag&unix.ICANON == 0 {
			return false // a program beside the payload, such as a pager, has taken it
		}
		t.saved, t.set = *now, nil
	}
	want := t.wanted()
	t.change(*now, want)
	if t.talking {
		return true
	}
	t.listening = t.usage != onDemand || want.Lflag&unix.ICANON == 0
	if t.listening && !before {
		t.fit() // a job in the background is not told of new sizes
	}
	return t.listening
}

// wanted are the modes that suit what the program inside has set.
func (t *terminal) wanted() unix.Termios {
	if t.talking {
		return dialogueModes(t.saved)
	}
	if t.usage == whole {
		return rawOf(t.saved)
	}
	want, inner := t.saved, t.inner()
	switch {
	case inner.Lflag&unix.ICANON == 0:
		return rawOf(want)
	case t.usage == inLines && inner.Lflag&unix.ECHO == 0: // it asks for a password
		want.Lflag &^= unix.ECHO
	}
	return want
}

// change sets modes, and remembers them as the terminal took them.
func (t *terminal) change(now, want unix.Termios) {
	fd := int(t.outer.Fd())
	if now != want {
		unix.IoctlSetTermios(fd, unix.TCSETS, &want)
	}
	t.set = nil
	if want != t.saved {
		t.set, _ = unix.IoctlGetTermios(fd, unix.TCGETS)
	}
}

// rawOf is cfmakeraw(3): no editing, no signals, no changes on the way out.
func rawOf(modes unix.Termios) unix.Termios {
	modes.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	modes.Oflag &^= unix.OPOST
	modes.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	modes.Cflag = modes.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	modes.Cc[unix.VMIN], modes.Cc[unix.VTIME] = 1, 0
	return modes
}

// inner are the modes of the sandbox's terminal: the master's end tells those of the other.
func (t *terminal) inner() unix.Termios {
	modes := &unix.Termios{Lflag: unix.ICANON | unix.ECHO}
	control(t.master, func(fd int) {
		if m, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			modes = m
		}
	})
	return *modes
}

// control calls f with a descriptor that stays open meanwhile; not at all once it is closed.
func control(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// inForeground tells whether this process may use its terminal without being stopped. A terminal
// that does not control this session stops nobody.
func inForeground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == unix.ENOTTY || err == nil && group == unix.Getpgrp()
}

// giveBack puts the caller's modes into force, unless somebody else has the terminal by now.
// t.mutex is held.
func (t *terminal) giveBack() {
	if t.set == nil || !inForeground(t.outer) {
		return
	}
	fd := int(t.outer.Fd())
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || t.usage != whole && *now != *t.set {
		return
	}
	unix.IoctlSetTermios(fd, unix.TCSETS, &t.saved)
	t.set = nil
}

// suspend calls stop, which stops this process, with the caller's modes in force. Nobody is in the
// midst of reading keys then, which would stop the process again when it goes on in the background.
func (t *terminal) suspend(stop func()) {
	if t != nil {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		t.giveBack()
		t.listening = false
	}
	stop()
}

// resume takes the terminal, where this process is in the foreground.
func (t *terminal) resume() {
	if t == nil {
		return
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.look()
}

// resize gives the sandbox's terminal the size of the caller's.
func (t *terminal) resize() {
	if t == nil {
		return
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !t.over && t.outer != nil {
		t.fit()
	}
}

func (t *terminal) fit() {
	size, err := unix.IoctlGetWinsize(int(t.outer.Fd()), unix.TIOCGWINSZ)
	if err == nil {
		control(t.master, func(fd int) { unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// interrupt gives a signal that the caller's terminal made to those who would have got it: the
// group in the foreground of the inner one, which a shell inside may have changed.
func (t *terminal) interrupt(sig unix.Signal) bool {
	if t == nil {
		return false
	}
	err := unix.ENOTTY
	control(t.master, func(fd int) {
		if group, failed := unix.IoctlGetInt(fd, unix.TIOCGPGRP); failed == nil && group > 0 {
			_, _, err = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSIG, uintptr(sig))
		}
	})
	return err == 0
}

// toScreen copies until the last process inside has closed the terminal (EIO). It reads on where
// the screen takes no more, since the payload would otherwise wait for ever.
func (t *terminal) toScreen() {
	defer close(t.shown)
	buf := make([]byte, 32<<10)
	for {
		if t.usage == inLines {
			t.master.SetReadDeadline(t.echo.deadline())
		}
		n, err := t.master.Read(buf)
		if err != nil {
			t.show(t.echo.giveUp())
			if errors.Is(err, os.ErrDeadlineExceeded) && !t.leaving.Load() {
				continue
			}
			return
		}
		t.show(t.echo.strip(buf[:n]))
	}
}

// show writes to the screen what comes from inside.
func (t *terminal) show(out []byte) {
	t.screens.Lock()
	defer t.screens.Unlock()
	t.write(out)
}

// write writes to the screen. Another program may have made it non-blocking, for all. t.screens is held.
func (t *terminal) write(out []byte) {
	for len(out) > 0 && t.screen != nil {
		n, err := t.screen.Write(out)
		out = out[n:]
		switch {
		case errors.Is(err, unix.EAGAIN):
			unix.Poll([]unix.PollFd{{Fd: int32(t.screen.Fd()), Events: unix.POLLOUT}}, -1)
		case err != nil:
			t.screen = nil
		}
	}
}

// fromKeys copies what is typed for the payload, until the end or until the terminal is hung up.
func (t *terminal) fromKeys() {
	defer close(t.typed)
	if t.outer == nil {
		return
	}
	buf := make([]byte, 4096)
	for t.await() {
		keys, err := t.keys(buf)
		if err != nil {
			time.Sleep(glance)
		}
		t.master.Write(keys)
	}
	t.master.Write(t.line(nil)) // where a terminal was hung up, reads find the end of the input
}

// await waits until it is worth to look: until there are keys, or for a glance where they are not
// the payload's or the modes of the inner terminal matter. It is false at the end.
func (t *terminal) await() bool {
	t.mutex.Lock()
	listening := t.listening
	t.mutex.Unlock()
	fds := []unix.PollFd{{Fd: int32(t.wake), Events: unix.POLLIN}, {Fd: int32(t.outer.Fd())}}
	timeout := int(glance.Milliseconds())
	if listening {
		fds[1].Events = unix.POLLIN
	}
	if listening && t.usage == whole {
		timeout = -1
	}
	unix.Poll(fds, timeout)
	return fds[0].Revents == 0 && fds[1].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) == 0
}

// keys reads what there is to read, if it is for the payload.
func (t *terminal) keys(buf []byte) ([]byte, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.look()
	if !t.listening || !readable(t.outer) {
		return nil, nil
	}
	n, err := unix.Read(int(t.outer.Fd()), buf)
	if err != nil {
		return nil, err
	}
	if t.set != nil && t.set.Lflag&unix.ICANON == 0 {
		return buf[:n], nil
	}
	return t.line(buf[:n]), nil
}

func readable(tty *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// line is what the inner terminal has to get for a line that the caller's has edited. One that ends
// without a newline was ended by Ctrl-D, which at the start of a line is the end of the input.
func (t *terminal) line(keys []byte) []byte {
	inner := t.inner()
	if inner.Lflag&unix.ECHO != 0 {
		t.echo.expect(echoOf(keys, inner))
	}
	eof := inner.Cc[unix.VEOF]
	if inner.Lflag&unix.ICANON != 0 && eof != 0 && (len(keys) == 0 || keys[len(keys)-1] != '\n') {
		return append(keys[:len(keys):len(keys)], eof)
	}
	return keys
}

// end shows what is left and gives the caller's terminal back as it was.
func (t *terminal) end() {
	if t == nil {
		return
	}
	t.mutex.Lock()
	t.ending = true // also that of a dialogue
	t.mutex.Unlock()
	unix.Write(t.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	t.master.SetWriteDeadline(time.Now())
	<-t.typed
	<-t.shown
	t.screens.Lock()
	defer t.screens.Unlock()
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.giveBack()
	t.over, t.set = true, nil
	t.master.Close()
	t.opened.Close()
	unix.Close(t.wake)
}

// leave is end for a terminal that others may still have open: what they write from now on is not shown.
func (t *terminal) leave() {
	if t == nil {
		return
	}
	t.leaving.Store(true)
	for shown := false; !shown; {
		t.master.SetReadDeadline(time.Now().Add(glance))
		select {
		case <-t.shown:
			shown = true
		case <-time.After(2 * glance): // toScreen may have set another deadline just then
		}
	}
	t.end()
}

// echo takes the inner terminal's echo of whole lines out of its output: the caller's terminal has
// shown them already. The inner one's ECHO is left alone, as it tells when a password is asked for.
type echo struct {
	mutex sync.Mutex
	lines [][]byte // that are to come, in order
	held  int      // bytes of the first that have come
	until time.Time
}

// echoTime is far more than the echo of a line takes; after it, the same text is not an echo.
const echoTime = 500 * time.Millisecond

func (e *echo) expect(line []byte) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(line) > 0 {
		e.lines, e.until = append(e.lines, line), time.Now().Add(echoTime)
	}
}

// strip is out without what is an echo. The start of one is held back until more is known.
func (e *echo) strip(out []byte) []byte {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(e.lines) == 0 {
		return out
	}
	var rest []byte
	if time.Now().After(e.until) {
		rest = e.drop()
	}
	for _, b := range out {
		rest = e.next(rest, b)
	}
	return rest
}

// next appends what b decides about to rest.
func (e *echo) next(rest []byte, b byte) []byte {
	if len(e.lines) > 0 && b != e.lines[0][e.held] {
		rest, e.held = append(rest, e.lines[0][:e.held]...), 0
	}
	if len(e.lines) == 0 || b != e.lines[0][e.held] {
		return append(rest, b)
	}
	if e.held++; e.held == len(e.lines[0]) {
		e.lines, e.held = e.lines[1:], 0
	}
	return rest
}

// deadline is when to give up what is held back; zero where there is nothing.
func (e *echo) deadline() time.Time {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.held == 0 {
		return time.Time{}
	}
	return time.Now().Add(glance)
}

// giveUp returns what is held back, which was no echo.
func (e *echo) giveUp() []byte {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.drop()
}

func (e *echo) drop() []byte {
	var held []byte
	if len(e.lines) > 0 {
		held = e.lines[0][:e.held]
	}
	e.lines, e.held = nil, 0
	return held
}

// echoOf is how a terminal with these modes echoes a line.
func echoOf(line []byte, modes unix.Termios) []byte {
	var out []byte
	for _, b := range line {
		switch {
		case b == '\n' && modes.Oflag&unix.OPOST != 0 && modes.Oflag&unix.ONLCR != 0:
			out = append(out, '\r', '\n')
		case (b < ' ' && b != '\n' && b != '\t' || b == 0x7f) && modes.Lflag&unix.ECHOCTL != 0:
			out = append(out, '^', b^0x40)
		default:
			out = append(out, b)
		}
	}
	return out
}
