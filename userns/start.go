package userns

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options are what a plan does not say: descriptors, ids, and what happens at the barrier.
type Options struct {
	Stdin, Stdout, Stderr *os.File
	// Inputs are descriptors that the plan finds in these slots; at most 16.
	Inputs map[Slot]*os.File
	// Join are namespaces that exist, such as another sandbox's, in which PID 1 is made: a user namespace
	// first, then what belongs to it; at most 4. The plan's own namespaces must not be of their kinds, and
	// Maps are empty, for the user namespace has its maps.
	Join []*os.File
	// Maps are the id maps of the new user namespace.
	Maps Maps
	// AtBarrier runs in the supervisor while the child waits and the id maps are written, side
	// by side with them. pid is that of PID 1 outside. An error ends the child.
	AtBarrier func(pid int) error
	// Beside runs in the supervisor once the id maps are written and AtBarrier is done, while the
	// child walks on to one more barrier, the last of Init, which is shut until it returns. An error
	// ends the child.
	Beside func(p *Process) error
	// AtEnd, if not nil, runs in Wait when the payload has ended, while PID 1 and what the payload
	// left still are there: what a cgroup counted goes with its last process. It does not run where
	// PID 1 itself was killed.
	AtEnd func()
	// Serve, if not nil, runs when the walk has handed out the descriptor of ServeSlot, and waits at a
	// barrier: for a file system that a process outside is to serve. An error ends the child.
	ServeSlot Slot
	Serve     func(files map[Slot]*os.File) error
	// Prepared, if not nil, is a first process made ahead, with the same streams. Start takes or ends it.
	Prepared *Prepared
}

// Process is a sandbox's PID 1 and its payload, seen from the supervisor.
type Process struct {
	// PID is PID 1's number outside.
	PID int
	// Payload is a pidfd of the payload (pidfd_open(2)).
	Payload *os.File
	// Files are the descriptors that Send steps handed out.
	Files map[Slot]*os.File
	// Notices are the tolerated errors that steps were to tell, in order.
	Notices []StepError
	// Usage is what PID 1 and all below it used (getrusage(2)), once Wait has returned.
	Usage unix.Rusage

	mutex    sync.Mutex // of embryo.pidfd
	embryo   *embryo
	code     *encoder
	mapped   bool // the id maps are written
	barriers int
	failed   *StepError
	status   unix.WaitStatus
	exited   bool
	jobs     jobs
	atEnd    func()
}

// StepError is a step of a plan that failed.
type StepError struct {
	Step  Step
	Errno unix.Errno
}

func (e *StepError) Error() string { return e.Step.Do + ": " + e.Errno.Error() }

func (e *StepError) Unwrap() error { return e.Errno }

// CloneError is a clone(2) of new namespaces that failed.
type CloneError struct{ Errno unix.Errno }

func (e *CloneError) Error() string { return "making new namespaces: " + e.Errno.Error() }

func (e *CloneError) Unwrap() error { return e.Errno }

// ErrKilled is what is known when a child ends and says nothing.
var ErrKilled = errors.New("the first process of the sandbox was killed before its payload started")

// Start clones the plan's first process, or takes the prepared one, writes its id maps, lets it
// walk and returns when its payload's process exists. Errors are a *CloneError, a *MapError, a
// *StepError, or that of AtBarrier.
//
// Init holds one barrier, for the id maps and AtBarrier both, or two, the first for the maps alone; with
// Serve, one more after the step that sends ServeSlot; and a last one where there is something to do Beside.
func Start(plan *Plan, o Options) (*Process, error) {
	p, err := prepared(plan, &o)
	if p == nil && err == nil {
		p, err = launch(plan, o, modeInit)
	}
	if err != nil {
		return nil, err
	}
	if o.AtEnd != nil {
		p.atEnd = o.AtEnd
		p.code.head().hold = 1
	}
	if err := p.open(o); err != nil {
		err = p.reason(err)
		p.abandon()
		return nil, err
	}
	return p, nil
}

// prepared is the prepared process with the rest of its plan, or nil where the plan is another.
func prepared(plan *Plan, o *Options) (*Process, error) {
	if o.Prepared == nil {
		return nil, nil
	}
	if !o.Prepared.fits(plan, o) {
		o.Prepared.Discard()
		return nil, nil
	}
	p, err := o.Prepared.take()
	if err != nil {
		return nil, err
	}
	rest := Plan{Init: plan.Init[len(o.Prepared.beginning.Steps):], Payload: plan.Payload}
	err = rest.encode(p.code)
	if errors.Is(err, errArenaFull) { // a larger one is needed from the start
		p.abandon()
		return nil, nil
	}
	p.mapped = true
	return p.given(err)
}

