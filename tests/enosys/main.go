// Command enosys runs a program under a seccomp filter that answers ENOSYS to the named system calls, as an older
// kernel would, EPERM with -eperm, as a container's filter would, or EINVAL with -einval, as a kernel that knows the
// call and not the flag.
//
//	enosys [-eperm|-einval] CALL[,CALL...] CMD [ARGS...]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call is a system call, or where a flag is named, only those of its calls that have the flag in an argument.
type call struct {
	nr, arg, flag uint32
}

var calls = map[string]call{
	"mount_setattr":       {nr: unix.SYS_MOUNT_SETATTR},
	"open_tree":           {nr: unix.SYS_OPEN_TREE},
	"move_mount":          {nr: unix.SYS_MOVE_MOUNT},
	"pidfd_open":          {nr: unix.SYS_PIDFD_OPEN},
	"close_range":         {nr: unix.SYS_CLOSE_RANGE},
	"close_range_cloexec": {nr: unix.SYS_CLOSE_RANGE, arg: 2, flag: unix.CLOSE_RANGE_CLOEXEC},
	"keyctl":              {nr: unix.SYS_KEYCTL},
	"renameat2":           {nr: unix.SYS_RENAMEAT2},
	"pivot_root":          {nr: unix.SYS_PIVOT_ROOT},
}

var answers = map[string]syscall.Errno{"-eperm": unix.EPERM, "-einval": unix.EINVAL}

func main() {
	args, answer := os.Args[1:], unix.ENOSYS
	if len(args) > 0 && answers[args[0]] != 0 {
		args, answer = args[1:], answers[args[0]]
	}
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: enosys [-eperm|-einval] CALL[,CALL...] CMD [ARGS...]")
		os.Exit(2)
	}
	if err := run(strings.Split(args[0], ","), answer, args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "enosys:", err)
		os.Exit(2)
	}
}

func run(names []string, answer syscall.Errno, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	filter, err := compile(names, answer)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	// Not no_new_privs, under which newuidmap cannot work: the caller must be root of a user namespace, or root.
	if os.Getuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("installing the filter: %w", errno)
	}
	return syscall.Exec(path, args, os.Environ())
}

// compile tests the number, then the flag in the argument's low half, and goes on with the next name otherwise.
func compile(names []string, answer syscall.Errno) ([]unix.SockFilter, error) {
	const number, firstArg = 0, 16 // offsets in struct seccomp_data
	var filter []unix.SockFilter
	for _, name := range names {
		c, ok := calls[name]
		if !ok {
			return nil, fmt.Errorf("no number for %q in the table", name)
		}
		refuse := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)}
		filter = append(filter, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number})
		if c.flag == 0 {
			filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.nr, Jf: 1}, refuse)
			continue
		}
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.nr, Jf: 3},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: firstArg + 8*c.arg},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: c.flag, Jf: 1}, refuse)
	}
	return append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}), nil
}
