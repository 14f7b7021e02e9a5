package harden

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// foreign is the answer to calls through another ABI: i386 by `int $0x80` from a 64-bit program, x32, 32-bit
// arm. Their numbers mean other things, so without this a payload walks round every rule. It is an errno and
// not a kill, because configure scripts and language runtimes probe for these ABIs. Only the exits of those
// ABIs pass (abi.exits): a 32-bit program whose exit fails, with musl, spins for ever.
const foreign = ENOSYS

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h). Both architectures are little-endian.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// Compile translates a policy into the program that seccomp(SECCOMP_SET_MODE_FILTER) takes. A policy that
// allows everything gives no program at all: there is nothing to load.
//
// The program checks the ABI, then searches the number by halves. Up to there it uses only what the kernel
// can evaluate ahead (kernel/seccomp.c, seccomp_is_const_allow: nr and arch, JEQ, JGE, RET), so that since
// Linux 5.11 a call which always passes does not run it at all.
func Compile(policy Policy, arch Arch) ([]unix.SockFilter, error) {
	return compile(policy, arch, foreign)
}

func compile(policy Policy, arch Arch, foreign Action) ([]unix.SockFilter, error) {
	if policy.open() {
		return nil, nil
	}
	target, ok := abiOf(arch)
	if !ok {
		return nil, fmt.Errorf("seccomp policy %q: no table of system calls for architecture %q", policy.Name, arch)
	}
	spans, err := resolve(policy, arch)
	if err != nil {
		return nil, fmt.Errorf("seccomp policy %q: %w", policy.Name, err)
	}
	var a assembler
	a.program(target, spans, foreign)
	if len(a.reversed) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("seccomp policy %q: %d instructions, the kernel takes %d", policy.Name, len(a.reversed), unix.BPF_MAXINSNS)
	}
	return a.finish(), nil
}

// A decision is what is left of the rules for one system call: those with conditions, in order, then the
// answer where none of them fits.
type decision struct {
	rules []Rule
	final Action
}

// constant says that the arguments do not matter.
func (d decision) constant() bool { return len(d.rules) == 0 }

// A span is a run of system call numbers with one decision, up to the next span's start.
type span struct {
	start    uint32
	decision decision
}

// resolve turns names into numbers and rules into spans that cover all numbers from 0.
func resolve(p Policy, arch Arch) ([]span, error) {
	byNumber, err := rulesByNumber(p, arch)
	if err != nil {
		return nil, err
	}
	unnamed := decision{final: p.Default}
	var spans []span
	next := uint32(0)
	for _, nr := range slices.Sorted(maps.Keys(byNumber)) {
		if nr > next {
			spans = appendSpan(spans, span{next, unnamed})
		}
		spans = appendSpan(spans, span{nr, decide(byNumber[nr], p.Default)})
		next = nr + 1
	}
	return appendSpan(spans, span{next, unnamed}), nil
}

// rulesByNumber checks the policy on the way. A name that only another architecture has is left out; one that
// none has is an error, since a misspelt rule would refuse nothing.
func rulesByNumber(p Policy, arch Arch) (map[uint32][]Rule, error) {
	if err := p.Default.check(); err != nil {
		return nil, err
	}
	out := map[uint32][]Rule{}
	for _, r := range p.Rules {
		if err := r.check(); err != nil {
			return nil, err
		}
		for _, name := range r.Syscalls {
			nr, known := SyscallNumber(arch, name)
			switch {
			case !known:
				return nil, fmt.Errorf("no system call is called %q", name)
			case nr >= 0:
				out[uint32(nr)] = append(out[uint32(nr)], r)
			}
		}
	}
	return out, nil
}

func (r Rule) check() error {
	if err := r.Action.check(); err != nil {
		return err
	}
	for _, c := range r.When {
		if err := c.check(); err != nil {
			return fmt.Errorf("rule for %q: %w", r.Syscalls, err)
		}
	}
	return nil
}

// check keeps to what the kernel passes on: it cuts an errno at 4095 (MAX_ERRNO).
func (a Action) check() error {
	if a < Kill || a > 4095 {
		return fmt.Errorf("errno %d is out of range", a)
	}
	return nil
}

// decide ends at the first rule without conditions: the ones after it are never asked.
func decide(rules []Rule, final Action) decision {
	for i, r := range rules {
		if len(r.When) == 0 {
			return decision{rules[:i], r.Action}
		}
	}
	return decision{rules, final}
}

// appendSpan merges neighbours of one answer, which keeps the search shallow.
func appendSpan(spans []span, s span) []span {
	if len(spans) > 0 {
		last := spans[len(spans)-1].decision
		if last.constant() && s.decision.constant() && last.final == s.decision.final {
			return spans
		}
	}
	return append(spans, s)
}

// A label is a place in the program, counted from its end: jumps go forward only, so what is jumped to is
// always written first.
type label int

// An assembler writes a program backwards, last instruction first. So each jump knows its distance when it is
// written, and one that does not fit into 8 bits gets a long jump of its own.
type assembler struct {
	reversed []unix.SockFilter
	returns  map[Action]label
}

// reach is how far a conditional jump may go; two less than the 255 that fit, for the long jumps that may
// still come in between.
const reach = 253

