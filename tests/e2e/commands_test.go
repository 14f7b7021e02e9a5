package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// commands are what scripts can say beyond testscript's own words.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"status":  cmdStatus,  // status N CMD...: CMD must end with exit status N
	"serve":   cmdServe,   // serve: a TCP server on the host's loopback, $PORT; it says $NONCE
	"listen":  cmdListen,  // listen PATH: a unix socket server; it says $NONCE. @NAME is abstract, ./NAME bound as NAME
	"reached": cmdReached, // [!] reached: some client came to serve or listen since the last reached
	"running": cmdRunning, // running WORD: waits for a process with WORD in its command line
	"gone":    cmdGone,    // gone WORD: waits until no process has WORD in its command line
	"session": cmdSession, // session: the script's commands have a session keyring, as after a login
	"pty":     cmdPty,     // pty [!] FILE CMD...: runs CMD on a terminal by the dialogue in FILE
}

// patience is how long a script waits for what must come.
func patience() time.Duration { return slow(10 * time.Second) }

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
		if s := exit.Sys().(syscall.WaitStatus); s.Signaled() {
			ts.Fatalf("ended by signal %v, want exit status %d", s.Signal(), want)
		}
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

var visits atomic.Int64

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	serve(ts, l)
}

func cmdListen(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: listen path|@name")
	}
	path, isRelative := strings.CutPrefix(args[0], "./")
	if isRelative {
		before, err := os.Getwd()
		ts.Check(err)
		ts.Check(os.Chdir(ts.MkAbs(".")))
		defer os.Chdir(before)
	} else if path[0] != '@' {
		path = ts.MkAbs(path)
	}
	l, err := net.Listen("unix", path)
	ts.Check(err)
	serve(ts, l)
}

func serve(ts *testscript.TestScript, l net.Listener) {
	nonce := fmt.Sprintf("nonce-%d", time.Now().UnixNano())
	ts.Setenv("NONCE", nonce)
	visits.Store(0)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			io.WriteString(c, nonce+"\n")
			c.Close()
		}
	}()
}

func cmdReached(ts *testscript.TestScript, neg bool, args []string) {
	n := visits.Swap(0)
	if neg && n > 0 {
		ts.Fatalf("the server was reached %d times", n)
	}
	if !neg && n == 0 {
		ts.Fatalf("nobody reached the server")
	}
}

func cmdRunning(ts *testscript.TestScript, neg bool, args []string) {
	if !waitUntil(func() bool { return len(withToken(args[0])) > 0 }) {
		ts.Fatalf("no process has %s in its command line", args[0])
	}
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	if !waitUntil(func() bool { return len(withToken(args[0])) == 0 }) {
		ts.Fatalf("still running: %+v", withToken(args[0]))
	}
}

// A keyring belongs to a thread and what it starts: the script keeps its thread, which ends with it.
func cmdSession(ts *testscript.TestScript, neg bool, args []string) {
	runtime.LockOSThread()
	_, err := unix.KeyctlJoinSessionKeyring("sbx-e2e")
	ts.Check(err)
}

func waitUntil(ok func() bool) bool {
	for deadline := time.Now().Add(patience()); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
