package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// remount tries to undo that a mount is read-only, with a mount of its own: mount(2), MS_REMOUNT|MS_BIND.
func remount(string) (string, error) {
	if err := unix.Mount("none", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("remount of /usr: %w", err)
	}
	return "remounted /usr to be written", nil
}

func changeRoot(string) (string, error) {
	if err := unix.Chroot("/usr"); err != nil {
		return "", fmt.Errorf("chroot: %w", err)
	}
	unix.Chroot(".")
	return "changed the root", nil
}

// joinNamespaces goes back into a namespace by each name that proc has of one.
func joinNamespaces(string) (string, error) {
	runtime.LockOSThread()
	paths, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	var last error = errors.New("proc names no namespaces")
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			last = fmt.Errorf("opening %s: %w", path, err)
			continue
		}
		err = unix.Setns(fd, 0)
		unix.Close(fd)
		if err == nil {
			return "joined " + path, nil
		}
		last = fmt.Errorf("setns %s: %w", path, err)
	}
	return "", last
}

// What reads the memory, the files or the books of another process works on this very one as well, where it works. pid
// names another.

func readMemory(pid string) (string, error) {
	var from, to [1]byte
	local := unix.Iovec{Base: &to[0], Len: 1}
	remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&from[0])), Len: 1}
	of := os.Getpid()
	if pid != "" {
		fmt.Sscan(pid, &of)
		remote.Base = mappedBy(of)
	}
	n, err := unix.ProcessVMReadv(of, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	if err != nil {
		return "", fmt.Errorf("process_vm_readv: %w", err)
	}
	return fmt.Sprintf("process_vm_readv read %d byte", n), nil
}

// mappedBy is the first address that a process has mapped; where that may not be known, one that programs often have.
func mappedBy(pid int) (address uintptr) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if n, _ := fmt.Sscanf(string(b), "%x-", &address); n != 1 {
		return 0x400000
	}
	return address
}

func takeDescriptor(pid string) (string, error) {
	of := os.Getpid()
	if pid != "" {
		fmt.Sscan(pid, &of)
	}
	process, err := unix.PidfdOpen(of, 0)
	if err != nil {
		return "", fmt.Errorf("pidfd_open: %w", err)
	}
	fd, err := unix.PidfdGetfd(process, 1, 0)
	if err != nil {
		return "", fmt.Errorf("pidfd_getfd: %w", err)
	}
	return fmt.Sprintf("pidfd_getfd answered %d", fd), nil
}

func compareProcesses(string) (string, error) {
	pid := uintptr(os.Getpid())
	const kcmpFile = 0
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, 1, 1, 0)
	return result("kcmp", r, errno)
}

func fileHandle(string) (string, error) {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/usr", 0)
	if err != nil {
		return "", fmt.Errorf("name_to_handle_at: %w", err)
	}
	return fmt.Sprintf("a handle of %d bytes", h.Size()), nil
}

// families are of sockets whose code is large and seldom needed.
func families(string) (string, error) {
	var got, stopped []string
	for name, f := range map[string]int{"AF_ALG": unix.AF_ALG, "AF_PACKET": unix.AF_PACKET, "AF_KEY": unix.AF_KEY,
		"AF_BLUETOOTH": unix.AF_BLUETOOTH, "AF_XDP": unix.AF_XDP, "AF_TIPC": unix.AF_TIPC, "AF_RXRPC": unix.AF_RXRPC} {
		fd, err := unix.Socket(f, unix.SOCK_SEQPACKET, 0)
		if errors.Is(err, unix.ESOCKTNOSUPPORT) || errors.Is(err, unix.EPROTOTYPE) {
			fd, err = unix.Socket(f, unix.SOCK_DGRAM, 0)
		}
		if err != nil {
			stopped = append(stopped, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		unix.Close(fd)
		got = append(got, name)
	}
	if len(got) > 0 {
		return "sockets of " + strings.Join(got, ", "), nil
	}
	return "", errors.New(strings.Join(stopped, ", "))
}

// settings are files that change what the whole machine does; root outside may write to them.
var settings = []string{
	"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom", "/proc/sysrq-trigger",
	"/proc/sys/fs/binfmt_misc/register", "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled",
	"/sys/fs/cgroup/release_agent", "/proc/irq/default_smp_affinity",
}

// kernelSettings opens them, and writes nothing.
func kernelSettings(string) (string, error) {
	var got []string
	last := errors.New("this kernel has none of them")
	for _, path := range settings {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			last = err
			continue
		}
		f.Close()
		got = append(got, path)
	}
	if len(got) > 0 {
		return "opened to write: " + strings.Join(got, ", "), nil
	}
	return "", last
}
