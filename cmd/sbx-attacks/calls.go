package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// result turns a raw call's answer into what an attack returns.
func result(what string, r uintptr, errno syscall.Errno) (string, error) {
	if errno != 0 {
		return "", fmt.Errorf("%s: %w", what, errno)
	}
	return fmt.Sprintf("%s answered %d", what, int(r)), nil
}

func userNamespace(string) (string, error) {
	cmd := exec.Command("/proc/self/exe", inChild, "nothing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("clone(CLONE_NEWUSER): %w", err)
	}
	return "made a user namespace", nil
}

// The child of clone3 is a copy of this process; it only exits.
func userNamespaceByClone3(string) (string, error) {
	args := struct{ flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64 }{
		flags: unix.CLONE_NEWUSER, exitSignal: uint64(unix.SIGCHLD)}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if errno == 0 {
		unix.Wait4(int(pid), nil, 0, nil)
	}
	return result("clone3(CLONE_NEWUSER)", pid, errno)
}

func mountTmpfs(string) (string, error) {
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	unix.Unmount(dir, unix.MNT_DETACH)
	return "mounted a tmpfs", nil
}

// Any of the calls that gives a descriptor would do.
func mountAPI(string) (string, error) {
	fs, err1 := unix.Fsopen("tmpfs", 0)
	tree, err2 := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
	err3 := unix.MountSetattr(-1, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	if err1 != nil && err2 != nil && err3 != nil {
		return "", fmt.Errorf("fsopen: %v, open_tree: %v, mount_setattr: %v", err1, err2, err3)
	}
	return fmt.Sprintf("fsopen %d %v, open_tree %d %v, mount_setattr %v", fs, err1, tree, err2, err3), nil
}

// int(KEYCTL_GET_KEYRING_ID) of the session keyring, made if there is none.
func sessionKeyring(string) (string, error) {
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
	if err != nil {
		return "", fmt.Errorf("keyctl: %w", err)
	}
	return fmt.Sprintf("session keyring %d", id), nil
}

func sessionKeyringX32(string) (string, error) {
	const x32 = 0x40000000
	spec := unix.KEY_SPEC_SESSION_KEYRING
	r, _, errno := unix.Syscall(unix.SYS_KEYCTL|x32, unix.KEYCTL_GET_KEYRING_ID, uintptr(spec), 1)
	return result("keyctl by the x32 number", r, errno)
}

func ioUring(string) (string, error) {
	var params [120]byte
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	return result("io_uring_setup", r, errno)
}

func bpf(string) (string, error) {
	attr := struct{ mapType, keySize, valueSize, maxEntries uint32 }{2, 4, 4, 1} // an array of one
	r, _, errno := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	return result("bpf(BPF_MAP_CREATE)", r, errno)
}

func perf(string) (string, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK,
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
	if err != nil {
		return "", fmt.Errorf("perf_event_open: %w", err)
	}
	return fmt.Sprintf("perf_event_open answered %d", fd), nil
}

func userfaultfd(string) (string, error) {
	const userModeOnly = 1
	r, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, userModeOnly, 0, 0)
	return result("userfaultfd", r, errno)
}

// vsock makes a socket to the machine's hypervisor, or to its guests.
func vsock(string) (string, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", fmt.Errorf("socket(AF_VSOCK): %w", err)
	}
	return fmt.Sprintf("socket(AF_VSOCK) answered %d", fd), nil
}

// injectInput types a letter into the terminal behind any of 0, 1 and 2, as if the user had typed it.
func injectInput(string) (string, error)         { return typeInto(unix.TIOCSTI) }
func injectInputHighBits(string) (string, error) { return typeInto(unix.TIOCSTI | 1<<32) }

func typeInto(request uintptr) (string, error) {
	letter := byte('x')
	var stopped []string
	for fd := uintptr(0); fd < 3; fd++ {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&letter)))
		if errno == 0 {
			return fmt.Sprintf("typed into the terminal behind %d", fd), nil
		}
		stopped = append(stopped, fmt.Sprintf("%d: %v", fd, errno))
	}
	return "", errors.New(strings.Join(stopped, ", "))
}

// On a terminal that is not the console the kernel answers ENOTTY where nothing refuses the call before.
func tioclinux(string) (string, error) {
	subcode := byte(6)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCLINUX, uintptr(unsafe.Pointer(&subcode)))
	if errno == 0 || errno == unix.ENOTTY || errno == unix.EINVAL {
		return fmt.Sprintf("ioctl(TIOCLINUX) came through to the terminal: %v", errno), nil
	}
	return "", fmt.Errorf("ioctl(TIOCLINUX): %w", errno)
}

func ptrace(arg string) (string, error) {
	pid := 1
	if arg != "" {
		fmt.Sscan(arg, &pid)
	}
	runtime.LockOSThread()
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
	return result(fmt.Sprintf("ptrace(PTRACE_SEIZE, %d)", pid), 0, errno)
}

func capabilities(string) (string, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	var left []string
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if strings.HasPrefix(name, "Cap") && strings.Trim(value, "\t 0") != "" {
			left = append(left, name+strings.TrimSpace(value))
		}
	}
	if len(left) > 0 {
		return strings.Join(left, " "), nil
	}
	return "", errors.New("all five sets are empty, the bounding set too")
}

func newPrivileges(string) (string, error) {
	on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err == nil && on == 1 {
		return "", errors.New("no_new_privs is set")
	}
	return fmt.Sprintf("no_new_privs is %d %v", on, err), nil
}

// inChild is the first word of a call of this program by itself.
const inChild = "in-child"

// alone runs f's name in a process of its own, for calls that a filter may answer with a signal.
func alone(name string) (string, error) {
	out, err := exec.Command("/proc/self/exe", inChild, name).Output()
	if err != nil {
		return "", fmt.Errorf("%w %s", err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func childMain(word string) {
	name, arg, _ := strings.Cut(word, "=")
	got, err := "", error(nil)
	switch name {
	case "keyring-i386":
		got, err = sessionKeyringI386Here()
	case "pivot-root":
		got, err = pivotRootHere()
	case "leave-root":
		got, err = leaveRootHere(arg)
	}
	if err != nil {
		fmt.Println(strings.ReplaceAll(err.Error(), "\n", ", "))
		os.Exit(1)
	}
	fmt.Println(got)
}

func sessionKeyringI386(string) (string, error) { return alone("keyring-i386") }

func sessionKeyringI386Here() (string, error) {
	spec := unix.KEY_SPEC_SESSION_KEYRING
	const keyctl = 288
	r := int32(int80(keyctl, unix.KEYCTL_GET_KEYRING_ID, uint32(spec), 1))
	if r < 0 {
		return "", fmt.Errorf("keyctl by int $0x80: %w", syscall.Errno(-r))
	}
	return fmt.Sprint("keyctl by int $0x80: session keyring ", r), nil
}

// int80 makes a system call the 32-bit way.
func int80(nr, a, b, c uint32) uint32
