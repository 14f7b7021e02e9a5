package sandbox

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sbx/slirp"
)

// Dialogue is a question to whoever sits at the terminal that a payload uses. For as long as it lasts the
// payload's output waits, and keys are for the question alone.
//
// A payload would answer in the person's place: by a text of its own that looks like the question, by colours
// in which it cannot be read, by waiting until a y is about to be typed. So an answer has to repeat something
// that stands in the question and that nobody inside can know; that is the asker's to choose.
type Dialogue struct {
	terminal *terminal
	until    time.Time
}

var (
	errLate  = errors.New("no answer came in time")
	errNoTTY = errors.New("the terminal is gone")
	// ErrInterrupted is Ctrl-C as an answer; the payload has been sent it too.
	ErrInterrupted = errors.New("interrupted")
)

// answerTime is how long a question may stand: shorter than the bound of programs that wait for a name.
const answerTime = 50 * time.Second

// Answer has what no rule allows decided by decide, one question after the other, each in a dialogue of its
// own. Where none can be had in time, and where it ends without an answer, the question is refused.
func (r *Running) Answer(decide func(q *slirp.Question, d *Dialogue) (bool, error)) {
	r.network.builtin.Answer(func(q *slirp.Question) slirp.Answer {
		d := &Dialogue{r.terminal, time.Now().Add(answerTime)}
		allow, err := false, d.terminal.lend(d.until)
		if err == nil {
			allow, err = decide(q, d)
			d.terminal.takeBack(err)
		}
		return slirp.Answer{Allow: allow && err == nil, Late: errors.Is(err, errLate)}
	})
}

// Say shows text, which must be printable.
func (d *Dialogue) Say(text string) { d.terminal.write([]byte(text)) }

// Line is what is typed from now on, up to Enter. io.EOF is Ctrl-D.
func (d *Dialogue) Line() (string, error) {
	t, line := d.terminal, make([]byte, 256)
	for {
		if err := t.lent(d.until); err != nil {
			return "", err
		}
		if !readable(t.outer) {
			if t.idle() {
				return "", errNoTTY
			}
			continue
		}
		n, err := unix.Read(int(t.outer.Fd()), line)
		switch {
		case err != nil:
			return "", err
		case n == 0:
			return "", io.EOF
		case line[n-1] == interruptKey:
			return "", ErrInterrupted
		}
		return string(line[:n]), nil
	}
}

// interruptKey is Ctrl-C, which ends a line in a dialogue and makes no signal.
const interruptKey = 3

// dialogueModes are the modes of a dialogue: the terminal edits lines, and makes no signals, which would reach the
// payload.
func dialogueModes(modes unix.Termios) unix.Termios {
	modes.Iflag = modes.Iflag&^(unix.INLCR|unix.IGNCR) | unix.ICRNL
	modes.Oflag |= unix.OPOST | unix.ONLCR
	modes.Lflag = modes.Lflag&^(unix.ISIG|unix.ECHONL) | unix.ICANON | unix.ECHO | unix.ECHOE
	modes.Cc[unix.VEOL], modes.Cc[unix.VEOF] = interruptKey, 4
	return modes
}

// freshScreen undoes what a payload may have told the terminal so that a text after it would not show as it is:
// half of an escape sequence, one that holds the display back, margins, colours, character sets, a cursor
// elsewhere. What follows stands at the bottom, on a line of its own.
const freshScreen = "\x18\x1b\\" + "\x1b[?2026l" + "\x1b[?69l\x1b[?6l\x1b[r" + "\x1b[4l\x1b[?7h\x1b[?25h" + "\x1b[0m\x1b(B\x0f" + "\x1b[999;1H\r\n"

// freshColours give colours their own values again, in terminals that have such a thing.
const freshColours = "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\"

// lend makes the terminal that of a dialogue, as soon as it can be: a job in the background has none. Keys that
// were typed before are dropped.
func (t *terminal) lend(until time.Time) error {
	if t == nil {
		return errNoTTY
	}
	t.screens.Lock() // takeBack unlocks
	t.mutex.Lock()
	t.talking = true
	t.mutex.Unlock()
	if err := t.lent(until); err != nil {
		t.takeBack(err)
		return err
	}
	unix.IoctlSetInt(int(t.outer.Fd()), unix.TCFLSH, unix.TCIFLUSH)
	if term := os.Getenv("TERM"); term != "dumb" {
		t.write([]byte(freshScreen))
		if term != "linux" {
			t.write([]byte(freshColours))
		}
	}
	return nil
}

// lent waits until keys and screen are the dialogue's; another program may have them meanwhile.
func (t *terminal) lent(until time.Time) error {
	for time.Now().Before(until) {
		t.mutex.Lock()
		ours, over := t.look(), t.over || t.ending
		t.mutex.Unlock()
		switch {
		case over || t.outer == nil || t.screen == nil:
			return errNoTTY
		case ours:
			return nil
		}
		time.Sleep(glance)
	}
	return errLate
}

// idle waits a glance for keys. It is true where the terminal was hung up.
func (t *terminal) idle() bool {
	fds := []unix.PollFd{{Fd: int32(t.outer.Fd()), Events: unix.POLLIN}}
	unix.Poll(fds, int(glance.Milliseconds()))
	return fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// takeBack ends a dialogue. A program that draws the whole screen draws it anew.
func (t *terminal) takeBack(err error) {
	t.mutex.Lock()
	t.talking = false
	t.look()
	over := t.over || t.ending
	t.mutex.Unlock()
	t.screens.Unlock()
	switch {
	case over:
	case err == ErrInterrupted:
		t.interrupt(unix.SIGINT)
	case t.inner().Lflag&unix.ICANON == 0:
		t.interrupt(unix.SIGWINCH)
	}
}
