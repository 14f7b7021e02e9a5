package userns

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is what runs between clone and execve. The child has one thread, a stack and memory of
// its own, and no copy of the supervisor's: no Go runtime may run in it, it has no g, and there are
// no global variables. So here is
// nothing but raw system calls and stores of plain words; every function is nosplit (no stack
// growth) and norace, and nothing allocates or stores a Go pointer (no write barrier).

// Descriptors of the child. Start keeps its own copies above lowestOwn, so that filling these
// clobbers none of them.
const (
	childSocket = 3 // to the supervisor: barriers in, messages out; its hang-up is the lifeline
	childInputs = 4 // the first of the plan's further inputs
	lowestOwn   = 24
)

// maxJoins is how many namespaces a first process may enter.
const maxJoins = 4

// maxInputs is how many further inputs a plan may have.
const maxInputs = 16

// Kinds of message, PID 1 to supervisor.
const (
	msgFailed  = 'E' // a step failed; the walk is over
	msgNotice  = 'N' // a step failed with a tolerated error that was to be told
	msgFile    = 'F' // a descriptor, sent by a step
	msgStarted = 'P' // the payload's process exists; brings its pidfd
	msgExited  = 'X' // the payload ended, with this wait status
	msgJoined  = 'J' // the first process exists, in namespaces of another sandbox; brings its pidfd

	// Of a further process, whose request's number is in the place of the step.
	msgJobStarted = 'p' // it exists; brings its pidfd
	msgJobRefused = 'e' // it could not be made
	msgJobExited  = 'x' // it ended, with this wait status
)

// message is what goes over the socket, as the kernel carries it.
type message struct {
	kind  uint32
	part  uint32 // which list of the plan: partBeginning and so on
	step  uint32
	errno uint32
	value uint64 // wait status, or number of the slot
}

// control is a control message with one descriptor: cmsg(3), SCM_RIGHTS.
type control struct {
	length uint64
	level  int32
	kind   int32
	fd     int32
	_      int32
}

// rawMsghdr is struct msghdr with addresses as plain words.
type rawMsghdr struct {
	name, nameLen, iov, iovLen, control, controlLen, flags uintptr
}

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// block is what the child knows, and all memory that it writes to but the slots. It is private to
// each process: PID 1 and the payload's process have copies of their own.
type block struct {
	// Set by the supervisor before the clone.
	arena      uintptr // address
	namespaces uintptr
	mode       uintptr
	socket     uintptr // its end of the socket
	stdio      [3]uintptr
	inputs     [maxInputs]uintptr
	inputCount uintptr
	joins      [maxJoins]uintptr // namespaces to enter, a user namespace first
	joinCount  uintptr
	within     uintptr // the namespaces to make in those
	argv       uintptr // memory that /proc/PID/cmdline shows
	argvLen    uintptr
	stack      uintptr  // top of the child's own
	name       [16]byte // comm of the child: proc_pid_comm(5), at most 15 bytes

	// Written by the child.
	socketAt   uintptr    // where its end of the socket lies now
	action     [4]uintptr // struct sigaction of the kernel
	allSignals uint64
	oldSignals uint64
	msg        message
	iov        [2]uintptr
	hdr        rawMsghdr
	ctl        control
	pidfd      int32
	status     int32
	denied     uintptr
	byte       uintptr
	poll       [2]pollFD
	siginfo    [128]byte
	request    request
	handed     handed
	jobs       [maxJobs]job
}

// What the first process is for.
const (
	modeRun  = iota // walk the first list and end
	modeInit        // walk, fork the payload, stay as PID 1
	modeLoop        // PID 1 that has its payload
)

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

// rawClone is in assembly. The child goes on in entry, on a stack of its own.
//
//go:noescape
func rawClone(flags, stack, pidfd, entry uintptr, b *block) (pid uintptr)

// clone makes the child and returns its pid, or an errno. The child has no copy of the supervisor's
// memory (see withoutMemory).
//
//go:noinline
//go:norace
//go:nocheckptr
func clone(b *block) (pid uintptr, errno syscall.Errno) {
	flags := b.namespaces | unix.CLONE_PIDFD | uintptr(unix.SIGCHLD)
	entry := childMain
	code := **(**uintptr)(unsafe.Pointer(&entry)) // a func value is a pointer to a pointer to the code
	raw4(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&b.oldSignals)), 8)
	runtimeBeforeFork()
	pid = rawClone(flags, b.stack, uintptr(unsafe.Pointer(&b.pidfd)), code, b)
	runtimeAfterFork()
	if int(pid) < 0 {
		return 0, syscall.Errno(-pid)
	}
	return pid, 0
}

// childMain is the life of the first process, inside the new namespaces.
//
//go:norace
//go:nosplit
//go:nocheckptr
func childMain(b *block) {
	prelude(b)
	if b.joinCount > 0 {
		join(b)
	}
	awaitBarrier(b) // the beginning of the plan is there
	walk(b, partBeginning)
	awaitBarrier(b) // and so is the rest
	walk(b, partInit)
	if b.mode == modeRun {
		exit(0)
	}
	// A change of credentials on the way has cleared it (prctl(2)).
	dieWithSupervisor()
	pid := forkPayload(b)
	if pid == 0 {
		// In the payload's process.
		raw4(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&b.oldSignals)), 0, 8)
		walk(b, partPayload)
		exit(127)
	}
	initLoop(b, pid)
	jobMain(b)
}

