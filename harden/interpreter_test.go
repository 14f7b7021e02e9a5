package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A call is what the kernel shows to a filter: struct seccomp_data without the instruction pointer, which no
// filter of ours reads.
type call struct {
	audit uint32
	nr    uint32
	args  [6]uint64
}

// word is the 32 bits at an offset of struct seccomp_data, on a little-endian machine.
func (c call) word(offset uint32) (uint32, error) {
	switch {
	case offset == 0:
		return c.nr, nil
	case offset == 4:
		return c.audit, nil
	case offset >= 16 && offset <= 60 && offset%4 == 0:
		return uint32(c.args[(offset-16)/8] >> (offset % 8 * 8)), nil
	}
	return 0, fmt.Errorf("load from offset %d", offset)
}

// A machine runs the part of classic BPF that the compiler may use. Everything else is an error, though the
// kernel takes more, so that programs stay within what seccomp_is_const_allow understands.
type machine struct {
	accumulator uint32
	pc          int
	steps       int
	loadedArg   bool
	verdict     uint32
	done        bool
}

// interpret runs a filter to its end.
func interpret(filter []unix.SockFilter, c call) (machine, error) {
	var m machine
	for !m.done {
		if m.pc >= len(filter) {
			return m, fmt.Errorf("ran off the end at %d", m.pc)
		}
		if err := m.step(filter[m.pc], c); err != nil {
			return m, fmt.Errorf("at %d: %w", m.pc-1, err)
		}
	}
	return m, nil
}

func (m *machine) step(in unix.SockFilter, c call) (err error) {
	m.pc++
	m.steps++
	switch in.Code {
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
		m.loadedArg = m.loadedArg || in.K >= 16
		m.accumulator, err = c.word(in.K)
	case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
		m.accumulator &= in.K
	case unix.BPF_JMP | unix.BPF_JA:
		m.pc += int(in.K)
	case unix.BPF_RET | unix.BPF_K:
		m.verdict, m.done = in.K, true
	default:
		err = m.branch(in)
	}
	return err
}

func (m *machine) branch(in unix.SockFilter) error {
	var yes bool
	switch in.Code {
	case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
		yes = m.accumulator == in.K
	case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
		yes = m.accumulator >= in.K
	case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
		yes = m.accumulator&in.K != 0
	default:
		return fmt.Errorf("code %#x", in.Code)
	}
	if yes {
		m.pc += int(in.Jt)
	} else {
		m.pc += int(in.Jf)
	}
	return nil
}

// expected is the answer by the policy itself, found without any of the compiler's code: the foreign ABIs
// first, then rule by rule.
func expected(p Policy, arch Arch, foreign Action, c call) Action {
	native := map[Arch]uint32{AMD64: 0xc000003e, ARM64: 0xc00000b7}[arch]
	limit := map[Arch]uint32{AMD64: 512, ARM64: 0x40000000}[arch]
	switch {
	case c.audit == native && c.nr == 0xffffffff, harmlessExit(arch, c):
		return Allow
	case c.audit != native || c.nr >= limit:
		return foreign
	}
	for _, r := range p.Rules {
		if r.names(SyscallName(arch, int(c.nr))) && fits(r, c) {
			return r.Action
		}
	}
	return p.Default
}

// harmlessExit is exit and exit_group of i386, x32 and 32-bit arm.
func harmlessExit(arch Arch, c call) bool {
	type key struct {
		arch  Arch
		audit uint32
		nr    uint32
	}
	return map[key]bool{
		{AMD64, 0x40000003, 1}: true, {AMD64, 0x40000003, 252}: true,
		{AMD64, 0xc000003e, 0x4000003c}: true, {AMD64, 0xc000003e, 0x400000e7}: true,
		{ARM64, 0x40000028, 1}: true, {ARM64, 0x40000028, 248}: true,
	}[key{arch, c.audit, c.nr}]
}

func fits(r Rule, c call) bool {
	for _, w := range r.When {
		v := c.args[w.arg]
		if !w.wide {
			v &= 0xffffffff
		}
		if (v&w.mask == w.value) == w.not {
			return false
		}
	}
	return true
}
