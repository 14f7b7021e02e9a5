package sandbox

import (
	"errors"
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
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return End{}, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "attached")
	line := pollable(os.NewFile(uintptr(pair[0]), "attached"))
	defer line.Close()
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
	defer c.close()
	v := &visit{conn: c, line: line, keys: keys, streams: streams, left: make(chan struct{})}
	if a.Terminal {
		defer v.takeTerminal()()
	}
	return v.run(a.Terminal)
}

// visit is one attachment, on the visitor's side.
type visit struct {
	conn    *conn
	line    *os.File
	keys    []byte
	streams Streams
	left    chan struct{}
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

func (v *visit) run(types bool) (End, error) {
	shown := make(chan struct{})
	go func() { io.Copy(v.streams.Stdout, v.line); close(shown) }()
	if types {
		go v.sendKeys()
	}
	ended := make(chan answer, 1)
	go func() {
		var a answer
		if _, err := v.conn.receive(&a); err != nil {
			a = answer{Status: 128 + int(unix.SIGKILL), Cause: state.CauseSupervisor}
		}
		ended <- a
	}()
	select {
	case <-v.left:
		return End{}, ErrDetached
	case a := <-ended:
		<-shown
		return End{a.Status, a.Cause}, nil
	}
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
