package userns

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// PID 1 of a sandbox: the forked, never executed child. It holds the rules of child.go. What it
// has open, once the payload exists, is the socket to its supervisor and a signalfd. Further
// processes that the supervisor asks for are in job.go.

const (
	initSocket   = 0
	initSignalFD = 1
)

// forkPayload makes the payload's process, a child of PID 1, with its pidfd in b.pidfd.
//
//go:norace
//go:nosplit
//go:nocheckptr
func forkPayload(b *block) uintptr {
	pid, errno := fork(b)
	if errno != 0 {
		fail(b, partPayload, ^uint32(0), errno)
	}
	return pid
}

// fork leaves the child's pidfd in b.pidfd.
//
//go:norace
//go:nosplit
//go:nocheckptr
func fork(b *block) (pid, errno uintptr) {
	return raw4(unix.SYS_CLONE, unix.CLONE_PIDFD|uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&b.pidfd)), 0)
}

// initLoop reaps all that dies and ends with the payload, with its status, or with the supervisor. It
// returns in further processes alone.
//
//go:norace
//go:nosplit
//go:nocheckptr
func initLoop(b *block, payload uintptr) {
	// ETOOMANYREFS: the user has as many descriptors on their way as this process may have open (unix(7)).
	if errno := send(b, msgStarted, partPayload, 0, 0, uint64(payload), b.pidfd); errno != 0 {
		fail(b, partPayload, ^uint32(0), errno)
	}
	initDescriptors(b)
	for {
		b.poll[0] = pollFD{fd: initSignalFD, events: unix.POLLIN}
		b.poll[1] = pollFD{fd: initSocket, events: unix.POLLIN}
		raw4(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&b.poll)), 2, 0, 0)
		if b.poll[1].revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			exit(125)
		}
		if b.poll[0].revents != 0 {
			raw3(unix.SYS_READ, initSignalFD, uintptr(unsafe.Pointer(&b.siginfo)), unsafe.Sizeof(b.siginfo))
			reap(b, payload)
		}
		if b.poll[1].revents&unix.POLLIN != 0 {
			takeRequest(b)
			if b.mode == modeRun {
				return
			}
		}
	}
}

// initDescriptors leaves PID 1 with the socket and the signalfd alone: a terminal, a pipe or a
// descriptor of the plan kept open here would be one whose end nobody ever sees.
//
//go:norace
//go:nosplit
//go:nocheckptr
func initDescriptors(b *block) {
	raw3(unix.SYS_DUP3, childSocket, initSocket, unix.O_CLOEXEC)
	b.socketAt = initSocket
	raw3(unix.SYS_CLOSE_RANGE, initSocket+1, 0xffffffff, 0)
	b.mode = modeLoop
	mask := uint64(1) << (uint(unix.SIGCHLD) - 1)
	b.allSignals = mask
	raw4(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&b.allSignals)), 8, unix.SFD_CLOEXEC)
}

// reap takes every child that ended; when the payload is among them, PID 1 ends as it did.
//
//go:norace
//go:nosplit
//go:nocheckptr
func reap(b *block, payload uintptr) {
	for {
		pid, errno := raw4(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&b.status)), unix.WNOHANG|unix.WALL, 0)
		if errno != 0 || pid == 0 {
			return
		}
		if pid == payload {
			send(b, msgExited, partPayload, 0, 0, uint64(uint32(b.status)), -1)
			if headerOf(b).hold != 0 {
				awaitHangUp(b)
			}
			exit(exitCode(b.status))
		}
		jobEnded(b, pid)
	}
}

// awaitHangUp returns when the supervisor has closed its end of the socket, or has ended.
//
//go:norace
//go:nosplit
//go:nocheckptr
func awaitHangUp(b *block) {
	for {
		b.poll[1] = pollFD{fd: initSocket}
		raw4(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&b.poll[1])), 1, 0, 0)
		if b.poll[1].revents != 0 {
			return
		}
	}
}

// exitCode turns a wait status into an exit status as shells do: the code, or 128 and the signal.
//
//go:norace
//go:nosplit
//go:nocheckptr
func exitCode(status int32) uintptr {
	if signal := uintptr(status & 0x7f); signal != 0 {
		return 128 + signal
	}
	return uintptr(status>>8) & 0xff
}
