package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdPty runs a command on a new terminal of 80 by 24, as its controlling terminal, and follows a dialogue:
//
//	expect REGEXP    wait until what the terminal showed since the last match matches
//	send TEXT        type TEXT, a Go string without its quotes (\r is Enter, \x03 is Ctrl-C)
//	answer LETTER    type LETTER and the number that the last question of sbx about the network wants
//	resize COLSxROWS
//	sleep DURATION
//	copy FROM TO     replace a file of the command's working folder
//	signal NAME CMDLINE   TERM, KILL, ... to the processes with exactly this command line, once there are any
//	modes            remember the terminal's modes now, and not those from before the command
//	restored         they must be the same again
//	status N         the command must have ended with N; must be the last line
func cmdPty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pty dialogue command [args...]")
	}
	path, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TMPDIR", "TOKEN", "STAGE", "XDG_STATE_HOME"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Env = append(cmd.Env, "TERM=xterm", "PS1=$ ")
	term, err := openTerminal(cmd)
	ts.Check(err)
	defer term.close()
	for n, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		line = os.Expand(line, func(name string) string {
			if name == "TOKEN" {
				return ts.Getenv(name)
			}
			return "$" + name
		})
		if err := term.step(line); err != nil {
			ts.Fatalf("%s:%d: %s: %v\nthe terminal showed:\n%s", args[0], n+1, line, err, term.all.String())
		}
	}
	fmt.Fprint(ts.Stdout(), term.all.String())
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	if strings.Contains(name, "/") {
		return ts.MkAbs(name), nil
	}
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not on PATH", name)
}

type terminal struct {
	cmd   *exec.Cmd
	ptmx  *os.File
	tty   *os.File // kept open, so that the modes can be read after the command's end
	modes unix.Termios
	ended chan error

	mu   sync.Mutex
	all  bytes.Buffer
	seen int
}

func openTerminal(cmd *exec.Cmd) (*terminal, error) {
	ptmx, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	if err := pty.Setsize(ptmx, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	t := &terminal{cmd: cmd, ptmx: ptmx, tty: tty, ended: make(chan error, 1)}
	if t.modes, err = t.getModes(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go t.read()
	go func() { t.ended <- cmd.Wait() }()
	return t, nil
}

func (t *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := t.ptmx.Read(buf)
		t.mu.Lock()
		t.all.Write(buf[:n])
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *terminal) close() {
	t.cmd.Process.Kill()
	t.ptmx.Close()
	t.tty.Close()
}

func (t *terminal) step(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "expect":
		return t.expect(rest)
	case "send":
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		if err != nil {
			return err
		}
		_, err = t.ptmx.WriteString(text)
		return err
	case "answer":
		return t.answer(rest)
	case "sleep":
		d, err := time.ParseDuration(rest)
		time.Sleep(d)
		return err
	case "copy":
		from, to, _ := strings.Cut(rest, " ")
		data, err := os.ReadFile(filepath.Join(t.cmd.Dir, from))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(t.cmd.Dir, to), data, 0o644)
	case "resize":
		var cols, rows uint16
		if _, err := fmt.Sscanf(rest, "%dx%d", &cols, &rows); err != nil {
			return err
		}
		return pty.Setsize(t.ptmx, &pty.Winsize{Cols: cols, Rows: rows})
	case "signal":
		return t.signal(rest)
	case "modes":
		now, err := t.getModes()
		t.modes = now
		return err
	case "restored":
		return t.restored()
	case "status":
		return t.status(rest)
	}
	return errors.New("unknown word")
}

func (t *terminal) expect(text string) error {
	re, err := regexp.Compile("(?m)" + text)
	if err != nil {
		return err
	}
	if waitUntil(func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		at := re.FindIndex(t.all.Bytes()[t.seen:])
		if at != nil {
			t.seen += at[1]
		}
		return at != nil
	}) {
		return nil
	}
	return errors.New("did not come")
}

var wantedNumber = regexp.MustCompile(`y(\d{3}) allows it`)

func (t *terminal) answer(letter string) error {
	if err := t.expect(wantedNumber.String()); err != nil {
		return err
	}
	t.mu.Lock()
	all := wantedNumber.FindAllSubmatch(t.all.Bytes()[:t.seen], -1)
	t.mu.Unlock()
	_, err := t.ptmx.WriteString(letter + string(all[len(all)-1][1]) + "\r")
	return err
}

func (t *terminal) signal(text string) error {
	name, cmdline, _ := strings.Cut(text, " ")
	n := 0
	waitUntil(func() bool {
		return slices.ContainsFunc(withToken(cmdline), func(p process) bool { return p.cmdline == cmdline })
	})
	for _, p := range withToken(cmdline) {
		if p.cmdline == cmdline {
			n++
			if err := unix.Kill(p.pid, unix.SignalNum("SIG"+name)); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return errors.New("no such process")
	}
	return nil
}

func (t *terminal) getModes() (unix.Termios, error) {
	m, err := unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
	if err != nil {
		return unix.Termios{}, err
	}
	return *m, nil
}

func (t *terminal) restored() error {
	var now unix.Termios
	var err error
	if waitUntil(func() bool { now, err = t.getModes(); return err == nil && now == t.modes }) {
		return nil
	}
	return fmt.Errorf("modes were %+v, are %+v (%v)", t.modes, now, err)
}

func (t *terminal) status(text string) error {
	want, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	select {
	case <-t.ended:
		t.ended <- nil
	case <-time.After(patience()):
		return errors.New("still running")
	}
	if got := t.cmd.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("ended with %d", got)
	}
	return nil
}
