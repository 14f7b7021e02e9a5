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

// Job is a further process of a sandbox: a child of PID 1 beside the payload, with all that PID 1 has.
type Job struct {
	// PID is its number inside.
	PID int
	// Pidfd means the process and never another one (pidfd_open(2)).
	Pidfd *os.File
	// Files are the descriptors that Send steps handed out.
	Files map[Slot]*os.File

	started chan struct{} // PID 1 has answered
	refused unix.Errno
	ended   chan struct{}
	status  unix.WaitStatus
	gone    bool // the sandbox ended first
}

// ErrEnded is what a sandbox answers that has ended, or ends just now.
var ErrEnded = errors.New("the sandbox has ended")

// JobError is a further process that PID 1 could not make: clone(2).
type JobError struct{ Errno unix.Errno }

func (e *JobError) Error() string { return "making a process in the sandbox: " + e.Errno.Error() }

func (e *JobError) Unwrap() error { return e.Errno }

// jobs are the further processes that are asked for or run, and the memory of their plans.
type jobs struct {
	mutex   sync.Mutex
	last    uint32
	running map[uint32]*Job
	regions []region // of walks that are not over, by their places
	over    bool
}

// region is a part of the spare arena, in bytes.
type region struct{ start, end int }

// spareArena is the size of the memory for plans of further processes, in bytes: four times what
// execve(2) takes of arguments and environment under the usual limits. Pages that are not used cost
// nothing.
const spareArena = 8 << 20

// Exec asks PID 1 for a process that walks these steps, and returns when they are done: when the last
// one executed another program, or when all have been walked, which ends the process with status 0.
// Wait must be running, which hears the answers. Of o it takes the streams and the inputs; a stream
// that is nil is /dev/null of the host. Errors are a *StepError, a *JobError or ErrEnded.
func (p *Process) Exec(steps []Step, o Options) (*Job, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making the socket to a process of the sandbox: %w", err)
	}
	defer unix.Close(pair[0])
	ask, err := newJobRequest(o, pair[1])
	if err != nil {
		unix.Close(pair[1])
		return nil, err
	}
	job, code, place, err := p.request(steps, ask)
	unix.Close(pair[1])
	if err != nil {
		return nil, err
	}
	err = job.follow(pair[0], code)
	p.jobs.release(p.embryo.spare, place)
	<-job.started
	switch {
	case job.Pidfd == nil && job.refused != 0:
		err = &JobError{job.refused}
	case job.Pidfd == nil:
		err = ErrEnded
	}
	if err != nil {
		job.Close()
		return nil, err
	}
	return job, nil
}

// jobRequest is what a request hands over.
type jobRequest struct {
	inputs []Slot
	files  []int
	keep   Options // the files, which must not be closed meanwhile
	null   *os.File
}

func newJobRequest(o Options, socket int) (*jobRequest, error) {
	r := &jobRequest{inputs: slices.Sorted(maps.Keys(o.Inputs)), files: []int{socket}, keep: o}
	if len(r.inputs) > maxInputs {
		return nil, fmt.Errorf("encoding the plan: %d inputs, at most %d", len(r.inputs), maxInputs)
	}
	for _, f := range []*os.File{o.Stdin, o.Stdout, o.Stderr} {
		if f == nil && r.null == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return nil, err
			}
			r.null = null
		}
		if f == nil {
			f = r.null
		}
		r.files = append(r.files, int(f.Fd()))
	}
	for _, slot := range r.inputs {
		number(o.Inputs[slot], func(fd int) { r.files = append(r.files, fd) })
	}
	return r, nil
}