// prelude cuts what ties the child to its supervisor and puts its descriptors in order.
//
//go:norace
//go:nosplit
//go:nocheckptr
func prelude(b *block) {
	b.allSignals = ^uint64(0)
	raw4(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&b.allSignals)), 0, 8)
	resetHandlers(b)
	dieWithSupervisor()
	for i := range b.stdio {
		raw3(unix.SYS_DUP3, b.stdio[i], uintptr(i), 0)
	}
	raw3(unix.SYS_DUP3, b.socket, childSocket, unix.O_CLOEXEC)
	b.socketAt = childSocket
	for i := uintptr(0); i < b.inputCount && i < maxInputs; i++ {
		raw3(unix.SYS_DUP3, b.inputs[i], childInputs+i, unix.O_CLOEXEC)
	}
	for i := uintptr(0); i < b.joinCount && i < maxJoins; i++ {
		raw3(unix.SYS_DUP3, b.joins[i], childInputs+b.inputCount+i, unix.O_CLOEXEC)
	}
	// The copies of all that the supervisor has open go before any foreign code exists, its end
	// of the socket among them: else its death could not be seen from here.
	if _, errno := raw3(unix.SYS_CLOSE_RANGE, childInputs+b.inputCount+b.joinCount, 0xffffffff, 0); errno != 0 {
		fail(b, partBeginning, ^uint32(0), errno)
	}
	rename(b)
}

// join enters namespaces of another sandbox and makes the first process in them, a child of the
// supervisor (CLONE_PARENT) and not of this process, which ends. Only the first process returns. It takes
// two, since a user namespace has to be entered before others are made in it, and a PID namespace is
// for children alone.
//
//go:norace
//go:nosplit
//go:nocheckptr
func join(b *block) {
	for i := uintptr(0); i < b.joinCount && i < maxJoins; i++ {
		fd := childInputs + b.inputCount + i
		if _, errno := raw3(unix.SYS_SETNS, fd, 0, 0); errno != 0 {
			fail(b, partBeginning, ^uint32(0), errno)
		}
		raw3(unix.SYS_CLOSE, fd, 0, 0)
	}
	pid, errno := raw4(unix.SYS_CLONE, b.within|unix.CLONE_PARENT|unix.CLONE_PIDFD|uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&b.pidfd)), 0)
	if errno != 0 {
		fail(b, partBeginning, ^uint32(0), errno)
	}
	if pid != 0 {
		send(b, msgJoined, 0, 0, 0, uint64(pid), b.pidfd)
		exit(0)
	}
	dieWithSupervisor()
}

// resetHandlers gives every signal that the Go runtime handles its default action. One that the
// caller ignores stays ignored, as after every execve(2).
//
//go:norace
//go:nosplit
//go:nocheckptr
func resetHandlers(b *block) {
	action := uintptr(unsafe.Pointer(&b.action))
	for sig := uintptr(1); sig <= 64; sig++ {
		raw4(unix.SYS_RT_SIGACTION, sig, 0, action, 8)
		if b.action[0] > 1 { // neither SIG_DFL nor SIG_IGN
			b.action = [4]uintptr{}
			raw4(unix.SYS_RT_SIGACTION, sig, action, 0, 8)
		}
	}
}

// rename gives the process a name of its own in ps(1): its copy of argv and its comm.
//
//go:norace
//go:nosplit
//go:nocheckptr
func rename(b *block) {
	argv := *(*unsafe.Pointer)(unsafe.Pointer(&b.argv))
	for i := uintptr(0); i < b.argvLen; i++ {
		c := byte(0)
		if i < uintptr(len(b.name)) {
			c = b.name[i]
		}
		*(*byte)(unsafe.Add(argv, i)) = c
	}
	raw3(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b.name)), 0)
}

