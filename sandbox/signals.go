package sandbox

import (
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that people and programs send to a command line. The list is no longer
// than it has to be, since each one costs time at the start.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
	unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
}

// toGroup are the signals that a terminal sends to a whole process group. The payload is in a
// session of its own, so its group would otherwise not get them.
var toGroup = map[os.Signal]bool{unix.SIGINT: true, unix.SIGQUIT: true, unix.SIGHUP: true}

// caller is the signals that this process gets from its caller.
type caller struct {
	caught chan os.Signal
	ready  chan struct{}
}

// catchSignals begins to catch signals, beside whatever else the start needs: each one costs the Go
// runtime up to 0.1 ms. Those that this process was started to ignore, as by nohup(1), stay ignored,
// for the payload as well.
func catchSignals() *caller {
	c := &caller{make(chan os.Signal, 64), make(chan struct{})}
	go func() {
		defer close(c.ready)
		var list []os.Signal
		for _, sig := range forwarded {
			if !signal.Ignored(sig) {
				list = append(list, sig)
			}
		}
		signal.Notify(c.caught, list...)
	}()
	return c
}

// forward gives what was caught, and what will be, to the payload.
func (c *caller) forward(payload *os.File, t *terminal) {
	go func() {
		for sig := range c.caught {
			forwardOne(payload, sig.(unix.Signal), t)
		}
	}()
}

func forwardOne(payload *os.File, sig unix.Signal, t *terminal) {
	switch {
	case sig == unix.SIGWINCH:
		t.resize()
	case sig == unix.SIGTSTP:
		// Stop with the payload, as one job; the outer shell continues both.
		signalGroup(payload, unix.SIGSTOP)
		t.suspend(func() { unix.Kill(unix.Getpid(), unix.SIGSTOP) })
	case sig == unix.SIGCONT:
		t.resume()
		signalGroup(payload, sig)
	case sig != unix.SIGHUP && toGroup[sig] && t.interrupt(sig):
	case toGroup[sig]:
		signalGroup(payload, sig)
	default:
		signalPayload(payload, sig)
	}
}

// signalPayload signals the payload's process by its pidfd, which never means another one.
func signalPayload(payload *os.File, sig unix.Signal) {
	control(payload, func(pidfd int) { unix.PidfdSendSignal(pidfd, sig, nil, 0) })
}

// signalGroup signals the process group that the payload leads, or the payload itself while it leads
// none yet. Kernels before 6.9 cannot signal a group by pidfd.
func signalGroup(payload *os.File, sig unix.Signal) {
	control(payload, func(pidfd int) {
		err := unix.PidfdSendSignal(pidfd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if pid := pidOf(pidfd); err == unix.EINVAL && pid > 0 {
			err = unix.Kill(-pid, sig)
		}
		if err == unix.ESRCH {
			unix.PidfdSendSignal(pidfd, sig, nil, 0)
		}
	})
}

// pidOf reads the process behind a pidfd from /proc/self/fdinfo (pidfd_open(2)); -1 when it is gone.
func pidOf(pidfd int) int {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(value))
			return pid
		}
	}
	return -1
}
