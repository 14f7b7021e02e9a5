package sandbox

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// joined is a terminal between two real ones: a person at outer, a payload at inner. Neither
// controls this session, so there is no job control; tests/e2e/tty_*.txtar have it.
type joined struct {
	*terminal
	person, caller, payload *os.File

	mutex sync.Mutex
	shown bytes.Buffer
}

func join(t *testing.T, u usage, screen *os.File) *joined {
	person, caller := openPty(t)
	master, payload := openPty(t)
	j := &joined{person: pollable(person), caller: caller, payload: payload}
	if screen == nil {
		screen = caller
	}
	j.terminal = &terminal{master: pollable(master), outer: caller, screen: screen, usage: u}
	go j.watch()
	j.begin()
	return j
}

func openPty(t *testing.T) (master, slave *os.File) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func (j *joined) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := j.person.Read(buf)
		j.mutex.Lock()
		j.shown.Write(buf[:n])
		j.mutex.Unlock()
		if err != nil {
			return
		}
	}
}

func (j *joined) screenText() string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.shown.String()
}

// ends closes the payload's side, as its end does, and waits for the terminal's.
func (j *joined) ends(t *testing.T) {
	t.Helper()
	j.payload.Close()
	done := make(chan struct{})
	go func() { j.end(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("end does not return")
	}
}

func modesOf(t *testing.T, tty *os.File) unix.Termios {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *modes
}

func setFlags(t *testing.T, tty *os.File, on, off uint32) {
	t.Helper()
	modes := modesOf(t, tty)
	modes.Lflag = modes.Lflag&^off | on
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &modes); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("never: " + what)
}

// flags waits until the caller's terminal has the flags on and lacks the flags off.
func (j *joined) flags(t *testing.T, on, off uint32) {
	t.Helper()
	eventually(t, "the modes of the caller's terminal", func() bool {
		now := modesOf(t, j.caller).Lflag
		return now&on == on && now&off == 0
	})
}

