package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sbx/state"
)

// ErrDetached says that the detach keys were typed.
var ErrDetached = errors.New("detached")

// Attach shows on stdout what a detached sandbox writes from now on and, where it has a terminal, gives it
// what is typed on stdin, until the sandbox ends or the detach keys are typed (ErrDetached).
func Attach(store *state.Store, name string, keys []byte, streams Streams) (End, error) {
	theirs, line, err := linePair(unix.SOCK_STREAM)
	if err != nil {
		return End{}, err
	}
	v := newVisit(line, keys, streams)
	defer v.close()
	what := call{Op: "attach"}
	if size, err := unix.IoctlGetWinsize(int(streams.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		what.Window = size
	}
	c, a, passed, err := ask(store, name, what, theirs)
	theirs.Close()
	if err != nil {
		return End{}, err
	}
	closeAll(passed)
	v.conn = c
	return v.run(store, name, a.Terminal)
}

// linePair is a pair of connected sockets.
func linePair(kind int) (theirs, ours *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(pair[1]), "attached"), os.NewFile(uintptr(pair[0]), "attached"), nil
}

// visit is one attachment, on the visitor's side.
type visit struct {
	conn    *conn
	line    *os.File
	keys    []byte
	streams Streams
	left    chan struct{}
	shown   chan struct{} // closed when no more output will come
}

// newVisit begins to show what comes over a line.
func newVisit(line *os.File, keys []byte, streams Streams) *visit {
	v := &visit{line: pollable(line), keys: keys, streams: streams, left: make(chan struct{}), shown: make(chan struct{})}
	go func() {
		io.Copy(v.streams.Stdout, v.line)
		close(v.shown)
	}()
	return v
}

func (v *visit) close() {
	v.line.Close()
	if v.conn != nil {
		v.conn.close()
	}
}

// Visitor is an attachment that is made before its sandbox, and so misses nothing of what that writes.
type Visitor struct {
	visit  *visit
	theirs [2]*os.File // the line and the connection, for the supervisor
}

// NewVisitor makes an attachment for Detach. Who makes it calls Attend or Close.
func NewVisitor(keys []byte, streams Streams) (*Visitor, error) {
	line, ours, err := linePair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	theirs, own, err := linePair(unix.SOCK_SEQPACKET)
	if err != nil {
		line.Close()
		ours.Close()
		return nil, err
	}
	v := &Visitor{newVisit(ours, keys, streams), [2]*os.File{line, theirs}}
	v.visit.conn, err = connOf(own)
	if err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Attend is Attach for a sandbox that Detach has started with this visitor.
func (v *Visitor) Attend(store *state.Store, name string, s *Spec) (End, error) {
	defer v.Close()
	closeAll(v.theirs[:])
	return v.visit.run(store, name, s.Terminals != [3]bool{})
}

// Close lets go of the attachment.
func (v *Visitor) Close() {
	closeAll(v.theirs[:])
	v.visit.close()
}

// takeTerminal makes the visitor's terminal raw and follows its size; it returns what undoes that.
func (v *visit) takeTerminal() (restore func()) {
	fd := int(v.streams.Stdin.Fd())
	saved, err := term.MakeRaw(fd)
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, unix.SIGWINCH)
	go func() {
		for range sizes {
			if size, err := unix.IoctlGetWinsize(int(v.streams.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
				v.conn.send(call{Op: "resize", Window: size})
			}
		}
	}()
	return func() {
		signal.Stop(sizes)
		if err == nil {
			term.Restore(fd, saved)
		}
	}
}

// run follows the sandbox until it ends or the visitor leaves.
func (v *visit) run(store *state.Store, name string, types bool) (End, error) {
	if types {
		defer v.takeTerminal()()
		go v.sendKeys()
	}
	type outcome struct {
		end End
		err error
	}
	over := make(chan outcome, 1)
	go func() {
		var a answer
		if _, err := v.conn.receive(&a); err == nil {
			over <- outcome{end: End{a.Status, a.Cause}}
			return
		}
		end, err := endOnRecord(store, name)
		over <- outcome{end, err}
	}()
	select {
	case <-v.left:
		return End{}, ErrDetached
	case o := <-over:
		<-v.shown
		return o.end, o.err
	}
}

// endOnRecord is the end of a sandbox whose supervisor has gone without a word: it was killed, or has let go
// of a visitor that took no output any more.
func endOnRecord(store *state.Store, name string) (End, error) {
	r, _, err := store.Get(name)
	var missing *state.NotFoundError
	switch {
	case errors.As(err, &missing):
		return End{128 + int(unix.SIGKILL), state.CauseSupervisor}, nil
	case err != nil:
		return End{}, err
	case r.Status() != state.Exited:
		return End{}, &LetGoError{name}
	case r.Exit == nil: // whoever tidies up has yet to note it
		return End{128 + int(unix.SIGKILL), state.CauseSupervisor}, nil
	}
	return End{*r.Exit, r.Cause}, nil
}

// LetGoError is an attachment that kept the sandbox's output waiting for too long.
type LetGoError struct{ Name string }

func (e *LetGoError) Error() string {
	return fmt.Sprintf("%s goes on without you: its output was not taken for %v", e.Name, slow)
}

// sendKeys sends what is typed, but for the detach keys. Keys that began like them are sent when they turn
// out to be others.
func (v *visit) sendKeys() {
	buf := make([]byte, 1024)
	matched := 0
	for {
		n, err := v.streams.Stdin.Read(buf)
		if err != nil {
			return // the end of the input is no end of the visit
		}
		var out []byte
		for _, b := range buf[:n] {
			out, matched = matchKeys(out, v.keys, matched, b)
			if matched == len(v.keys) && matched > 0 {
				v.line.Write(out)
				close(v.left)
				return
			}
		}
		v.line.Write(out)
	}
}

// matchKeys takes one more byte of input: it returns what is to be sent by now, and how many of the keys
// the input ends with.
func matchKeys(out, keys []byte, matched int, b byte) ([]byte, int) {
	for {
		if matched < len(keys) && b == keys[matched] {
			return out, matched + 1
		}
		if matched == 0 {
			return append(out, b), 0
		}
		// The first of the held keys was none; what follows it may begin them anew.
		out = append(out, keys[0])
		held := keys[1:matched]
		matched = 0
		for _, h := range held {
			out, matched = matchKeys(out, keys, matched, h)
		}
	}
}

// KeysError is a sequence of detach keys that cannot be meant.
type KeysError struct{ Keys string }

func (e *KeysError) Error() string { return "no such detach keys: " + e.Keys }

// ParseKeys reads detach keys as people write them: single characters and ctrl-LETTER, separated by
// commas. Empty: none.
func ParseKeys(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	var keys []byte
	for part := range strings.SplitSeq(text, ",") {
		switch {
		case len(part) == 1:
			keys = append(keys, part[0])
		case len(part) == 6 && part[:5] == "ctrl-" && part[5] >= '@' && part[5] <= 'z':
			keys = append(keys, part[5]&0x1f)
		default:
			return nil, &KeysError{text}
		}
	}
	return keys, nil
}