// request lays the plan out and sends the request.
func (p *Process) request(steps []Step, ask *jobRequest) (*Job, *encoder, region, error) {
	defer ask.null.Close()
	j := &p.jobs
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.over {
		return nil, nil, region{}, ErrEnded
	}
	code, place, err := j.lay(p.embryo.spare, steps, ask.inputs)
	if err != nil {
		return nil, nil, region{}, err
	}
	j.last++
	m := request{number: j.last, inputs: uint32(len(ask.inputs)), arena: uintptr(unsafe.Pointer(&p.embryo.spare[place.start]))}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))
	if err := unix.Sendmsg(p.embryo.socket, text, unix.UnixRights(ask.files...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
		j.free(p.embryo.spare, place)
		if err == unix.EPIPE || err == unix.ECONNRESET {
			return nil, nil, region{}, ErrEnded
		}
		return nil, nil, region{}, fmt.Errorf("asking the sandbox for a process: %w", err)
	}
	job := &Job{Files: map[Slot]*os.File{}, started: make(chan struct{}), ended: make(chan struct{})}
	if j.running == nil {
		j.running = map[uint32]*Job{}
	}
	j.running[m.number] = job
	return job, code, place, nil
}

// lay encodes steps into the widest part of the arena that no walk uses.
func (j *jobs) lay(arena []byte, steps []Step, inputs []Slot) (*encoder, region, error) {
	gap := region{}
	at := 0
	for _, r := range append(slices.Clone(j.regions), region{len(arena), len(arena)}) {
		if r.start-at > gap.end-gap.start {
			gap = region{at, r.start}
		}
		at = r.end
	}
	if gap.end == gap.start {
		return nil, gap, errArenaFull
	}
	slots, numbers := inputSlots(inputs)
	code, err := newEncoder(arena[gap.start:gap.end], slots, numbers)
	if err == nil {
		err = code.encode(partPayload, steps)
	}
	if err != nil {
		wipe(arena[gap.start:gap.end])
		return nil, gap, err
	}
	page := os.Getpagesize()
	place := region{gap.start, min(gap.start+(code.used+page-1)/page*page, gap.end)}
	j.regions = append(j.regions, place)
	slices.SortFunc(j.regions, func(a, b region) int { return a.start - b.start })
	return code, place, nil
}

// wipe gives memory of a plan back: the environment in it is nobody's business any more, and the next
// plan there expects zeroes.
func wipe(memory []byte) {
	if unix.Madvise(memory, unix.MADV_REMOVE) != nil {
		clear(memory)
	}
}

func (j *jobs) free(arena []byte, place region) {
	wipe(arena[place.start:place.end])
	j.regions = slices.DeleteFunc(j.regions, func(r region) bool { return r == place })
}

func (j *jobs) release(arena []byte, place region) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if !j.over {
		j.free(arena, place)
	}
}

// follow hears what the walk says, until the socket is closed by its end.
func (job *Job) follow(socket int, code *encoder) error {
	var failed error
	for {
		var m message
		fd, err := m.receive(socket)
		switch {
		case err == io.EOF:
			return failed
		case err != nil:
			return err
		case m.kind == msgFailed:
			failed = code.stepError(&m)
		case m.kind == msgFile:
			slot := code.names[m.value]
			job.Files[slot] = os.NewFile(uintptr(fd), string(slot))
		}
	}
}

// take hears what PID 1 says of a process.
func (j *jobs) take(m *message, fd int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	job := j.running[m.step]
	if job == nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return
	}
	switch m.kind {
	case msgJobStarted:
		job.PID, job.Pidfd = int(m.value), os.NewFile(uintptr(fd), "process")
		close(job.started)
	case msgJobRefused:
		job.refused = unix.Errno(m.errno)
		delete(j.running, m.step)
		close(job.started)
		close(job.ended)
	case msgJobExited:
		job.status = unix.WaitStatus(m.value)
		delete(j.running, m.step)
		close(job.ended)
	}
}

// end tells all that wait that nothing more will come.
func (j *jobs) end() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.over = true
	for _, job := range j.running {
		job.gone = true
		select {
		case <-job.started:
		default:
			close(job.started)
		}
		close(job.ended)
	}
	clear(j.running)
}

// Wait waits for the process's end and returns its wait status. Its error is ErrEnded where the
// sandbox ended first, which killed it.
func (job *Job) Wait() (unix.WaitStatus, error) {
	<-job.ended
	if job.gone {
		return 0, ErrEnded
	}
	return job.status, nil
}

// Close closes the pidfd and the files of the job. The process is left alone.
func (job *Job) Close() {
	job.Pidfd.Close()
	for _, f := range job.Files {
		f.Close()
	}
}
