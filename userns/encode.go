package userns

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawStep is a Step as the raw child reads it: numbers and addresses only.
type rawStep struct {
	call      uintptr
	args      [6]uintptr
	refs      uintptr // bit i: args[i] is the number of a slot
	out       uintptr // number of the slot that takes the result, plus one; 0: none
	tolerate  [4]uintptr
	notice    uintptr
	when      uintptr // number of the slot that decides, plus one; 0: always
	whenValue uintptr
	unless    uintptr // 1: the step happens where the slot holds anything but whenValue
}

// rawList says where in the arena a list of steps lies.
type rawList struct{ offset, count uintptr }

// The arena is mapped before the clone and shared with the child, so that addresses
// agree and the plan can be written while the child is being made. It lies outside the Go heap: no
// garbage collector moves or frees what it points to. What the payload supplies is in it as bytes
// only, and the payload's own process loses it with execve.

// minArena is enough for a plan with a command line of usual length, in bytes. Pages that are not
// used cost nothing.
const minArena = 1 << 20

// errArenaFull says that a plan is larger than its arena.
var errArenaFull = errors.New("the plan is larger than its arena")

// newArena maps memory for a plan.
func newArena(size int) ([]byte, error) {
	arena, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes for the plan: %w", size, err)
	}
	return arena, nil
}

// Parts of a plan: lists of steps that are walked one after the other. The beginning is empty but where
// it was walked before the rest was known (Prepare).
const (
	partBeginning = iota
	partInit
	partPayload
	parts
)

// header is the head of the arena: where the lists and the slots lie.
type header struct {
	lists [parts]rawList
	slots uintptr // offset
	hold  uintptr // 1: PID 1 stays, when the payload has ended, until the supervisor hangs up
}

// maxSlots is how many slots a plan may have. Memory of those that it has not is never touched.
const maxSlots = 4096

type encoder struct {
	arena []byte
	used  int
	slots map[Slot]uintptr
	names []Slot // of slots, by number
	// shared finds memory that several arguments use, by the identity of its description.
	shared map[identity]int
	// done are the parts that lie in the arena.
	done [parts][]Step
}

// identity is that of the description of memory which several arguments share: its address and,
// for a string, its length (a shorter string may begin at the same place).
type identity struct {
	address unsafe.Pointer
	length  int
}

// newEncoder begins an arena. inputs are the slots that hold descriptors from the start, in the order of
// their numbers; values are what they hold.
func newEncoder(arena []byte, inputs []Slot, values []uintptr) (*encoder, error) {
	e := &encoder{arena: arena, slots: map[Slot]uintptr{}, shared: map[identity]int{}}
	slots, err := e.grow(int(unsafe.Sizeof(header{})) + maxSlots*wordSize)
	if err != nil {
		return nil, err
	}
	slots += int(unsafe.Sizeof(header{}))
	e.head().slots = uintptr(slots)
	for i, s := range inputs {
		e.put(slots+int(e.slot(s))*wordSize, values[i])
	}
	return e, nil
}

func (e *encoder) head() *header { return (*header)(unsafe.Pointer(&e.arena[0])) }

// encode lays a part of a plan out in the arena.
func (e *encoder) encode(part int, steps []Step) error {
	list, err := e.steps(steps)
	if err != nil {
		return err
	}
	if len(e.names) > maxSlots {
		return fmt.Errorf("the plan has %d slots, at most %d: %w", len(e.names), maxSlots, unix.E2BIG)
	}
	e.head().lists[part], e.done[part] = list, steps
	return nil
}

// encode lays out both parts of a plan that has no beginning.
func (p *Plan) encode(e *encoder) error {
	if err := e.encode(partInit, p.Init); err != nil {
		return err
	}
	return e.encode(partPayload, p.Payload)
}

const wordSize = int(unsafe.Sizeof(uintptr(0)))

// grow takes n zeroed bytes, aligned to a word, and returns their offset.
func (e *encoder) grow(n int) (int, error) {
	offset := (e.used + wordSize - 1) &^ (wordSize - 1)
	if offset+n > len(e.arena) {
		return 0, errArenaFull
	}
	e.used = offset + n
	return offset, nil
}

func (e *encoder) slot(s Slot) uintptr {
	if n, ok := e.slots[s]; ok {
		return n
	}
	n := uintptr(len(e.names))
	e.slots[s], e.names = n, append(e.names, s)
	return n
}

