package userns

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Further processes of a sandbox, on PID 1's side: it holds the rules of child.go. The supervisor
// lays a plan into the shared arena and asks for a process that walks it, by a message that brings
// the process's descriptors. The process is PID 1's child, so it has PID 1's namespaces, cgroup,
// Landlock domain, filter and capabilities. It speaks to the supervisor over a socket of its own,
// which is close-on-exec, and never has PID 1's.

// request asks for a further process.
type request struct {
	number uint32
	inputs uint32  // descriptors besides the first four
	arena  uintptr // address of its plan
}

// The descriptors of a request: its own socket, 0, 1, 2, and the plan's further inputs.
const requestFDs = 4

// handed is a control message with the descriptors of a request.
type handed struct {
	length uint64
	level  int32
	kind   int32
	fd     [requestFDs + maxInputs]int32
}

const handedHead = 16 // bytes of a control message before its descriptors

// job is a further process that runs; pid 0: a free place.
type job struct{ pid, number uint32 }

// maxJobs is how many further processes a sandbox may have at once.
const maxJobs = 128

// takeRequest takes one message of the supervisor. It waits for none. It returns in the process that
// was asked for as well, with modeRun, so that the stack is free for its walk.
//
//go:norace
//go:nosplit
//go:nocheckptr
func takeRequest(b *block) {
	b.handed.length = 0
	b.iov[0], b.iov[1] = uintptr(unsafe.Pointer(&b.request)), unsafe.Sizeof(b.request)
	b.hdr = rawMsghdr{iov: uintptr(unsafe.Pointer(&b.iov)), iovLen: 1,
		control: uintptr(unsafe.Pointer(&b.handed)), controlLen: unsafe.Sizeof(b.handed)}
	n, errno := raw3(unix.SYS_RECVMSG, initSocket, uintptr(unsafe.Pointer(&b.hdr)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errno == 0 && n == unsafe.Sizeof(b.request) {
		if errno := startJob(b); errno != 0 {
			send(b, msgJobRefused, partPayload, b.request.number, errno, 0, -1)
		}
	}
	if b.mode == modeRun {
		return
	}
	raw3(unix.SYS_CLOSE_RANGE, initSignalFD+1, 0xffffffff, 0)
}

// startJob makes the process that a request asks for, or returns an errno: EMFILE where its
// descriptors did not all arrive, EAGAIN where there are too many processes.
//
//go:norace
//go:nosplit
//go:nocheckptr
func startJob(b *block) uintptr {
	if b.request.inputs > maxInputs || b.handed.length != handedHead+4*uint64(requestFDs+b.request.inputs) {
		return uintptr(unix.EMFILE)
	}
	place := uintptr(0)
	for place < maxJobs && jobAt(b, place).pid != 0 {
		place++
	}
	if place == maxJobs {
		return uintptr(unix.EAGAIN)
	}
	pid, errno := fork(b)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		b.mode = modeRun
		return 0
	}
	if errno := send(b, msgJobStarted, partPayload, b.request.number, 0, uint64(pid), b.pidfd); errno != 0 {
		raw3(unix.SYS_KILL, pid, uintptr(unix.SIGKILL), 0)
		return errno
	}
	*jobAt(b, place) = job{uint32(pid), b.request.number}
	return 0
}

//go:norace
//go:nosplit
//go:nocheckptr
func jobAt(b *block, i uintptr) *job {
	return (*job)(unsafe.Add(unsafe.Pointer(&b.jobs), i*unsafe.Sizeof(job{})))
}

// jobMain is the life of a further process until it executes. Its block is a copy of PID 1's.
//
//go:norace
//go:nosplit
//go:nocheckptr
func jobMain(b *block) {
	b.denied, b.arena = 0, b.request.arena
	count := uintptr(requestFDs + b.request.inputs)
	for i := uintptr(0); i < count; i++ {
		fd := handedAt(b, i)
		high, errno := raw3(unix.SYS_FCNTL, uintptr(*fd), unix.F_DUPFD_CLOEXEC, lowestOwn)
		if errno != 0 {
			exit(127) // its socket's hang-up tells
		}
		*fd = int32(high)
	}
	placeAt(uintptr(*handedAt(b, 0)), childSocket, unix.O_CLOEXEC)
	b.socketAt = childSocket
	for i := uintptr(1); i < requestFDs; i++ {
		placeAt(uintptr(*handedAt(b, i)), i-1, 0) // over PID 1's own
	}
	for i := uintptr(requestFDs); i < count; i++ {
		placeAt(uintptr(*handedAt(b, i)), childInputs+i-requestFDs, unix.O_CLOEXEC)
	}
	if _, errno := raw3(unix.SYS_CLOSE_RANGE, childInputs+count-requestFDs, 0xffffffff, 0); errno != 0 {
		exit(127)
	}
	raw4(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&b.oldSignals)), 0, 8)
	walk(b, partPayload)
	exit(0)
}

// placeAt moves a descriptor to its number. Where it cannot, the process ends: what has that number
// else may be PID 1's socket.
//
//go:norace
//go:nosplit
//go:nocheckptr
func placeAt(fd, number, flags uintptr) {
	if _, errno := raw3(unix.SYS_DUP3, fd, number, flags); errno != 0 {
		exit(127)
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func handedAt(b *block, i uintptr) *int32 {
	return (*int32)(unsafe.Add(unsafe.Pointer(&b.handed.fd), 4*i))
}

// jobEnded tells the supervisor, where the process that ended is one of the further ones.
//
//go:norace
//go:nosplit
//go:nocheckptr
func jobEnded(b *block, pid uintptr) {
	for i := uintptr(0); i < maxJobs; i++ {
		if j := jobAt(b, i); uintptr(j.pid) == pid {
			j.pid = 0
			send(b, msgJobExited, partPayload, j.number, 0, uint64(uint32(b.status)), -1)
			return
		}
	}
}
