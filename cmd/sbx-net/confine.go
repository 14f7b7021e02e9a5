package main

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sbx/harden"
)

// calls are the system calls of a Go program that has sockets and nothing else. Whatever is not named fails
// with EPERM.
var calls = []string{
	"read", "write", "readv", "writev", "close", "fcntl", "fstat", "ppoll", "poll",
	"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2",
	"connect", "bind", "getsockname", "getpeername", "setsockopt", "getsockopt", "shutdown",
	"sendto", "recvfrom", "sendmsg", "recvmsg",
	"mmap", "munmap", "mprotect", "madvise", "brk", "futex", "sched_yield", "sched_getaffinity",
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"tgkill", "getpid", "gettid", "getrandom", "exit", "exit_group",
	"timer_create", "timer_settime", "timer_delete", "setitimer",
	"rseq", "set_robust_list", "membarrier",
}

// threadFlags is what the Go runtime clones threads with: runtime/os_linux.go, cloneFlags; on amd64 with
// CLONE_SETTLS as well.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// ownPolicy is the seccomp policy of this program.
func ownPolicy() harden.Policy {
	return harden.Policy{Name: "sbx-net", Default: harden.EPERM, Rules: []harden.Rule{
		{Action: harden.Allow, Syscalls: calls},
		{Action: harden.Allow, Syscalls: []string{"socket"}, When: []harden.Condition{harden.ArgIs(0, unix.AF_INET), harden.ArgMaskIs(1, 0xf, unix.SOCK_STREAM)}},
		{Action: harden.Allow, Syscalls: []string{"socket"}, When: []harden.Condition{harden.ArgIs(0, unix.AF_INET), harden.ArgMaskIs(1, 0xf, unix.SOCK_DGRAM)}},
		{Action: harden.Allow, Syscalls: []string{"socket"}, When: []harden.Condition{harden.ArgIs(0, unix.AF_INET6), harden.ArgMaskIs(1, 0xf, unix.SOCK_STREAM)}},
		{Action: harden.Allow, Syscalls: []string{"socket"}, When: []harden.Condition{harden.ArgIs(0, unix.AF_INET6), harden.ArgMaskIs(1, 0xf, unix.SOCK_DGRAM)}},
		{Action: harden.Allow, Syscalls: []string{"clone"}, When: []harden.Condition{harden.Arg64MaskIs(0, ^uint64(0xff|unix.CLONE_SETTLS), threadFlags)}},
		{Action: harden.Allow, Syscalls: []string{"ioctl"}, When: []harden.Condition{harden.ArgIs(1, unix.TUNSETPERSIST)}},
		{Action: harden.ENOSYS, Syscalls: []string{"clone3"}},
	}}
}

// confine gives up files, other programs, tracing, and all system calls but ownPolicy's, in every thread.
// Landlock is left out where the kernel has none, as for payloads: the filter opens no file either.
func confine(filter []unix.SockFilter) error {
	if withCgo {
		return errors.New("this sbx-net was built with cgo, and cannot confine all of its threads: build it with CGO_ENABLED=0, as make does")
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding its memory: %w", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("forbidding new privileges: %w", errno)
	}
	if err := shutFiles(harden.LandlockFor(harden.LandlockABI())); err != nil {
		return fmt.Errorf("confining files with Landlock: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("installing the seccomp filter: %w", errno)
	}
	return nil
}

// shutFiles allows no file at all: a ruleset without rules.
func shutFiles(wall harden.Landlock) error {
	if wall.Files == 0 {
		return nil
	}
	attr := struct{ files, network, scopes uint64 }{files: wall.Files, scopes: wall.Scopes}
	size := unsafe.Sizeof(attr)
	if wall.Scopes == 0 {
		size = unsafe.Sizeof(attr.files)
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(rules))
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