func (e *encoder) steps(steps []Step) (rawList, error) {
	const size = int(unsafe.Sizeof(rawStep{}))
	base, err := e.grow(len(steps) * size)
	if err != nil {
		return rawList{}, err
	}
	for i := range steps {
		raw := (*rawStep)(unsafe.Pointer(&e.arena[base+i*size]))
		if err := e.step(&steps[i], raw); err != nil {
			return rawList{}, fmt.Errorf("encoding step %q: %w", steps[i].Do, err)
		}
	}
	return rawList{uintptr(base), uintptr(len(steps))}, nil
}

func (e *encoder) step(s *Step, r *rawStep) error {
	if _, known := callNames[s.call]; !known {
		return fmt.Errorf("no such call in plans: %d", s.call)
	}
	if len(s.tolerate) > len(r.tolerate) || len(s.args) > len(r.args) {
		return errors.New("too many arguments or tolerated errors")
	}
	*r = rawStep{call: uintptr(s.call)}
	for i := range s.args {
		if s.args[i].kind == argSlot {
			r.refs |= 1 << i
		}
		value, err := e.arg(&s.args[i])
		if err != nil {
			return err
		}
		r.args[i] = value
	}
	e.outcome(s, r)
	return nil
}

// outcome encodes what becomes of the step's result.
func (e *encoder) outcome(s *Step, r *rawStep) {
	if s.out != "" {
		r.out = e.slot(s.out) + 1
	}
	for i, errno := range s.tolerate {
		r.tolerate[i] = uintptr(errno)
	}
	if s.notice {
		r.notice = 1
	}
	if s.when == nil {
		return
	}
	r.when = e.slot(s.when.slot) + 1
	r.whenValue = -uintptr(s.when.errno)
	if s.when.unless {
		r.unless = 1
	}
}

func (e *encoder) put(at int, w uintptr) {
	*(*uintptr)(unsafe.Pointer(&e.arena[at])) = w
}

// arg returns the word that stands for a: a number, the number of a slot, or an address.
func (e *encoder) arg(a *Arg) (uintptr, error) {
	switch a.kind {
	case argNumber:
		return a.num, nil
	case argSlot:
		return e.slot(Slot(a.str)), nil
	}
	offset, err := e.memory(a)
	return uintptr(unsafe.Pointer(&e.arena[0])) + uintptr(offset), err
}

// memory lays out what a points to and returns its offset.
func (e *encoder) memory(a *Arg) (int, error) {
	switch a.kind {
	case argString:
		return e.str(a.str)
	case argBytes:
		offset, err := e.grow(len(a.str))
		if err == nil {
			copy(e.arena[offset:], a.str)
		}
		return offset, err
	}
	return e.once(identity{address: unsafe.Pointer(a.more)}, func() (int, error) {
		if a.kind == argVector {
			return e.vector(a.more.list)
		}
		return e.words(a.more.words)
	})
}

func (e *encoder) once(id identity, lay func() (int, error)) (int, error) {
	if offset, ok := e.shared[id]; ok {
		return offset, nil
	}
	offset, err := lay()
	e.shared[id] = offset
	return offset, err
}

func (e *encoder) words(words []Arg) (int, error) {
	offset, err := e.grow(len(words) * wordSize)
	if err != nil {
		return 0, err
	}
	for i := range words {
		if words[i].kind == argSlot {
			return 0, errors.New("a slot cannot be part of an array: its content is not known yet")
		}
		value, err := e.arg(&words[i])
		if err != nil {
			return 0, err
		}
		e.put(offset+i*wordSize, value)
	}
	return offset, nil
}

// vector lays out a NULL-terminated array; strings that several vectors share are laid out once.
func (e *encoder) vector(list []string) (int, error) {
	offset, err := e.grow((len(list) + 1) * wordSize)
	if err != nil {
		return 0, err
	}
	base := uintptr(unsafe.Pointer(&e.arena[0]))
	for i, s := range list {
		target, err := e.once(identity{unsafe.Pointer(unsafe.StringData(s)), len(s)}, func() (int, error) { return e.str(s) })
		if err != nil {
			return 0, err
		}
		e.put(offset+i*wordSize, base+uintptr(target))
	}
	return offset, nil
}

func (e *encoder) str(s string) (int, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return 0, fmt.Errorf("%q holds a NUL byte: %w", s, unix.EINVAL)
	}
	offset := e.used
	if offset+len(s)+1 > len(e.arena) {
		return 0, errArenaFull
	}
	copy(e.arena[offset:], s)
	e.used += len(s) + 1
	return offset, nil
}