// Run walks the first list of a plan in a child and returns when it is done. It has no payload.
// This is how a supervisor acts in namespaces that exist already: by setns steps.
func Run(plan *Plan, inputs map[Slot]*os.File) error {
	p, err := launch(plan, Options{Inputs: inputs}, modeRun)
	if err != nil {
		return err
	}
	for p.receive() == nil {
	}
	p.abandon()
	if p.failed != nil {
		return p.failed
	}
	return nil
}

// launch gives a plan to a new first process, which begins to walk it.
func launch(plan *Plan, o Options, mode uintptr) (*Process, error) {
	inputs := slices.Sorted(maps.Keys(o.Inputs))
	if len(inputs) > maxInputs {
		return nil, fmt.Errorf("encoding the plan: %d inputs, at most %d", len(inputs), maxInputs)
	}
	slots, numbers := inputSlots(inputs)
	for size := minArena; ; size *= 4 {
		e, err := newEmbryo(plan.Namespaces, mode, o, inputs, size)
		if err != nil {
			return nil, err
		}
		code, err := newEncoder(e.arena, slots, numbers)
		if err != nil {
			e.discard()
			return nil, err
		}
		p := newProcess(e, code)
		p.barriers = plan.barriers()
		if o.Beside != nil {
			p.barriers--
		}
		err = plan.encode(code)
		if errors.Is(err, errArenaFull) && size < maxArena {
			p.abandon()
			continue
		}
		if err == nil {
			err = p.OpenBarrier() // it has no beginning
		}
		return p.given(err)
	}
}

// given lets the first process walk the rest of its plan, which it has got, or ends it after an error.
func (p *Process) given(err error) (*Process, error) {
	if err == nil {
		err = p.OpenBarrier()
	}
	if err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

func newProcess(e *embryo, code *encoder) *Process {
	return &Process{PID: e.pid, embryo: e, code: code, Files: map[Slot]*os.File{}}
}

// barriers counts those of Init.
func (p *Plan) barriers() (n int) {
	for i := range p.Init {
		if p.Init[i].call == opBarrier {
			n++
		}
	}
	return n
}

// maxArena is far above what execve(2) takes of arguments and environment, in bytes.
const maxArena = 256 << 20

// open writes the id maps, lets the caller act beside that, and opens the barriers.
func (p *Process) open(o Options) error {
	if err := p.atBarriers(o); err != nil {
		return err
	}
	if err := p.OpenBarrier(); err != nil {
		return err
	}
	if o.Serve != nil {
		if _, err := p.Await(o.ServeSlot); err != nil {
			return err
		}
		if err := o.Serve(p.Files); err != nil {
			return err
		}
		if err := p.OpenBarrier(); err != nil {
			return err
		}
	}
	if o.Beside != nil {
		if err := o.Beside(p); err != nil {
			return err
		}
		if err := p.OpenBarrier(); err != nil {
			return err
		}
	}
	for p.Payload == nil {
		if err := p.receive(); err != nil {
			return err
		}
	}
	return nil
}

// atBarriers does what the walk waits for. Only the last barrier is left shut.
func (p *Process) atBarriers(o Options) error {
	beside := make(chan error, 1)
	if o.AtBarrier == nil {
		beside <- nil
	} else {
		go func() { beside <- o.AtBarrier(p.PID) }()
	}
	var err error
	if !p.mapped {
		if len(o.Join) == 0 {
			err = o.Maps.write(p.PID)
		}
		if err == nil && p.barriers > 1 {
			err = p.OpenBarrier()
		}
	}
	return errors.Join(err, <-beside)
}

// Await returns the descriptor that a Send step hands out. It is for what happens Beside the walk.
func (p *Process) Await(slot Slot) (*os.File, error) {
	for p.Files[slot] == nil {
		if err := p.receive(); err != nil {
			return nil, p.reason(err)
		}
	}
	return p.Files[slot], nil
}

// OpenBarrier lets a walk that waits at a barrier go on.
func (p *Process) OpenBarrier() error {
	if _, err := unix.SendmsgN(p.embryo.socket, []byte{1}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return p.reason(fmt.Errorf("opening the barrier: %w", err))
	}
	return nil
}

// reason is what ended the child, where it said so, else err: what comes of a child that is gone, such
// as id maps that cannot be written, says nothing of the cause. It waits for no child that still lives.
func (p *Process) reason(err error) error {
	for p.failed == nil && p.waiting() && p.receive() == nil {
	}
	if p.failed != nil {
		return p.failed
	}
	return err
}

// Failed is the step that has failed by now, if one has. It is for the time between Start and Wait.
func (p *Process) Failed() error { return p.reason(nil) }

// waiting tells whether a message or the end of the child is there to be received.
func (p *Process) waiting() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.embryo.socket), Events: unix.POLLIN}}, 0)
	return n > 0 && err == nil
}

