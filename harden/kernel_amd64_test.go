package harden

import (
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const x32Kernel = "a kernel with CONFIG_X86_X32_ABI"

// archAttempts are the ways round a filter that only x86 has.
var archAttempts = map[string]attempt{
	"x32 getpid":          {raw(x32Bit | unix.SYS_GETPID), unix.ENOSYS, x32Kernel},
	"x32 ioctl":           {raw(x32Bit|514, badFD), unix.ENOSYS, x32Kernel},
	"x32 without its bit": {raw(514, badFD), unix.ENOSYS, "a kernel before 5.4"},
	"i386 getpid":         {i386(20, 0), unix.ENOSYS, ""},
	"i386 unshare":        {i386(310, 0), unix.ENOSYS, ""},
}

var archHelpers = map[string]attempt{"i386 exit_group": {make: i386(252, 42)}}

// i386 makes a call through the 32-bit entry of the kernel. A Go function value is a pointer to a pointer to
// code, and Go passes the first two arguments in RAX and RBX and takes the result from RAX, which is how the
// entry wants them: so two instructions are the whole function.
func i386(nr, arg uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		code := []byte{
			0xcd, 0x80, // int $0x80
			0xc3, // ret
		}
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return asErrno(err)
		}
		copy(page, code)
		if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC); err != nil {
			return asErrno(err)
		}
		entry := &page[0]
		value := unsafe.Pointer(&entry)
		interrupt := *(*func(nr, arg uintptr) uintptr)(unsafe.Pointer(&value))
		if result := int32(interrupt(nr, arg)); result < 0 {
			return syscall.Errno(-result)
		}
		return 0
	}
}

// A 32-bit program whose exit were refused would spin or crash.
func TestForeignExitPasses(t *testing.T) {
	needUserNamespaces(t)
	err := child("i386 exit_group", "default").Run()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 42 {
		t.Errorf("%v, want status 42", err)
	}
}
