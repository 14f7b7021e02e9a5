package userns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// embryo is a first process that waits for its plan.
type embryo struct {
	pid, pidfd int
	socket     int
	mapping    []byte // shared with the child; arena and spare are its parts
	arena      []byte // of the plan
	spare      []byte // of the plans of further processes
	memory     []byte // the block, and above it the child's stack
}

// childMemory is the size of the block and the stack, in bytes. The linker holds the stack use of
// nosplit code below 800.
const childMemory = 32 << 10

func (e *embryo) discard() {
	unix.Close(e.socket)
	unix.Close(e.pidfd)
	reapPID(e.pid)
	e.free()
}

func (e *embryo) free() {
	unix.Munmap(e.memory)
	unix.Munmap(e.mapping)
}

// newEmbryo makes a first process that waits for its plan.
func newEmbryo(namespaces, mode uintptr, o Options, inputs []Slot, arenaSize int) (*embryo, error) {
	mapping, err := newArena(arenaSize + spareArena)
	if err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(-1, 0, childMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		unix.Munmap(mapping)
		return nil, fmt.Errorf("mapping memory for the first process: %w", err)
	}
	e := &embryo{mapping: mapping, arena: mapping[:arenaSize], spare: mapping[arenaSize:], memory: memory}
	if err := e.clone(namespaces, mode, o, inputs); err != nil {
		e.free()
		return nil, err
	}
	return e, nil
}

// clone fills the block in and clones.
func (e *embryo) clone(namespaces, mode uintptr, o Options, inputs []Slot) error {
	if len(o.Join) > maxJoins {
		return fmt.Errorf("entering the namespaces of another sandbox: %d of them, at most %d", len(o.Join), maxJoins)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making the socket to the sandbox: %w", err)
	}
	b := (*block)(unsafe.Pointer(&e.memory[0]))
	b.stack = uintptr(unsafe.Pointer(&e.memory[0])) + childMemory
	b.arena, b.namespaces, b.mode = uintptr(unsafe.Pointer(&e.arena[0])), namespaces, mode
	if len(o.Join) > 0 {
		b.namespaces, b.within = 0, namespaces
	}
	b.argv, b.argvLen = argvMemory()
	copy(b.name[:15], "sbx-init")
	copies, err := b.takeDescriptors(o, inputs, pair[1])
	unix.Close(pair[1])
	var errno syscall.Errno
	var pid uintptr
	if err == nil {
		cloning.Lock()
		withoutMemory(uintptr(unsafe.Pointer(b)))
		unix.Madvise(e.memory, unix.MADV_DOFORK) // another clone may have left this memory out
		onLastingThread(func() { pid, errno = clone(b) })
		cloning.Unlock()
	}
	for _, fd := range copies {
		unix.Close(fd)
	}
	if errno != 0 {
		err = &CloneError{errno}
	}
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	e.pid, e.pidfd, e.socket = int(pid), int(b.pidfd), pair[0]
	if len(o.Join) > 0 {
		return e.takeJoined()
	}
	return nil
}

// JoinError is a namespace of another sandbox that could not be entered (setns(2)), or in which no process
// could be made.
type JoinError struct{ Errno unix.Errno }

func (e *JoinError) Error() string {
	return "entering the namespaces of another sandbox: " + e.Errno.Error()
}

func (e *JoinError) Unwrap() error { return e.Errno }

// takeJoined waits for the process that the cloned one makes inside the joined namespaces, and takes that
// for the first one.
func (e *embryo) takeJoined() error {
	var m message
	fd, err := m.receive(e.socket)
	unix.Close(e.pidfd)
	reapPID(e.pid)
	switch {
	case err == nil && m.kind == msgJoined && fd >= 0:
		e.pid, e.pidfd = int(m.value), fd
		return nil
	case err == nil:
		err = &JoinError{unix.Errno(m.errno)}
	}
	unix.Close(e.socket)
	return err
}

// cloning is held from when memory is left out until the clone: what one child needs is left out of another.
var cloning sync.Mutex

// withoutMemory keeps the supervisor's memory out of the child (madvise(2), MADV_DONTFORK): all that
// is writable and private but the child's own block and stack, and the memory of argv, which the
// child overwrites. PID 1 never executes another program, and would else hold a copy of what the
// supervisor knows; and each page that both have costs the supervisor a fault when it writes to it
// next. What is mapped between this and the clone is copied, which is harmless: the child touches
// none of it. Children that the os package makes share memory until they execute and do not care.
func withoutMemory(own uintptr) {
	if withCgo || loaded() {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		start, end, rest, ok := mapping(line)
		if !ok || !bytes.HasPrefix(rest, []byte("rw-p")) || bytes.HasSuffix(rest, []byte("[stack]\n")) || start <= own && own < end {
			continue
		}
		unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTFORK)
	}
}

