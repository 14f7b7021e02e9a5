package sandbox

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"

	table "github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"golang.org/x/sys/unix"
)

// notForwarded are the signals that are not the payload's business: those that the Go runtime, the
// kernel or the job control of the outer shell send to this process itself.
var notForwarded = map[os.Signal]bool{
	unix.SIGCHLD: true, unix.SIGPIPE: true, unix.SIGURG: true, unix.SIGPROF: true, unix.SIGKILL: true,
	unix.SIGSTOP: true, unix.SIGTTIN: true, unix.SIGTTOU: true, unix.SIGSEGV: true, unix.SIGBUS: true,
	unix.SIGFPE: true, unix.SIGILL: true, unix.SIGTRAP: true, unix.SIGABRT: true, unix.SIGSYS: true,
}

// toGroup are the signals that a terminal sends to a whole process group. The payload is in a
// session of its own, so its group would otherwise not get them.
var toGroup = map[os.Signal]bool{unix.SIGINT: true, unix.SIGQUIT: true, unix.SIGHUP: true}

// signals forwards the signals of this process to the payload.
type signals struct{ caught chan os.Signal }

// forwardSignals forwards from soon on. It takes effect beside the payload's first steps, since the
// Go runtime needs up to 0.1 ms for each signal that it is to catch; a signal that comes before has
// its default action, which ends this process and the sandbox with it.
func forwardSignals(payload *os.File, t *terminal) *signals {
	s := &signals{make(chan os.Signal, 64)}
	go func() {
		signal.Notify(s.caught, forwarded()...)
		for sig := range s.caught {
			forwardOne(payload, sig.(unix.Signal), t)
		}
	}()
	return s
}

// forwarded are the signals to catch, but for those that this process was started to ignore, as by
// nohup(1): the payload ignores them as well.
func forwarded() []os.Signal {
	var list []os.Signal
	for _, sig := range table.SignalMap {
		if sig < firstRealTime && !notForwarded[sig] && !signal.Ignored(sig) {
			list = append(list, sig)
		}
	}
	return list
}

// firstRealTime is the first of the real-time signals (signal(7)), which nobody sends to a command
// line.
const firstRealTime = unix.Signal(32)

func forwardOne(payload *os.File, sig unix.Signal, t *terminal) {
	switch {
	case sig == unix.SIGWINCH:
		t.resize()
	case sig == unix.SIGTSTP:
		// Stop with the payload, as one job; the outer shell continues both.
		signalGroup(payload, unix.SIGSTOP)
		unix.Kill(unix.Getpid(), unix.SIGSTOP)
	case sig == unix.SIGCONT:
		t.raw()
		signalGroup(payload, sig)
	case toGroup[sig]:
		signalGroup(payload, sig)
	default:
		signalPayload(payload, sig)
	}
}

// stop ends the forwarding. The channel stays open: a Notify that is still on its way may use it.
func (s *signals) stop() { signal.Stop(s.caught) }

// signalPayload signals the payload's process by its pidfd, which never means another one.
func signalPayload(payload *os.File, sig unix.Signal) {
	unix.PidfdSendSignal(int(payload.Fd()), sig, nil, 0)
	runtime.KeepAlive(payload)
}

// signalGroup signals the process group that the payload leads. Kernels before 6.9 cannot do that
// by pidfd.
func signalGroup(payload *os.File, sig unix.Signal) {
	defer runtime.KeepAlive(payload)
	err := unix.PidfdSendSignal(int(payload.Fd()), sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if err != unix.EINVAL {
		return
	}
	if pid := pidOf(payload); pid > 0 {
		unix.Kill(-pid, sig)
	}
}

// pidOf reads the process behind a pidfd from /proc/self/fdinfo (pidfd_open(2)); -1 when it is gone.
func pidOf(pidfd *os.File) int {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(pidfd.Fd())))
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
