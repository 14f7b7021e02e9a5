package harden

import (
	"runtime"
	"sort"

	"golang.org/x/sys/unix"
)

// An Arch is an instruction set, by the name that Go has for it (GOARCH).
type Arch string

// The architectures that Compile knows.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// HostArch is the architecture that this program was built for, and so that of the filters it may load.
func HostArch() Arch { return Arch(runtime.GOARCH) }

// An abi is what a filter has to know of an architecture.
type abi struct {
	arch  Arch
	audit uint32 // AUDIT_ARCH_*, include/uapi/linux/audit.h
	limit uint32 // the first number that is no native call
	exits []exit
}

// An exit is a call through another ABI that passes all the same, since it can only end its caller.
type exit struct {
	audit uint32
	nr    uint32
}

// x32Bit marks the x32 calls (__X32_SYSCALL_BIT, arch/x86/include/uapi/asm/unistd.h). No native call of any
// architecture has a number this high.
const x32Bit = 1 << 30

// abis has the exits by the tables of the kernel: arch/x86/entry/syscalls/syscall_32.tbl (syscall_64.tbl for
// x32) and arch/arm/tools/syscall.tbl; exit first, then exit_group. The limit of amd64 is 512 since kernels
// before 5.4 took the x32 calls of their own, 512 to 547, without the bit too (seccomp(2)): 514 is an ioctl.
var abis = []abi{
	{AMD64, unix.AUDIT_ARCH_X86_64, 512, []exit{
		{unix.AUDIT_ARCH_I386, 1}, {unix.AUDIT_ARCH_I386, 252},
		{unix.AUDIT_ARCH_X86_64, x32Bit | 60}, {unix.AUDIT_ARCH_X86_64, x32Bit | 231},
	}},
	{ARM64, unix.AUDIT_ARCH_AARCH64, x32Bit, []exit{{unix.AUDIT_ARCH_ARM, 1}, {unix.AUDIT_ARCH_ARM, 248}}},
}

func abiOf(arch Arch) (abi, bool) {
	for _, a := range abis {
		if a.arch == arch {
			return a, true
		}
	}
	return abi{}, false
}

// A syscallRow is one name with its number per architecture, absent where there is none.
type syscallRow struct {
	name         string
	amd64, arm64 int16
}

const absent = -1

func (r syscallRow) number(arch Arch) int {
	switch arch {
	case AMD64:
		return int(r.amd64)
	case ARM64:
		return int(r.arm64)
	}
	return absent
}

// SyscallNumber is the number of a system call. Known says that some architecture has a call of that name;
// where this one has not (open, on arm64), the number is negative.
func SyscallNumber(arch Arch, name string) (nr int, known bool) {
	i := sort.Search(len(syscalls), func(i int) bool { return syscalls[i].name >= name })
	if i == len(syscalls) || syscalls[i].name != name {
		return absent, false
	}
	return syscalls[i].number(arch), true
}

// SyscallName is the name of a system call, or "".
func SyscallName(arch Arch, nr int) string {
	if nr < 0 {
		return ""
	}
	for _, r := range syscalls {
		if r.number(arch) == nr {
			return r.name
		}
	}
	return ""
}