// loaded tells whether a loader such as ld.so(8) has started this program, as it does with position-independent
// ones. It registers memory of its own with the kernel, as the C library does (see withCgo).
func loaded() bool {
	const atBase = 7 // AT_BASE, getauxval(3): where the interpreter lies
	auxv, err := unix.Auxv()
	for _, entry := range auxv {
		if entry[0] == atBase && entry[1] != 0 {
			return true
		}
	}
	return err != nil
}

// mapping reads the addresses of a line of /proc/PID/maps (proc_pid_maps(5)).
func mapping(line []byte) (start, end uintptr, rest []byte, ok bool) {
	addresses, rest, _ := bytes.Cut(line, []byte(" "))
	from, to, _ := bytes.Cut(addresses, []byte("-"))
	first, err := strconv.ParseUint(string(from), 16, 64)
	if err != nil {
		return 0, 0, nil, false
	}
	last, err := strconv.ParseUint(string(to), 16, 64)
	return uintptr(first), uintptr(last), rest, err == nil
}

// takeDescriptors fills in the numbers of the child's descriptors, each moved above all numbers
// that the child fills. It returns the copies, which the supervisor closes after the clone.
func (b *block) takeDescriptors(o Options, inputs []Slot, socket int) (copies []int, err error) {
	move := func(fd int) uintptr {
		high, e := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, lowestOwn)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("copying descriptor %d for the sandbox: %w", fd, e))
			return noDescriptor
		}
		copies = append(copies, high)
		return uintptr(high)
	}
	b.socket = move(socket)
	for i, f := range []*os.File{o.Stdin, o.Stdout, o.Stderr} {
		b.stdio[i] = moveFile(f, move)
	}
	for i, s := range inputs {
		b.inputs[i] = noDescriptor
		number(o.Inputs[s], func(fd int) { b.inputs[i] = move(fd) })
	}
	b.inputCount = uintptr(len(inputs))
	for i, f := range o.Join {
		b.joins[i] = moveFile(f, move)
	}
	b.joinCount = uintptr(len(o.Join))
	return copies, err
}

// noDescriptor makes the child's dup3 fail, which leaves that number as it is.
const noDescriptor = ^uintptr(0)

func moveFile(f *os.File, move func(int) uintptr) uintptr {
	if f == nil {
		return noDescriptor
	}
	defer runtime.KeepAlive(f)
	return move(int(f.Fd())) // blocking, as programs expect of their 0, 1 and 2
}

// number calls g with the descriptor of a file, and leaves that as it is: Fd makes it blocking for all who have
// it open, such as the caller of a socket that is handed in.
func number(f *os.File, g func(fd int)) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { g(int(fd)) })
	}
}

// The slots that every plan has from the start, and what they hold.
var (
	ownSlots   = []Slot{Stdin, Stdout, Stderr}
	ownNumbers = []uintptr{0, 1, 2}
)

// inputSlots are the slots that hold descriptors from the start, and the child's numbers of them.
func inputSlots(inputs []Slot) (slots []Slot, numbers []uintptr) {
	numbers = slices.Clone(ownNumbers)
	for i := range inputs {
		numbers = append(numbers, uintptr(childInputs+i))
	}
	return slices.Concat(ownSlots, inputs), numbers
}

// argvMemory is where the arguments of this process lie, which is what /proc/PID/cmdline shows of
// a forked child.
func argvMemory() (address, length uintptr) {
	first, last := os.Args[0], os.Args[len(os.Args)-1]
	start := uintptr(unsafe.Pointer(unsafe.StringData(first)))
	end := uintptr(unsafe.Pointer(unsafe.StringData(last))) + uintptr(len(last))
	if end < start || end-start > 4<<20 {
		return start, uintptr(len(first))
	}
	return start, end - start
}

// onLastingThread calls f on a thread that lives as long as the program: a parent-death signal
// follows the thread that cloned, and Go ends the threads of locked goroutines. The main thread is
// never ended (it is parked when its goroutine ends); elsewhere one thread is kept for this.
func onLastingThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		f()
		runtime.UnlockOSThread()
		return
	}
	runtime.UnlockOSThread()
	done := make(chan struct{})
	keptThread() <- func() { f(); close(done) }
	<-done
}

var keptThread = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
})
