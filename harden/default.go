package harden

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Default is an allowlist: what toolchains, language runtimes, debuggers and package managers need passes,
// what is known and refused is EPERM, and what no list names is ENOSYS, as on a kernel that does not have
// it; so new system calls do not pass until somebody has looked at them. chroot passes since package managers
// use it and it gives no more than CAP_SYS_CHROOT in the sandbox's own user namespace does; ptrace passes for
// debuggers, and sees what is in the sandbox's PID namespace and Landlock domain.
func Default() Policy {
	return allowlist("default", slices.Concat(needed, wider), slices.Concat(refusedCalls, mountCalls, keyringCalls, kernelCalls),
		[]uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}, setarch)
}

// Strict is Default without what a plain build or test run does not use: tracing, other personalities, System
// V and POSIX queues, asynchronous and zero-copy file calls, policies of memory and scheduling, netlink.
func Strict() Policy {
	return allowlist("strict", needed, slices.Concat(refusedCalls, mountCalls, keyringCalls, kernelCalls, wider),
		[]uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}, 0)
}

// allowlist is a policy of what passes, what is refused, and the calls whose arguments decide: sockets of these
// families alone, and personalities of these bits.
func allowlist(name string, allowed, refused []string, families []uint32, personalities uint32) Policy {
	return Policy{Name: name, Default: ENOSYS, Rules: []Rule{
		{Action: EPERM, Syscalls: []string{"clone"}, When: []Condition{ArgHasAny(0, cloneNamespaces)}},
		{Action: EPERM, Syscalls: []string{"unshare"}, When: []Condition{Arg64HasAny(0, ^uint64(unshareHarmless))}},
		{Action: EAFNOSUPPORT, Syscalls: []string{"socket", "socketpair"}, When: noneOf(families)},
		{Action: EPERM, Syscalls: []string{"socket"}, When: []Condition{ArgMaskIs(1, socketType, unix.SOCK_PACKET)}},
		{Action: EPROTONOSUPPORT, Syscalls: []string{"socket"}, When: []Condition{ArgIs(0, unix.AF_NETLINK), ArgIs(2, unix.NETLINK_ROUTE).Not()}},
		{Action: EPERM, Syscalls: []string{"ioctl"}, When: []Condition{ArgIs(1, unix.TIOCSTI)}},     // types into the terminal
		{Action: EPERM, Syscalls: []string{"ioctl"}, When: []Condition{ArgIs(1, unix.TIOCLINUX)}},   // pastes into the console
		{Action: EPERM, Syscalls: []string{"ioctl"}, When: []Condition{ArgIs(1, unix.TIOCSETD)}},    // loads a line discipline
		{Action: Allow, Syscalls: []string{"personality"}, When: []Condition{ArgIs(0, ^uint32(0))}}, // asks only
		{Action: EPERM, Syscalls: []string{"personality"}, When: []Condition{ArgHasAny(0, ^personalities)}},
		{Action: Allow, Syscalls: allowed},
		{Action: EPERM, Syscalls: refused},
	}}
}

// socketType is the part of socket(2)'s second argument that is no flag. SOCK_PACKET makes a packet socket
// of whatever family.
const socketType = 0xf

// setarch are the personalities (personality(2)) of setarch(8) that a debugger or a 32-bit build asks for:
// no randomization of addresses, the name of a 32-bit machine, the number of a 2.6 kernel. READ_IMPLIES_EXEC
// and the emulations of other systems are not among them.
const setarch = 0x0040000 | 0x0008 | 0x0020000 // ADDR_NO_RANDOMIZE, PER_LINUX32, UNAME26 (include/uapi/linux/personality.h)

func noneOf(families []uint32) []Condition {
	var all []Condition
	for _, f := range families {
		all = append(all, ArgIs(0, f).Not())
	}
	return all
}

// Off allows everything, the other ABIs included: Compile makes no program of it.
func Off() Policy { return Policy{Name: "off"} }

// cloneNamespaces is each CLONE_NEW* flag that clone(2) knows (include/uapi/linux/sched.h). CLONE_NEWTIME is
// not among them: 0x80 lies within the exit signal there, and kernel/fork.c cuts it off.
const cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// unshareHarmless is each flag of unshare(2) that makes no namespace. Everything else is refused, not
// CLONE_NEW* alone: kernel 7.1 made a mount namespace of 0x100000 (UNSHARE_EMPTY_MNTNS), which until then was
// a flag without meaning, so a list of the bad ones goes stale.
const unshareHarmless = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_THREAD | unix.CLONE_SYSVSEM

// policies are the values of `[harden] seccomp`, in the order in which they are told.
var policies = []policyMaker{
	{"default", Default},
	{"strict", Strict},
	{"off", Off},
}

type policyMaker struct {
	name string
	make func() Policy
}

// PolicyNames are the values that `[harden] seccomp` knows.
func PolicyNames() []string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.name
	}
	return names
}
