package sandbox

import (
	"os"
	"os/signal"
	"strconv"
	"strings"

	table "github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"golang.org/x/sys/unix"
)

// forwardedNames are the signals that people and programs send to a command line. Each one that is
// caught costs up to 0.1 ms at the start, so the list is no longer than it has to be.
var forwardedNames = []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "TSTP", "CONT", "WINCH"}

// toGroup are the signals that a terminal sends to a whole process group. The payload is in a
// session of its own, so its group would otherwise not get them.
var toGroup = map[os.Signal]bool{unix.SIGINT: true, unix.SIGQUIT: true, unix.SIGHUP: true}

// forwardSignals forwards the signals of this process to the payload, as long as this process lives.
// It takes effect beside the payload's first steps, since the
// Go runtime needs up to 0.1 ms for each signal that it is to catch; a signal that comes before has
// its default action, which ends this process and the sandbox with it.
func forwardSignals(payload *os.File, t *terminal) {
	go func() {
		caught := make(chan os.Signal, 64)
		signal.Notify(caught, forwarded()...)
		t.resize() // it may have changed before
		for sig := range caught {
			forwardOne(payload, sig.(unix.Signal), t)
		}
	}()
}

// forwarded are the signals to catch, but for those that this process was started to ignore, as by
// nohup(1): the payload ignores them as well.
func forwarded() []os.Signal {
	var list []os.Signal
	for _, name := range forwardedNames {
		if sig := table.SignalMap[name]; !signal.Ignored(sig) {
			list = append(list, sig)
		}
	}
	return list
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

// signalGroup signals the process group that the payload leads. Kernels before 6.9 cannot do that
// by pidfd.
func signalGroup(payload *os.File, sig unix.Signal) {
	control(payload, func(pidfd int) {
		err := unix.PidfdSendSignal(pidfd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if err != unix.EINVAL {
			return
		}
		if pid := pidOf(pidfd); pid > 0 {
			unix.Kill(-pid, sig)
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
