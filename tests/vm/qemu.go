package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const qemu = "qemu-system-x86_64"

// bootTime is far more than a guest needs to come up.
const bootTime = 3 * time.Minute

// A guest is a running qemu. Its standard output is the port that the guest sends messages to; what the console shows
// is kept for when they do not come.
type guest struct {
	cmd      *exec.Cmd
	messages *json.Decoder
	console  *tail
	watchdog *time.Timer
	limit    time.Duration

	mu      sync.Mutex
	tooLong string
}

func boot(image string, drive *os.File, limit time.Duration) (*guest, error) {
	g := &guest{console: &tail{}, limit: limit}
	g.cmd = exec.Command("tests/vm/qemu.sh", image, "on", "/proc/self/fd/3", "-incoming", "exec:cat "+filepath.Join(image, "state"))
	g.cmd.Stderr = g.console
	g.cmd.ExtraFiles = []*os.File{drive}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// An input that ends would take the port from the guest.
	in, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the guest: %w", err)
	}
	g.messages = json.NewDecoder(out)
	// The guest waits for the time of day.
	if _, err := fmt.Fprintf(in, "%d\n", time.Now().Unix()); err != nil {
		return nil, fmt.Errorf("starting the guest: %w", err)
	}
	g.watchdog = time.AfterFunc(min(bootTime, limit), func() { g.kill("it did not come up") })
	return g, g.waitUntilUp()
}

func (g *guest) waitUntilUp() error {
	began := time.Now()
	m, err := g.next()
	if err != nil {
		return err
	}
	g.watchdog.Stop()
	g.watchdog = time.AfterFunc(g.limit-time.Since(began), func() { g.kill(fmt.Sprintf("it took longer than %v", g.limit)) })
	fmt.Printf("%-28s %7.1f s   %s\n", "guest comes up", time.Since(began).Seconds(), m.Kernel)
	return nil
}

// next returns the next message. A guest that ends before it said so is an error that shows its console.
func (g *guest) next() (message, error) {
	var m message
	err := g.messages.Decode(&m)
	if err == nil && m.Error == "" {
		return m, nil
	}
	g.end()
	g.mu.Lock()
	defer g.mu.Unlock()
	what := fmt.Sprintf("it ended too early: %v", err)
	if m.Error != "" {
		what = m.Error
	}
	if g.tooLong != "" {
		what = g.tooLong
	}
	return m, fmt.Errorf("the guest: %s; the end of its console:\n%s", what, g.console)
}

// kill ends the guest for a reason that next gives.
func (g *guest) kill(why string) {
	g.mu.Lock()
	g.tooLong = why
	g.mu.Unlock()
	g.cmd.Process.Kill()
}

// end ends qemu at once: its disks are not kept.
func (g *guest) end() {
	if g.watchdog != nil {
		g.watchdog.Stop()
	}
	g.cmd.Process.Kill()
	g.cmd.Wait()
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if over := t.buf.Len() - tailSize; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

var _ io.Writer = (*tail)(nil)
