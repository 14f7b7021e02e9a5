// Command enosys runs a program under a seccomp filter that answers ENOSYS to the named system calls, as an older
// kernel would, or EPERM with -eperm, as a container's filter would.
//
//	enosys [-eperm] CALL[,CALL...] CMD [ARGS...]
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

var calls = map[string]uint32{
	"mount_setattr": unix.SYS_MOUNT_SETATTR,
	"open_tree":     unix.SYS_OPEN_TREE,
	"move_mount":    unix.SYS_MOVE_MOUNT,
	"pidfd_open":    unix.SYS_PIDFD_OPEN,
	"close_range":   unix.SYS_CLOSE_RANGE,
	"keyctl":        unix.SYS_KEYCTL,
	"pivot_root":    unix.SYS_PIVOT_ROOT,
}

func main() {
	args, answer := os.Args[1:], unix.ENOSYS
	if len(args) > 0 && args[0] == "-eperm" {
		args, answer = args[1:], unix.EPERM
	}
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: enosys [-eperm] CALL[,CALL...] CMD [ARGS...]")
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
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for _, name := range names {
		nr, ok := calls[name]
		if !ok {
			return fmt.Errorf("no number for %q in the table", name)
		}
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
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
