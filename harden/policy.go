package harden

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An Action is the answer to a system call: Allow, Kill, or the errno that the caller gets.
type Action int32

// The answers in use. Any other errno is written Action(unix.EXXX).
const (
	Allow Action = 0
	Kill  Action = -1 // ends the whole process with SIGSYS

	EPERM           = Action(unix.EPERM)
	ENOSYS          = Action(unix.ENOSYS)
	EAFNOSUPPORT    = Action(unix.EAFNOSUPPORT)
	EPROTONOSUPPORT = Action(unix.EPROTONOSUPPORT)
)

// A Condition is a test of one argument: (arg & mask) compared with value. It looks at the low 32 bits unless
// it is wide, because that is what the kernel does with most arguments: it truncates them after seccomp has
// seen all 64, so a wide comparison is the hole through which 1<<32|TIOCSTI passed in other sandboxes.
type Condition struct {
	arg   uint8
	wide  bool
	not   bool
	mask  uint64
	value uint64
}

// ArgIs holds if the low half of argument arg (0 to 5) is value.
func ArgIs(arg int, value uint32) Condition { return ArgMaskIs(arg, ^uint32(0), value) }

// ArgMaskIs holds if the low half of the argument, with mask applied, is value.
func ArgMaskIs(arg int, mask, value uint32) Condition {
	return Condition{arg: uint8(arg), mask: uint64(mask), value: uint64(value)}
}

// ArgHasAny holds if the low half of the argument has any of the bits.
func ArgHasAny(arg int, bits uint32) Condition { return ArgMaskIs(arg, bits, 0).Not() }

// Arg64MaskIs holds if all of the argument, with mask applied, is value.
func Arg64MaskIs(arg int, mask, value uint64) Condition {
	return Condition{arg: uint8(arg), wide: true, mask: mask, value: value}
}

// Arg64HasAny holds if the argument has any of the bits.
func Arg64HasAny(arg int, bits uint64) Condition { return Arg64MaskIs(arg, bits, 0).Not() }

// Not is the same test with the opposite answer.
func (c Condition) Not() Condition {
	c.not = !c.not
	return c
}

// check finds tests that cannot be compiled, or that can never tell two calls apart.
func (c Condition) check() error {
	switch {
	case c.arg > 5:
		return fmt.Errorf("argument %d of a system call: there are six, 0 to 5", c.arg)
	case c.value&^c.mask != 0:
		return fmt.Errorf("argument %d: value %#x has bits outside of mask %#x", c.arg, c.value, c.mask)
	}
	return nil
}

// A Rule gives one answer to the named system calls where all of its conditions hold; without conditions,
// always.
type Rule struct {
	Action   Action
	Syscalls []string
	When     []Condition
}

// A Policy says what is answered to each system call: the first rule that fits, else the default. The zero
// value allows everything. Whatever the policy, unless it allows everything, calls through another ABI of the
// same processor (i386, x32, 32-bit arm) are answered ENOSYS: see foreign in compile.go.
type Policy struct {
	Name    string
	Default Action
	Rules   []Rule
}

// With is the policy with more rules, asked before its own.
func (p Policy) With(rules ...Rule) Policy {
	p.Rules = append(append([]Rule(nil), rules...), p.Rules...)
	return p
}

// open says that the policy never refuses anything, so that there is nothing to load.
func (p Policy) open() bool {
	for _, r := range p.Rules {
		if r.Action != Allow {
			return false
		}
	}
	return p.Default == Allow
}

// RefusesKeyrings says whether no keyring call can succeed under the policy. A sandbox may go on without a
// session keyring of its own (EDQUOT: kernel.keys.maxkeys is per host user) only where this holds; elsewhere
// the payload would read the caller's keys.
func RefusesKeyrings(p Policy) bool {
	for _, name := range keyringCalls {
		if p.mayAllow(name) {
			return false
		}
	}
	return true
}

// mayAllow says whether any arguments make the call pass.
func (p Policy) mayAllow(name string) bool {
	for _, r := range p.Rules {
		if !r.names(name) {
			continue
		}
		if r.Action == Allow || len(r.When) == 0 {
			return r.Action == Allow
		}
	}
	return p.Default == Allow
}

func (r Rule) names(name string) bool {
	for _, n := range r.Syscalls {
		if n == name {
			return true
		}
	}
	return false
}

// An UnknownPolicyError is a name for `[harden] seccomp` that is none.
type UnknownPolicyError struct{ Name string }

func (e *UnknownPolicyError) Error() string {
	return fmt.Sprintf("no seccomp policy %q: there are %s", e.Name, strings.Join(PolicyNames(), ", "))
}

// allowing is the policy with more calls that pass, where no condition of its own on their arguments refuses them.
func (p Policy) allowing(names []string) (Policy, error) {
	for _, name := range names {
		switch _, known := slices.BinarySearchFunc(syscalls, name, func(r syscallRow, name string) int { return strings.Compare(r.name, name) }); {
		case name == "clone3":
			return p, &SyscallError{name, "no filter can see what namespaces it makes"}
		case !known:
			return p, &SyscallError{name, "no system call of this name is known"}
		}
	}
	last := len(p.Rules) - 1
	p.Rules = slices.Insert(slices.Clone(p.Rules), last, Rule{Action: Allow, Syscalls: names})
	return p, nil
}

// A SyscallError is a name for `[harden] syscalls` that cannot be added.
type SyscallError struct{ Name, Why string }

func (e *SyscallError) Error() string { return fmt.Sprintf("the system call %q: %s", e.Name, e.Why) }

// nested is the policy for a sandbox that may make namespaces of its own: with them go the mount API, entering
// them, and names of a host. clone3 stays ENOSYS, since a filter cannot read its flags.
func (p Policy) nested() Policy {
	own := slices.Concat([]string{"clone", "unshare", "setns", "sethostname", "setdomainname"}, mountCalls)
	return p.With(Rule{Action: Allow, Syscalls: own})
}