func (a *assembler) emit(code uint16, k uint32, jt, jf uint8) label {
	a.reversed = append(a.reversed, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	return label(len(a.reversed) - 1)
}

// distance is the number of instructions that a jump written now skips to get to the label.
func (a *assembler) distance(to label) int { return len(a.reversed) - 1 - int(to) }

func (a *assembler) load(offset uint32) label {
	return a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0)
}

// ret is an instruction that answers with the action: one within reach, or a new one.
func (a *assembler) ret(action Action) label {
	if at, ok := a.returns[action]; ok && a.distance(at) <= reach {
		return at
	}
	if a.returns == nil {
		a.returns = map[Action]label{}
	}
	a.returns[action] = a.emit(unix.BPF_RET|unix.BPF_K, action.verdict(), 0, 0)
	return a.returns[action]
}

// near is a place within reach that leads to the label.
func (a *assembler) near(to label) label {
	if a.distance(to) <= reach {
		return to
	}
	return a.emit(unix.BPF_JMP|unix.BPF_JA, uint32(a.distance(to)), 0, 0)
}

// jump compares the accumulator with k and goes to one of two places.
func (a *assembler) jump(op uint16, k uint32, yes, no label) label {
	yes, no = a.near(yes), a.near(no)
	return a.emit(unix.BPF_JMP|op|unix.BPF_K, k, uint8(a.distance(yes)), uint8(a.distance(no)))
}

// program is all of it, from its end to its beginning.
func (a *assembler) program(target abi, spans []span, foreign Action) {
	other := a.otherABI(target, foreign)
	high := a.highNumber(target, foreign)
	native := a.search(spans)
	a.jump(unix.BPF_JGE, target.limit, high, native)
	native = a.load(offNr)
	a.jump(unix.BPF_JEQ, target.audit, native, other)
	a.load(offArch)
}

// otherABI answers calls whose architecture is not the target's. The accumulator holds the architecture.
func (a *assembler) otherABI(target abi, foreign Action) label {
	at := a.ret(foreign)
	for _, audit := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM} {
		exits := target.exitsOf(audit)
		if len(exits) == 0 {
			continue
		}
		a.oneOf(exits, a.ret(foreign))
		at = a.jump(unix.BPF_JEQ, audit, a.load(offNr), at)
	}
	return at
}

// highNumber answers calls with numbers that are not native: x32 on amd64, nothing elsewhere. -1 passes: it is
// no call, but what a tracer writes to make the kernel skip one (ptrace(2)), and debuggers work.
func (a *assembler) highNumber(target abi, foreign Action) label {
	return a.oneOf(append(target.exitsOf(target.audit), ^uint32(0)), a.ret(foreign))
}

// oneOf passes the call if its number, in the accumulator, is one of these.
func (a *assembler) oneOf(numbers []uint32, no label) label {
	for _, nr := range numbers {
		no = a.jump(unix.BPF_JEQ, nr, a.ret(Allow), no)
	}
	return no
}

func (a abi) exitsOf(audit uint32) []uint32 {
	var out []uint32
	for _, e := range a.exits {
		if e.audit == audit {
			out = append(out, e.nr)
		}
	}
	return out
}

// search finds the number, in the accumulator, among the spans by halves.
func (a *assembler) search(spans []span) label {
	if len(spans) == 1 {
		return a.decision(spans[0].decision)
	}
	mid := len(spans) / 2
	upper := a.search(spans[mid:])
	lower := a.search(spans[:mid])
	return a.jump(unix.BPF_JGE, spans[mid].start, upper, lower)
}

// decision asks the rules in order; written from the last to the first, each falls through to the one below.
func (a *assembler) decision(d decision) label {
	next := a.ret(d.final)
	for _, r := range slices.Backward(d.rules) {
		yes, no := a.ret(r.Action), next
		for _, c := range slices.Backward(r.When) {
			yes = a.condition(c, yes, no)
		}
		next = yes
	}
	return next
}

// condition tests one argument. A wide one takes its halves one after the other, high half first; half of a
// mask that is empty is not looked at.
func (a *assembler) condition(c Condition, yes, no label) label {
	if c.not {
		yes, no = no, yes
	}
	at := a.half(c, 0, yes, no)
	if c.wide {
		at = a.half(c, 32, at, no)
	}
	return at
}

func (a *assembler) half(c Condition, shift uint, yes, no label) label {
	mask, value := uint32(c.mask>>shift), uint32(c.value>>shift)
	if mask == 0 {
		return yes
	}
	if value == 0 {
		a.jump(unix.BPF_JSET, mask, no, yes)
	} else {
		a.equal(mask, value, yes, no)
	}
	return a.load(offArgs + 8*uint32(c.arg) + uint32(shift)/8)
}

func (a *assembler) equal(mask, value uint32, yes, no label) {
	a.jump(unix.BPF_JEQ, value, yes, no)
	if mask != ^uint32(0) {
		a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0)
	}
}

// finish turns the program round.
func (a *assembler) finish() []unix.SockFilter {
	slices.Reverse(a.reversed)
	return a.reversed
}

// verdict is the action as a filter returns it (include/uapi/linux/seccomp.h).
func (a Action) verdict() uint32 {
	switch a {
	case Allow:
		return unix.SECCOMP_RET_ALLOW
	case Kill:
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	return unix.SECCOMP_RET_ERRNO | uint32(a)
}