// receive takes one message of PID 1. It returns the reason when no more will come.
func (p *Process) receive() error {
	var m message
	fd, err := m.receive(p.embryo.socket)
	switch {
	case err == io.EOF:
		return p.gone()
	case err != nil:
		return err
	}
	p.take(&m, fd)
	return nil
}

// receive takes one message from a socket, with the descriptor that came with it, or -1. Its error is
// io.EOF when no more will come.
func (m *message) receive(socket int) (fd int, err error) {
	buf := unsafe.Slice((*byte)(unsafe.Pointer(m)), unsafe.Sizeof(*m))
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, err := recvmsg(socket, buf, oob)
	switch {
	case err != nil:
		return -1, fmt.Errorf("listening to the sandbox: %w", err)
	case n == 0:
		return -1, io.EOF
	case n != len(buf):
		return -1, fmt.Errorf("listening to the sandbox: a message of %d bytes", n)
	}
	return descriptorOf(oob[:oobn]), nil
}

func (p *Process) gone() error {
	if p.failed != nil {
		return p.failed
	}
	return ErrKilled
}

// recvmsg receives one message. A child that ends with a barrier unread is told as ECONNRESET, once,
// before what it said (unix_release_sock, net/unix/af_unix.c).
func recvmsg(fd int, buf, oob []byte) (n, oobn int, err error) {
	for reset := false; ; {
		n, oobn, _, _, err = unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
		case err == unix.ECONNRESET && !reset:
			reset = true
		default:
			return n, oobn, err
		}
	}
}

// descriptorOf is the descriptor that came with a message, or -1.
func descriptorOf(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}

func (p *Process) take(m *message, fd int) {
	switch m.kind {
	case msgFailed:
		p.failed = p.stepError(m)
	case msgNotice:
		p.Notices = append(p.Notices, *p.stepError(m))
	case msgFile:
		slot := p.code.names[m.value]
		p.Files[slot] = os.NewFile(uintptr(fd), string(slot))
	case msgStarted:
		if fd < 0 {
			m.part, m.step, m.errno = partPayload, ^uint32(0), uint32(unix.EMFILE)
			p.failed = p.stepError(m)
			return
		}
		p.Payload = os.NewFile(uintptr(fd), "payload")
	case msgExited:
		p.exited, p.status = true, unix.WaitStatus(m.value)
	default:
		p.jobs.take(m, fd)
	}
}

// stepError finds the step that a message speaks of. The executor's own calls have no step.
func (p *Process) stepError(m *message) *StepError { return p.code.stepError(m) }

func (e *encoder) stepError(m *message) *StepError {
	steps := e.done[m.part%parts]
	if int(m.step) < len(steps) {
		return &StepError{steps[m.step], unix.Errno(m.errno)}
	}
	do := "closing the supervisor's descriptors"
	if m.part == partPayload {
		do = "making the payload's process"
	}
	return &StepError{Step{Do: do}, unix.Errno(m.errno)}
}

// Wait waits until the payload and all else inside has ended, and returns the payload's wait
// status. A step that failed in the payload's process, execve at last, is a *StepError. It closes
// what Start opened but Files.
func (p *Process) Wait() (unix.WaitStatus, error) {
	for !p.exited && p.receive() == nil {
	}
	if p.exited && p.atEnd != nil {
		p.atEnd()
	}
	status := p.abandon()
	switch {
	case p.failed != nil:
		return status, p.failed
	case p.exited:
		return p.status, nil
	}
	return status, nil
}

// Kill ends the sandbox at once: PID 1, and with it all that runs inside (pid_namespaces(7)).
// It may be called at any time, from any goroutine, and means no other process.
func (p *Process) Kill() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.embryo.pidfd < 0 {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(p.embryo.pidfd, unix.SIGKILL, nil, 0)
}

// abandon ends the first process, where it still lives, and takes its status.
func (p *Process) abandon() unix.WaitStatus {
	p.jobs.end()
	unix.Close(p.embryo.socket)
	status := reapUsage(p.PID, &p.Usage)
	if p.Payload != nil {
		p.Payload.Close()
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	unix.Close(p.embryo.pidfd)
	p.embryo.pidfd = -1
	p.embryo.free()
	return status
}

// reapPID waits for a child's end. Its number is not used again before.
func reapPID(pid int) unix.WaitStatus { return reapUsage(pid, nil) }

func reapUsage(pid int, usage *unix.Rusage) (status unix.WaitStatus) {
	for {
		if _, err := unix.Wait4(pid, &status, unix.WALL, usage); err != unix.EINTR {
			return status
		}
	}
}
