package userns

import (
	"encoding/binary"
	"fmt"
	"runtime"
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

// arena is a plan in memory of its own, outside the Go heap: the child reads it after the clone,
// where no garbage collector may move or free what it points to (KERNEL: "plan memory").
type arena struct {
	memory []byte
	block  *block
	parts  [2][]Step
	slots  []Slot // by number
}

func (a *arena) free() { unix.Munmap(a.memory) }

// reloc is a word of the arena that holds an address within the arena.
type reloc struct{ at, target int }

type encoder struct {
	buf    []byte
	relocs []reloc
	slots  map[Slot]uintptr
	shared map[identity]int
}

// identity is that of the description of memory which several arguments share: its address and,
// for a string, its length (a shorter string may begin at the same place).
type identity struct {
	address unsafe.Pointer
	length  int
}

// encode lays the plan out as memory. inputs are the slots that hold descriptors from the start,
// in the order of their numbers.
func encode(p *Plan, inputs []Slot) (*arena, error) {
	e := &encoder{slots: map[Slot]uintptr{}, shared: map[identity]int{}, buf: make([]byte, 0, 64<<10)}
	e.grow(int(unsafe.Sizeof(block{})))
	for _, s := range inputs {
		e.slot(s)
	}
	var lists [2]rawList
	parts := [2][]Step{p.Init, p.Payload}
	for i, steps := range parts {
		list, err := e.steps(steps)
		if err != nil {
			return nil, err
		}
		lists[i] = list
	}
	slots := e.grow(len(e.slots) * wordSize)
	memory, err := e.place()
	if err != nil {
		return nil, err
	}
	a := &arena{memory: memory, block: (*block)(unsafe.Pointer(&memory[0])), parts: parts, slots: e.slotNames()}
	a.block.lists = lists
	a.block.slots = uintptr(slots)
	a.block.namespaces = p.Namespaces
	return a, nil
}

const wordSize = int(unsafe.Sizeof(uintptr(0)))

// grow appends n zeroed bytes, aligned to a word, and returns their offset.
func (e *encoder) grow(n int) int {
	offset := (len(e.buf) + wordSize - 1) &^ (wordSize - 1)
	e.buf = append(e.buf, make([]byte, offset+n-len(e.buf))...)
	return offset
}

func (e *encoder) slot(s Slot) uintptr {
	if n, ok := e.slots[s]; ok {
		return n
	}
	n := uintptr(len(e.slots))
	e.slots[s] = n
	return n
}

func (e *encoder) slotNames() []Slot {
	names := make([]Slot, len(e.slots))
	for s, n := range e.slots {
		names[n] = s
	}
	return names
}

func (e *encoder) steps(steps []Step) (rawList, error) {
	const size = int(unsafe.Sizeof(rawStep{}))
	base := e.grow(len(steps) * size)
	for i := range steps {
		if err := e.step(&steps[i], base+i*size); err != nil {
			return rawList{}, fmt.Errorf("encoding step %q: %w", steps[i].Do, err)
		}
	}
	return rawList{uintptr(base), uintptr(len(steps))}, nil
}

func (e *encoder) step(s *Step, at int) error {
	if _, known := callNames[s.call]; !known {
		return fmt.Errorf("no such call in plans: %d", s.call)
	}
	if len(s.tolerate) > len(rawStep{}.tolerate) || len(s.args) > len(rawStep{}.args) {
		return fmt.Errorf("too many arguments or tolerated errors")
	}
	r := rawStep{call: uintptr(s.call)}
	for i, a := range s.args {
		if a.kind == argSlot {
			r.refs |= 1 << i
		}
		value, err := e.arg(a, at+int(unsafe.Offsetof(r.args))+i*wordSize)
		if err != nil {
			return err
		}
		r.args[i] = value
	}
	e.outcome(s, &r)
	e.putStep(at, &r)
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
	if s.when != nil {
		r.when = e.slot(s.when.slot) + 1
		r.whenValue = -uintptr(s.when.errno)
		if s.when.unless {
			r.unless = 1
		}
	}
}

func (e *encoder) putStep(at int, r *rawStep) {
	words := unsafe.Slice((*uintptr)(unsafe.Pointer(r)), unsafe.Sizeof(*r)/unsafe.Sizeof(uintptr(0)))
	for i, w := range words {
		e.put(at+i*wordSize, w)
	}
}

func (e *encoder) put(at int, w uintptr) {
	binary.NativeEndian.PutUint64(e.buf[at:], uint64(w))
}

// arg returns the word that stands for a at the offset at; an address is noted as a reloc there.
func (e *encoder) arg(a Arg, at int) (uintptr, error) {
	switch a.kind {
	case argNumber:
		return a.num, nil
	case argSlot:
		return e.slot(a.slot), nil
	}
	target, err := e.memory(a)
	e.relocs = append(e.relocs, reloc{at, target})
	return 0, err
}

// memory lays out what a points to and returns its offset.
func (e *encoder) memory(a Arg) (int, error) {
	switch a.kind {
	case argString:
		return e.str(a.str)
	case argBytes:
		offset := e.grow(len(a.data))
		copy(e.buf[offset:], a.data)
		return offset, nil
	case argBuffer:
		return e.once(identity{address: unsafe.Pointer(a.buf)}, func() (int, error) { return e.grow(*a.buf), nil })
	case argVector:
		return e.once(identity{address: unsafe.Pointer(a.list)}, func() (int, error) { return e.vector(*a.list) })
	}
	return e.once(identity{address: unsafe.Pointer(a.words)}, func() (int, error) { return e.words(*a.words) })
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
	offset := e.grow(len(words) * wordSize)
	for i, w := range words {
		value, err := e.arg(w, offset+i*wordSize)
		if err != nil {
			return 0, err
		}
		e.put(offset+i*wordSize, value)
	}
	return offset, nil
}

// vector lays out a NULL-terminated array; strings that several vectors share are laid out once.
func (e *encoder) vector(list []string) (int, error) {
	offset := e.grow((len(list) + 1) * wordSize)
	for i, s := range list {
		target, err := e.once(identity{unsafe.Pointer(unsafe.StringData(s)), len(s)}, func() (int, error) { return e.str(s) })
		if err != nil {
			return 0, err
		}
		e.relocs = append(e.relocs, reloc{offset + i*wordSize, target})
	}
	return offset, nil
}

func (e *encoder) str(s string) (int, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return 0, fmt.Errorf("%q holds a NUL byte: %w", s, unix.EINVAL)
	}
	offset := len(e.buf)
	e.buf = append(append(e.buf, s...), 0)
	return offset, nil
}

// place copies the encoded plan to its final memory and turns offsets into addresses.
func (e *encoder) place() ([]byte, error) {
	memory, err := unix.Mmap(-1, 0, len(e.buf), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes for the plan: %w", len(e.buf), err)
	}
	base := uint64(uintptr(unsafe.Pointer(&memory[0])))
	for _, r := range e.relocs {
		binary.NativeEndian.PutUint64(e.buf[r.at:], base+uint64(r.target))
	}
	copy(memory, e.buf)
	runtime.KeepAlive(memory)
	return memory, nil
}