//go:norace
//go:nosplit
//go:nocheckptr
func dieWithSupervisor() {
	raw3(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
}

// walk does the steps of one list. It returns when all are done; a failing one ends the process.
//
//go:norace
//go:nosplit
//go:nocheckptr
func walk(b *block, part uint32) {
	list := &headerOf(b).lists[partBeginning]
	switch part {
	case partInit:
		list = &headerOf(b).lists[partInit]
	case partPayload:
		list = &headerOf(b).lists[partPayload]
	}
	for i := uintptr(0); i < list.count; i++ {
		s := (*rawStep)(unsafe.Add(unsafe.Pointer(headerOf(b)), list.offset+i*unsafe.Sizeof(rawStep{})))
		if s.when != 0 && (*slotOf(b, s.when-1) == s.whenValue) == (s.unless != 0) {
			continue
		}
		result, errno := perform(b, s)
		if errno != 0 {
			if !tolerated(s, errno) {
				fail(b, part, uint32(i), errno)
			}
			if errno == uintptr(unix.EACCES) && part == partPayload {
				b.denied = 1
			}
			if s.notice != 0 {
				send(b, msgNotice, part, uint32(i), errno, 0, -1)
			}
			result = -errno
		}
		if s.out != 0 {
			*slotOf(b, s.out-1) = result
		}
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func slotOf(b *block, n uintptr) *uintptr {
	head := headerOf(b)
	return (*uintptr)(unsafe.Add(unsafe.Pointer(head), head.slots+n*unsafe.Sizeof(uintptr(0))))
}

// headerOf is the head of the arena, whose address is kept as a plain word.
//
//go:norace
//go:nosplit
//go:nocheckptr
func headerOf(b *block) *header { return *(**header)(unsafe.Pointer(&b.arena)) }

//go:norace
//go:nosplit
//go:nocheckptr
func tolerated(s *rawStep, errno uintptr) bool {
	for i := range s.tolerate {
		if s.tolerate[i] == errno {
			return true
		}
	}
	return false
}

// perform does one step.
//
//go:norace
//go:nosplit
//go:nocheckptr
func perform(b *block, s *rawStep) (result, errno uintptr) {
	a := s.args
	for i := range a {
		if s.refs>>uint(i)&1 != 0 {
			a[i] = *slotOf(b, a[i])
		}
	}
	switch s.call {
	case uintptr(opBarrier):
		awaitBarrier(b)
		return 0, 0
	case uintptr(opSend):
		return 0, send(b, msgFile, 0, 0, 0, uint64(s.args[0]), int32(a[0]))
	case uintptr(opRaiseSocket):
		return 0, raiseSocket(b)
	case uintptr(opFail):
		if b.denied != 0 {
			return 0, uintptr(unix.EACCES)
		}
		return 0, uintptr(unix.ENOENT)
	}
	r, _, e := syscall.RawSyscall6(s.call, a[0], a[1], a[2], a[3], a[4], a[5])
	return r, uintptr(e)
}

// awaitBarrier returns when the supervisor says so. Its end, at any time, is the child's end.
//
//go:norace
//go:nosplit
//go:nocheckptr
func awaitBarrier(b *block) {
	for {
		n, errno := raw3(unix.SYS_READ, b.socketAt, uintptr(unsafe.Pointer(&b.byte)), 1)
		if errno == uintptr(unix.EINTR) {
			continue
		}
		if n == 1 && errno == 0 {
			return
		}
		exit(125)
	}
}

// send tells the supervisor something, with a descriptor if fd is one.
//
//go:norace
//go:nosplit
//go:nocheckptr
func send(b *block, kind uint32, part, step uint32, errno uintptr, value uint64, fd int32) uintptr {
	b.msg.kind, b.msg.part, b.msg.step, b.msg.errno, b.msg.value = kind, part, step, uint32(errno), value
	b.iov[0], b.iov[1] = uintptr(unsafe.Pointer(&b.msg)), unsafe.Sizeof(b.msg)
	b.hdr = rawMsghdr{iov: uintptr(unsafe.Pointer(&b.iov)), iovLen: 1}
	if fd >= 0 {
		b.ctl.length, b.ctl.level, b.ctl.kind, b.ctl.fd = 20, unix.SOL_SOCKET, unix.SCM_RIGHTS, fd
		b.hdr.control, b.hdr.controlLen = uintptr(unsafe.Pointer(&b.ctl)), unsafe.Sizeof(b.ctl)
	}
	_, e := raw3(unix.SYS_SENDMSG, b.socketAt, uintptr(unsafe.Pointer(&b.hdr)), unix.MSG_NOSIGNAL)
	return e
}

// raiseSocket gives up the socket's number for one above all that are filled. The number is given up only
// by who takes it: what lies there until then is the socket too, and is closed on exec.
//
//go:norace
//go:nosplit
//go:nocheckptr
func raiseSocket(b *block) uintptr {
	high, errno := raw3(unix.SYS_FCNTL, b.socketAt, unix.F_DUPFD_CLOEXEC, lowestOwn)
	if errno == 0 {
		b.socketAt = high
	}
	return errno
}

// fail reports the step that ended the walk, and ends the process.
//
//go:norace
//go:nosplit
//go:nocheckptr
func fail(b *block, part, step uint32, errno uintptr) {
	send(b, msgFailed, part, step, errno, 0, -1)
	exit(127)
}

//go:norace
//go:nosplit
//go:nocheckptr
func exit(code uintptr) {
	for {
		raw3(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}

//go:norace
//go:nosplit
//go:nocheckptr
func raw3(nr, a, b, c uintptr) (uintptr, uintptr) {
	r, _, e := syscall.RawSyscall(nr, a, b, c)
	return r, uintptr(e)
}

//go:norace
//go:nosplit
//go:nocheckptr
func raw4(nr, a, b, c, d uintptr) (uintptr, uintptr) {
	r, _, e := syscall.RawSyscall6(nr, a, b, c, d, 0, 0)
	return r, uintptr(e)
}
