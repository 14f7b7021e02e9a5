package harden

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// disassemble is the program as text, one instruction a line, for golden files. Numbers that are compared with the call's number
// carry its name.
func disassemble(filter []unix.SockFilter) string {
	var text strings.Builder
	known := make([]knowledge, len(filter)+1)
	for pc, in := range filter {
		fmt.Fprintf(&text, "%4d  %s\n", pc, known[pc].describe(pc, in))
		known[pc].spread(known, pc, in)
	}
	return text.String()
}

// knowledge is what is certain where an instruction begins: what the accumulator holds, and on which
// architecture the call was made.
type knowledge struct {
	holds string
	arch  Arch
}

// spread passes the knowledge on to the instructions that come next. Jumps go forward only, so one pass does.
func (k knowledge) spread(known []knowledge, pc int, in unix.SockFilter) {
	switch in.Code & 7 {
	case unix.BPF_LD:
		known[pc+1] = knowledge{field(in.K), k.arch}
	case unix.BPF_ALU:
		known[pc+1] = k
	case unix.BPF_JMP:
		for _, to := range targets(pc, in) {
			if to < len(known) {
				known[to] = k
			}
		}
		k.learn(known, pc, in)
	}
}

// learn notes the architecture where a comparison has just proved it.
func (k knowledge) learn(known []knowledge, pc int, in unix.SockFilter) {
	yes := targets(pc, in)[0]
	if k.holds != "arch" || in.Code&0xf0 != unix.BPF_JEQ || yes >= len(known) {
		return
	}
	for _, a := range abis {
		if a.audit == in.K {
			known[yes].arch = a.arch
		}
	}
}

// targets are the places that a jump may go to: yes, and no.
func targets(pc int, in unix.SockFilter) []int {
	if in.Code == unix.BPF_JMP|unix.BPF_JA {
		return []int{pc + 1 + int(in.K)}
	}
	return []int{pc + 1 + int(in.Jt), pc + 1 + int(in.Jf)}
}

func (k knowledge) describe(pc int, in unix.SockFilter) string {
	switch in.Code & 7 {
	case unix.BPF_LD:
		return "ld    " + field(in.K)
	case unix.BPF_ALU:
		return fmt.Sprintf("and   %#x", in.K)
	case unix.BPF_RET:
		return "ret   " + answer(in.K)
	case unix.BPF_JMP:
		return k.describeJump(pc, in)
	}
	return fmt.Sprintf("?     code %#x", in.Code)
}

var jumpNames = map[uint16]string{unix.BPF_JEQ: "jeq", unix.BPF_JGE: "jge", unix.BPF_JGT: "jgt", unix.BPF_JSET: "jset"}

func (k knowledge) describeJump(pc int, in unix.SockFilter) string {
	to := targets(pc, in)
	if len(to) == 1 {
		return fmt.Sprintf("ja    %d", to[0])
	}
	return fmt.Sprintf("%-5s %-28s yes %-4d no %d", jumpNames[in.Code&0xf0], k.operand(in.K), to[0], to[1])
}

// auditNames are the architectures that a filter of this package compares with.
var auditNames = map[uint32]string{
	unix.AUDIT_ARCH_X86_64: "x86_64", unix.AUDIT_ARCH_I386: "i386",
	unix.AUDIT_ARCH_AARCH64: "aarch64", unix.AUDIT_ARCH_ARM: "arm",
}

func (k knowledge) operand(value uint32) string {
	switch {
	case k.holds == "arch" && auditNames[value] != "":
		return auditNames[value]
	case k.holds == "nr" && value < x32Bit:
		return strings.TrimSpace(fmt.Sprintf("%d %s", value, SyscallName(k.arch, int(value))))
	}
	return fmt.Sprintf("%#x", value)
}

// field names what lies at an offset of struct seccomp_data.
func field(offset uint32) string {
	switch {
	case offset == offNr:
		return "nr"
	case offset == offArch:
		return "arch"
	case offset >= offArgs && offset < offArgs+6*8 && offset%4 == 0:
		return fmt.Sprintf("arg%d.%s", (offset-offArgs)/8, [...]string{"low", "high"}[offset%8/4])
	}
	return fmt.Sprintf("[%d]", offset)
}

func answer(verdict uint32) string {
	switch verdict & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		return "allow"
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "kill"
	case unix.SECCOMP_RET_ERRNO:
		return unix.ErrnoName(syscall.Errno(verdict & unix.SECCOMP_RET_DATA))
	}
	return fmt.Sprintf("%#x", verdict)
}
