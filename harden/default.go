package harden

import "golang.org/x/sys/unix"

// Default is the first filter: a list of what a toolchain never needs and an escape often does. What it does
// not name passes, new system calls too. chroot passes since package managers use it and it gives no more
// than CAP_SYS_CHROOT in the sandbox's own user namespace does; ptrace passes for debuggers.
func Default() Policy {
	return Policy{Name: "default", Rules: []Rule{
		{Action: ENOSYS, Syscalls: []string{"clone3"}}, // its flags lie in memory, which a filter cannot read; libc falls back to clone
		{Action: EPERM, Syscalls: []string{"clone"}, When: []Condition{ArgHasAny(0, cloneNamespaces)}},
		{Action: EPERM, Syscalls: []string{"unshare"}, When: []Condition{Arg64HasAny(0, ^uint64(unshareHarmless))}},
		{Action: EPERM, Syscalls: []string{"setns"}},
		{Action: EPERM, Syscalls: mountCalls},
		{Action: Action(unix.EAFNOSUPPORT), Syscalls: []string{"socket", "socketpair"}, When: otherFamilies},
		{Action: EPERM, Syscalls: keyringCalls},
		{Action: EPERM, Syscalls: kernelCalls},
		{Action: EPERM, Syscalls: []string{"ioctl"}, When: []Condition{ArgIs(1, unix.TIOCSTI)}},   // types into the terminal
		{Action: EPERM, Syscalls: []string{"ioctl"}, When: []Condition{ArgIs(1, unix.TIOCLINUX)}}, // pastes into the console
	}}
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

// otherFamilies holds for every address family but those that toolchains use. AF_VSOCK reaches the
// hypervisor and, under WSL, the Windows side, whatever the network namespace; the others are kernel
// code that nobody here calls.
var otherFamilies = []Condition{
	ArgIs(0, unix.AF_UNIX).Not(), ArgIs(0, unix.AF_INET).Not(), ArgIs(0, unix.AF_INET6).Not(), ArgIs(0, unix.AF_NETLINK).Not(),
}

// mountCalls is the mount API, old and new: with a namespace of one's own it uncovers what the sandbox hid.
var mountCalls = []string{
	"mount", "umount2", "pivot_root", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
}

// keyringCalls is all of the keyring API: keys are found by number, whoever's namespace they come from.
var keyringCalls = []string{"add_key", "request_key", "keyctl"}

// kernelCalls are those whose code is large, young or powerful, and which builds do without.
var kernelCalls = []string{
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	"bpf", "perf_event_open", "userfaultfd",
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
}

// policies are the values of `[harden] seccomp`, in the order in which they are told. A nil one is planned.
var policies = []struct {
	name string
	make func() Policy
}{
	{"default", Default},
	{"strict", nil},
	{"off", Off},
}

// PolicyNames are the values that `[harden] seccomp` knows, planned ones included.
func PolicyNames() []string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.name
	}
	return names
}

// PolicyNamed is the policy that `[harden] seccomp` names. The error is a *UnknownPolicyError or a
// *PlannedPolicyError.
func PolicyNamed(name string) (Policy, error) {
	for _, p := range policies {
		switch {
		case p.name != name:
			continue
		case p.make == nil:
			return Policy{}, &PlannedPolicyError{name}
		}
		return p.make(), nil
	}
	return Policy{}, &UnknownPolicyError{name}
}