func (j *joined) reads(t *testing.T, want string) {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 4096)
		n, err := j.payload.Read(buf)
		if err != nil && err != io.EOF {
			got <- err.Error()
		}
		got <- string(buf[:n])
	}()
	select {
	case text := <-got:
		if text != want {
			t.Fatalf("the payload read %q, want %q", text, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the payload read nothing, want %q; the screen shows %q", want, j.screenText())
	}
}

const cooked = unix.ICANON | unix.ECHO | unix.ISIG

func TestWholeTerminalIsRawAndRestored(t *testing.T) {
	j := join(t, whole, nil)
	j.flags(t, 0, cooked)
	j.person.WriteString("ls\r")
	j.reads(t, "ls\n")
	eventually(t, "the inner terminal's echo", func() bool { return j.screenText() == "ls\r\n" })
	j.suspend(func() { j.flags(t, cooked, 0) })
	j.resume()
	j.flags(t, 0, cooked)
	j.ends(t)
	j.flags(t, cooked, 0)
}

func TestKeysOnDemand(t *testing.T) {
	j := join(t, onDemand, nil)
	j.person.WriteString("for another program\r")
	time.Sleep(3 * glance)
	j.flags(t, cooked, 0)
	buf := make([]byte, 100)
	if n, _ := j.caller.Read(buf); string(buf[:n]) != "for another program\n" {
		t.Fatalf("the other program got %q", buf[:n])
	}
	setFlags(t, j.payload, 0, unix.ICANON|unix.ECHO)
	j.flags(t, 0, cooked)
	j.person.WriteString("q")
	j.reads(t, "q")
	setFlags(t, j.payload, unix.ICANON|unix.ECHO, 0)
	j.flags(t, cooked, 0)
	j.ends(t)
}

func TestKeysInLines(t *testing.T) {
	j := join(t, inLines, nil)
	j.person.WriteString("lone\x7fe\r")
	j.reads(t, "lone\n")
	j.flags(t, cooked, 0)
	j.person.WriteString("half\x04")
	j.reads(t, "half")
	j.person.WriteString("\x04")
	j.reads(t, "")
	j.payload.WriteString("the end")
	j.ends(t)
	eventually(t, "the last words", func() bool { return strings.Contains(j.screenText(), "the end") })
	if n := strings.Count(j.screenText(), "half"); n != 1 {
		t.Errorf("echoed %d times: %q", n, j.screenText())
	}
}

func TestPasswordIsNotEchoed(t *testing.T) {
	j := join(t, inLines, nil)
	setFlags(t, j.payload, 0, unix.ECHO)
	j.flags(t, unix.ICANON|unix.ISIG, unix.ECHO)
	j.person.WriteString("secret\r")
	j.reads(t, "secret\n")
	setFlags(t, j.payload, unix.ECHO, 0)
	j.flags(t, cooked, 0)
	setFlags(t, j.payload, 0, unix.ECHO)
	j.flags(t, 0, unix.ECHO)
	j.ends(t)
	j.flags(t, cooked, 0)
	if strings.Contains(j.screenText(), "secret") {
		t.Errorf("the screen shows %q", j.screenText())
	}
}

func TestPagerOwnsTheKeys(t *testing.T) {
	j := join(t, inLines, nil)
	setFlags(t, j.caller, 0, unix.ICANON|unix.ECHO)
	time.Sleep(3 * glance)
	j.person.WriteString("q")
	buf := make([]byte, 10)
	if n, _ := j.caller.Read(buf); string(buf[:n]) != "q" {
		t.Fatalf("the pager got %q", buf[:n])
	}
	j.ends(t)
	j.flags(t, unix.ISIG, unix.ICANON|unix.ECHO)
}

func TestOutputIsDrainedWithoutScreen(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	j := join(t, whole, w)
	written := make(chan error, 1)
	go func() {
		_, err := j.payload.Write(bytes.Repeat([]byte("x"), 1<<20))
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the payload is blocked")
	}
	j.ends(t)
}

func TestNonBlockingScreenLosesNothing(t *testing.T) {
	j := join(t, whole, nil)
	if err := unix.SetNonblock(int(j.caller.Fd()), true); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("0123456789", 50000)
	j.payload.WriteString(text)
	eventually(t, "all of the output", func() bool { return j.screenText() == text })
	j.ends(t)
}

// The payload reads nothing, and more is typed than its terminal holds.
func TestEndWhileKeysWait(t *testing.T) {
	j := join(t, whole, nil)
	setFlags(t, j.payload, 0, unix.ICANON|unix.ECHO)
	go j.person.WriteString(strings.Repeat("x", 1<<18))
	time.Sleep(200 * time.Millisecond)
	j.ends(t)
}

func TestSignalsAfterTheEnd(t *testing.T) {
	j := join(t, whole, nil)
	j.ends(t)
	j.resize()
	j.resume()
	j.suspend(func() {})
	if j.interrupt(unix.SIGINT) {
		t.Error("a signal went to a closed terminal")
	}
	j.flags(t, cooked, 0)
	payload, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	payload.Close()
	w.Close()
	signalGroup(payload, unix.SIGINT)
	signalPayload(payload, unix.SIGINT)
}

func TestHangUpIsEndOfInput(t *testing.T) {
	j := join(t, whole, nil)
	j.person.Close() // at once, beside watch, since it is pollable
	j.reads(t, "")
	j.ends(t)
}

func TestNoTerminalOutside(t *testing.T) {
	master, payload := openPty(t)
	j := &terminal{master: pollable(master), usage: inLines}
	j.begin()
	j.resize()
	j.resume()
	j.suspend(func() {})
	payload.WriteString("to nobody")
	payload.Close()
	j.end()
	var none *terminal
	none.resize()
	none.resume()
	none.suspend(func() {})
	none.end()
}

func TestSizes(t *testing.T) {
	j := join(t, whole, nil)
	for _, want := range []pty.Winsize{{Rows: 30, Cols: 100}, {}} {
		if err := pty.Setsize(j.person, &want); err != nil {
			t.Fatal(err)
		}
		j.resize()
		if got, err := pty.GetsizeFull(j.payload); err != nil || *got != want {
			t.Errorf("size %v, %v, want %v", got, err, want)
		}
	}
	j.ends(t)
}

func TestEchoIsTakenOut(t *testing.T) {
	modes := unix.Termios{Oflag: unix.OPOST | unix.ONLCR, Lflag: unix.ECHO | unix.ECHOCTL}
	for _, c := range []struct {
		typed  []string
		output []string
		want   string
	}{
		{nil, []string{"as it is"}, "as it is"},
		{[]string{"ab\n"}, []string{"ab\r\n"}, ""},
		{[]string{"ab\n"}, []string{"before ab\r\nab\r\n"}, "before ab\r\n"},
		{[]string{"ab\n", "c\n"}, []string{"a", "b\r\nx", "c\r", "\ny"}, "xy"},
		{[]string{"ab\n"}, []string{"abc", "ab\r\n"}, "abc"},
		{[]string{"\x1bx\n"}, []string{"^[x\r\n"}, ""},
		{[]string{"yes\n"}, []string{"ye"}, "ye"},
	} {
		var e echo
		for _, line := range c.typed {
			e.expect(echoOf([]byte(line), modes))
		}
		var got []byte
		for _, out := range c.output {
			got = append(got, e.strip([]byte(out))...)
		}
		if got = append(got, e.giveUp()...); string(got) != c.want {
			t.Errorf("typed %q, output %q: shown %q, want %q", c.typed, c.output, got, c.want)
		}
	}
}
