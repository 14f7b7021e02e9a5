// Package userns starts a process tree in new namespaces and walks a plan there.
//
// A Plan is the flat list of system calls between clone and execve, as data: it prints like an
// strace, is compared with golden files without any privilege, and is walked by a raw child in
// which nothing of Go runs. The package knows id maps, the clone, the barrier, PID 1 and the
// messages between PID 1 and its supervisor. It decides no policy: what to mount, whom to refuse
// and what to tell a person is the caller's business.
package userns

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Slot names a place in which a step leaves its result and from which later steps take it.
type Slot string

// The slots that Start fills before the clone: the payload's own 0, 1 and 2.
const (
	Stdin  Slot = "stdin"
	Stdout Slot = "stdout"
	Stderr Slot = "stderr"
)

// Plan is what a new sandbox's first two processes do, in order. It is pure data.
type Plan struct {
	// Namespaces are the CLONE_NEW* flags of the first clone (clone(2)). CLONE_NEWCGROUP and
	// CLONE_NEWTIME belong to unshare steps: the first since the child has to be moved to its
	// cgroup before, the second since it takes effect for children alone.
	Namespaces uintptr
	// Init is walked by PID 1.
	Init []Step
	// Payload is walked by the child of PID 1; it ends in execve.
	Payload []Step
}

// Step is one system call of a plan.
type Step struct {
	// Do says what the step is for, as the middle of the sentence "Do: errno".
	Do   string
	call call
	args []Arg
	// out takes the result, or minus the errno when the error is tolerated.
	out Slot
	// tolerate are the errors that do not end the walk.
	tolerate []unix.Errno
	// notice makes a tolerated error known to the supervisor.
	notice bool
	// when lets the step happen only if a slot holds minus this errno, or only if it does not.
	when *condition
}

type condition struct {
	slot   Slot
	errno  unix.Errno
	unless bool
}

// To keeps the step's result in a slot.
func (s Step) To(slot Slot) Step { s.out = slot; return s }

// Tolerate lets the walk go on after these errors.
func (s Step) Tolerate(errnos ...unix.Errno) Step {
	s.tolerate = append(append([]unix.Errno{}, s.tolerate...), errnos...)
	return s
}

// Notice reports a tolerated error of this step to the supervisor (Process.Notices).
func (s Step) Notice() Step { s.notice = true; return s }

// If makes the step conditional: it happens only where an earlier step left a tolerated errno in
// slot. This is how a plan holds a fallback.
func (s Step) If(slot Slot, errno unix.Errno) Step {
	s.when = &condition{slot: slot, errno: errno}
	return s
}

// Unless is the contrary of If.
func (s Step) Unless(slot Slot, errno unix.Errno) Step {
	s.when = &condition{slot: slot, errno: errno, unless: true}
	return s
}

// Name is the name of the system call.
func (s Step) Name() string { return s.call.String() }

// IsExec reports whether the step is one of those that Exec made.
func (s Step) IsExec() bool { return s.call == unix.SYS_EXECVE || s.call == opFail }

// String renders the step as one line in the manner of strace(1).
func (s Step) String() string {
	var b strings.Builder
	if s.when != nil {
		compare := "=="
		if s.when.unless {
			compare = "!="
		}
		fmt.Fprintf(&b, "if $%s %s %s: ", s.when.slot, compare, unix.ErrnoName(s.when.errno))
	}
	b.WriteString(s.call.String() + "(")
	for i, a := range s.args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	b.WriteString(")")
	if s.out != "" {
		b.WriteString(" = $" + string(s.out))
	}
	for _, e := range s.tolerate {
		b.WriteString(" | " + unix.ErrnoName(e))
	}
	return b.String()
}

// String renders the whole plan: the clone, what PID 1 does, and what the payload's process does.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clone(%s)\n", flagNames(p.Namespaces, cloneFlags.names))
	writeSteps(&b, "PID 1", p.Init)
	writeSteps(&b, "payload", p.Payload)
	return b.String()
}

func writeSteps(b *strings.Builder, who string, steps []Step) {
	fmt.Fprintf(b, "\n# %s\n", who)
	last := ""
	for _, s := range steps {
		if s.Do != last {
			fmt.Fprintf(b, "# %s\n", strconv.QuoteToGraphic(s.Do))
			last = s.Do
		}
		b.WriteString(s.String() + "\n")
	}
}

type argKind uint8

const (
	argNumber argKind = iota // a plain number
	argSlot                  // the content of a slot
	argString                // the address of a NUL-terminated string
	argBytes                 // the address of these bytes
	argWords                 // the address of an array of words, each an Arg of its own
	argVector                // the address of a NULL-terminated array of strings
)

// Arg is one argument of a system call.
type Arg struct {
	kind argKind
	num  uintptr
	// str is the string, the bytes, the name of the slot, or how a number prints.
	str  string
	more *more
}

// more is what some kinds of argument have beside: the words of an array, the strings of a vector,
// the names of bits, how bytes print. Its address is the identity of memory that arguments share.
type more struct {
	words []Arg
	list  []string
	names []flagName
	text  string
	// render, if set, is how an element of list prints.
	render func(string) string
}

// Num is a number; text, where given, is how it prints.
func Num(n uintptr, text ...string) Arg {
	a := Arg{kind: argNumber, num: n}
	if len(text) > 0 {
		a.str = text[0]
	}
	return a
}

// flags is a set of bits that prints by name.
func flags(bits uintptr, names *more) Arg { return Arg{kind: argNumber, num: bits, more: names} }

// FromSlot is what an earlier step left in slot.
func FromSlot(slot Slot) Arg { return Arg{kind: argSlot, str: string(slot)} }

// Str is the address of a NUL-terminated string. Encoding refuses a string that holds a NUL.
func Str(s string) Arg { return Arg{kind: argString, str: s} }

// Bytes is the address of raw memory; text is how it prints.
func Bytes(b []byte, text string) Arg {
	return Arg{kind: argBytes, str: string(b), more: &more{text: text}}
}

// Words is the address of an array of machine words, such as a struct of pointers. The same Arg
// used twice is the same memory.
func Words(words ...Arg) Arg { return Arg{kind: argWords, more: &more{words: words}} }

// Vector is the address of a NULL-terminated array of strings, as execve(2) takes it. The same Arg
// used twice is the same memory.
func Vector(list []string) Arg { return Arg{kind: argVector, more: &more{list: list}} }

// String renders the argument.
func (a Arg) String() string {
	switch a.kind {
	case argSlot:
		return "$" + a.str
	case argString:
		return strconv.QuoteToASCII(a.str)
	case argBytes:
		return a.more.text
	case argWords:
		return renderList(a.more.words, Arg.String)
	case argVector:
		if a.more.render != nil {
			return renderList(a.more.list, a.more.render)
		}
		return renderList(a.more.list, strconv.QuoteToASCII)
	}
	switch {
	case a.more != nil:
		return flagNames(a.num, a.more.names)
	case a.str != "":
		return a.str
	}
	return strconv.FormatInt(int64(a.num), 10)
}

func renderList[T any](list []T, render func(T) string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = render(v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// MarshalJSON renders the plan as an object of its flags and the two lists of steps.
func (p *Plan) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Namespaces string `json:"namespaces"`
		Init       []Step `json:"init"`
		Payload    []Step `json:"payload"`
	}{flagNames(p.Namespaces, cloneFlags.names), p.Init, p.Payload})
}

// MarshalJSON renders the step as what it is for, the name of its call, and its text.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Do   string `json:"do"`
		Call string `json:"call"`
		Text string `json:"text"`
	}{s.Do, s.Name(), s.String()})
}
