package slirp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Helper is a program outside that serves a sandbox's network: slirp4netns or pasta. It ends with its
// supervisor, by SIGKILL too.
type Helper struct {
	name  string
	pid   int
	pidfd int
	ready int           // the end of a pipe that brings a byte when the network is there; -1: it has
	exit  int           // the end of a pipe whose closing ends slirp4netns; -1: there is none
	said  *tail         // of its stderr
	ended chan struct{} // it has been reaped
	end   sync.Once
}

// HelperError is a program that did not bring up the network.
type HelperError struct {
	Name string // slirp4netns or pasta
	Said string // its last words; may be empty
	Err  error
}

func (e *HelperError) Error() string {
	text := "bringing up the network with " + e.Name + ": " + e.Err.Error()
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

func (e *HelperError) Unwrap() error { return e.Err }

// ShutOut tells whether pasta may not enter the sandbox's namespaces, though they are the caller's: a security module
// such as AppArmor keeps it out.
func (e *HelperError) ShutOut() bool {
	return e.Name == "pasta" && strings.Contains(e.Said, "user namespace") && strings.HasSuffix(e.Said, unixDenied)
}

// unixDenied is strerror(3) of EACCES.
const unixDenied = "Permission denied"

var (
	errNotReady = errors.New("it ended before the network was there")
	errSlow     = errors.New("the network was not there in time")
)

// patience is how long a helper may take.
const patience = 20 * time.Second

// Descriptors of a helper beside 0, 1 and 2.
const (
	readyFD = 3
	exitFD  = 4
)

// StartSlirp begins to give the network namespace of a process a network by slirp4netns, the program at path. The
// process must be dumpable, with its id maps written. Without an id 0 in its map (hasRoot) slirp4netns
// cannot make the mount namespace in which it sees no files.
func StartSlirp(path string, pid int, hasRoot bool) (*Helper, error) {
	args := []string{"--configure", "--mtu=" + strconv.Itoa(MTU), "--enable-ipv6", "--disable-host-loopback",
		"--enable-seccomp", "--ready-fd=" + strconv.Itoa(readyFD), "--exit-fd=" + strconv.Itoa(exitFD)}
	if hasRoot {
		args = append(args, "--enable-sandbox")
	}
	return start("slirp4netns", path, append(args, strconv.Itoa(pid), tapName))
}

// RemoveDevice removes the device that slirp4netns has left in a network, where it ended before the sandbox: as long as
// the device is there, connections wait for answers that nobody gives.
func RemoveDevice(network *os.File) error {
	const do = "removing the network device"
	owner, err := unix.IoctlRetInt(int(network.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("%s: %w", do, err)
	}
	user := os.NewFile(uintptr(owner), "user")
	defer user.Close()
	steps := append([]userns.Step{
		userns.SetNS(do, "user", unix.CLONE_NEWUSER),
		userns.SetNS(do, "network", unix.CLONE_NEWNET),
	}, userns.RemoveTap(do, tapName)...)
	return userns.Run(&userns.Plan{Init: steps}, map[userns.Slot]*os.File{"user": user, "network": network})
}

// StartPasta begins to give the network namespace of a process a network by pasta, the program at path. The
// process must be dumpable. pasta confines itself. Without the options that turn it off it shows the
// host's loopback twice: on the gateway's address, and by ports that it forwards out of the sandbox.
func StartPasta(path string, pid int) (*Helper, error) {
	// Started as root it would become nobody, who may not enter the namespaces of root's sandbox.
	own := strconv.Itoa(unix.Getuid()) + ":" + strconv.Itoa(unix.Getgid())
	return start("pasta", path, []string{"--foreground", "--quiet", "--runas", own, "--config-net", "--mtu", strconv.Itoa(MTU),
		"--no-map-gw", "-T", "none", "-U", "none", "-t", "none", "-u", "none", "--dns-forward", Resolver,
		"--pid", "/proc/self/fd/" + strconv.Itoa(readyFD), strconv.Itoa(pid)})
}

// start starts a helper, which is of use once it is Ready.
func start(name, path string, args []string) (*Helper, error) {
	h := &Helper{name: name, said: &tail{}, ended: make(chan struct{})}
	var ready, exit [2]int
	if err := makePipes(&ready, &exit); err != nil {
		return nil, &HelperError{Name: name, Err: err}
	}
	h.ready, h.exit = ready[0], exit[1]
	err := h.launch(path, args, ready[1], exit[0])
	unix.Close(ready[1])
	unix.Close(exit[0])
	if err != nil {
		unix.Close(h.ready)
		unix.Close(h.exit)
		return nil, &HelperError{Name: name, Err: err}
	}
	return h, nil
}

// Ready waits until the helper says that the network is there.
func (h *Helper) Ready() error {
	err := awaitReady(h.ready)
	unix.Close(h.ready)
	h.ready = -1
	if err != nil {
		h.End()
		return &HelperError{Name: h.name, Said: h.said.String(), Err: err}
	}
	return nil
}

// launch makes the process, in a session of its own: a signal from the terminal is for the payload. Its
// environment is empty. files become its descriptors from 3 on.
func (h *Helper) launch(path string, args []string, files ...int) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	var stderr [2]int
	if err := makePipes(&stderr); err != nil {
		return err
	}
	defer unix.Close(stderr[1])
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{uintptr(null), uintptr(null), uintptr(stderr[1])},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &h.pidfd},
	}
	for _, fd := range files {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if h.pid, err = syscall.ForkExec(path, append([]string{h.name}, args...), attr); err != nil {
		unix.Close(stderr[0])
		return err
	}
	go h.said.read(stderr[0])
	go func() {
		reap(h.pid)
		close(h.ended)
	}()
	return nil
}

func makePipes(pipes ...*[2]int) error {
	for i, p := range pipes {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			for _, made := range pipes[:i] {
				unix.Close(made[0])
				unix.Close(made[1])
			}
			return err
		}
	}
	return nil
}

// awaitReady waits for the first byte of a pipe.
func awaitReady(fd int) error {
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errSlow
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err == unix.EINTR || n == 0 && err == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for it: %w", err)
		}
		if n, err := unix.Read(fd, make([]byte, 32)); n > 0 && err == nil {
			return nil
		}
		return errNotReady
	}
}

// Ended is closed when the program has ended, by whatever.
func (h *Helper) Ended() <-chan struct{} { return h.ended }

// Name is the program's.
func (h *Helper) Name() string { return h.name }

// End ends the program and waits for it. A nil helper has ended.
func (h *Helper) End() {
	if h == nil {
		return
	}
	h.end.Do(func() {
		for _, end := range []int{h.ready, h.exit} {
			if end >= 0 {
				unix.Close(end)
			}
		}
		unix.PidfdSendSignal(h.pidfd, unix.SIGKILL, nil, 0)
		<-h.ended
		unix.Close(h.pidfd)
	})
}

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// tail keeps the end of what a program says, at most tailSize bytes, and lets it say more: a payload
// may be able to make it talk.
type tail struct {
	mutex sync.Mutex
	text  []byte
}

const tailSize = 1 << 10

func (t *tail) read(fd int) {
	defer unix.Close(fd)
	buf := make([]byte, tailSize)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		t.mutex.Lock()
		t.text = append(t.text, buf[:n]...)
		t.text = t.text[max(0, len(t.text)-tailSize):]
		t.mutex.Unlock()
	}
}

// String is the last line.
func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	return string(lines[len(lines)-1])
}
