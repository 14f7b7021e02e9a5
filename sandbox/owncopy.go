package sandbox

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What is executed inside is executed by a process that was this program until then. A command that is a script for
// the interpreter /proc/self/exe would be this very program, and whoever looks at it by /proc/PID/exe holds a file of
// the host, to change its mode or, by kernels that do not refuse it, its content: CVE-2019-5736. Landlock's rules for files
// refuse to execute it. Where there are none the supervisor is a sealed copy of sbx in memory from the start on, and that is
// all a payload gets.

// copyMark begins the name of such a copy, which goes on with the path of what was copied: memfd_create(2).
const copyMark = "/memfd:"

// BecomeCopy makes this process, which is about to start the sandbox, such a copy, where that is needed and it is
// none yet: the program begins anew, with the descriptors that are handed in, and with more flags to its verb. It returns if
// it need not.
func (s *Spec) BecomeCopy(prepared *Prepared, handed []*os.File, flags ...string) error {
	if !s.needsCopy() {
		return nil
	}
	if isCopy() {
		return os.WriteFile("/proc/self/comm", []byte("sbx"), 0)
	}
	program, err := copyOfSelf()
	if err != nil {
		return err
	}
	defer program.Close()
	prepared.Discard()
	for _, f := range handed {
		control(f, func(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) })
	}
	args := slices.Insert(slices.Clone(os.Args), min(2, len(os.Args)), flags...)
	return fmt.Errorf("executing a copy of sbx: %w", syscall.Exec(pathOf(program), args, os.Environ()))
}

func (s *Spec) needsCopy() bool { return s.Harden.Landlock.Files == 0 && !leftOut(copyWall) }

// supervisor is the program that Detach starts, by a path that a child finds it at.
func (s *Spec) supervisor() (path string, done func(), err error) {
	if !s.needsCopy() || isCopy() {
		return "/proc/self/exe", func() {}, nil
	}
	program, err := copyOfSelf()
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program.Fd()), func() { program.Close() }, nil
}

func pathOf(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func isCopy() bool {
	own, err := os.Readlink("/proc/self/exe")
	return err == nil && strings.HasPrefix(own, copyMark)
}

// OwnPath is where this program lies on disk.
func OwnPath() (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	return strings.TrimPrefix(own, copyMark), nil
}

// longestCopied is how long a path may be to be the name of a file in memory: memfd_create(2).
const longestCopied = 249

// copyOfSelf is a file in memory that nobody can write to, open to read.
func copyOfSelf() (*os.File, error) {
	path, err := OwnPath()
	if err != nil {
		return nil, err
	}
	if len(path) > longestCopied {
		return nil, &UsageError{fmt.Sprintf("the path of sbx itself is longer than %d bytes, and a sandbox without Landlock's rules for files takes a copy of it", longestCopied),
			"install sbx at a shorter one"}
	}
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("copying sbx to memory: %w", err)
	}
	defer own.Close()
	written, err := programInMemory(path)
	if err != nil {
		return nil, fmt.Errorf("copying sbx to memory: %w", err)
	}
	defer written.Close() // what is open to be written is not executed
	if _, err := io.Copy(written, own); err != nil {
		return nil, fmt.Errorf("copying sbx to memory: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(written.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("sealing a copy of sbx: %w", err)
	}
	return os.Open(pathOf(written))
}

// programInMemory is an empty file that may be executed. Kernels before 6.3 do not know the flag, and need none.
func programInMemory(name string) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err == unix.EACCES { // sysctl vm.memfd_noexec
		return nil, &UsageError{"a sandbox without Landlock's rules for files takes a copy of sbx in memory, and this machine executes none",
			"as root: sysctl -w vm.memfd_noexec=1"}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
