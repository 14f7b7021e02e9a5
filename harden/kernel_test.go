package harden

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The attacks below run in a child of their own, since a filter cannot be taken off: this test binary again,
// with -attempt. The child is root in a fresh user namespace, as a payload is at its strongest, and leads a
// session, so that it has a terminal to attack.
var (
	attemptFlag = flag.String("attempt", "", "make this attempt and print its errno (the test starts itself so)")
	wallFlag    = flag.String("wall", "none", "the filter under which to make it: none, default or marked")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *attemptFlag == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if err := raise(*wallFlag); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("errno", int(everyAttempt()[*attemptFlag].make()))
}

// marker is an errno that none of the attempts gets from the kernel. Under the wall `marked` the filter
// answers with it wherever it refuses, which proves whose answer it is, even where the kernel alone would
// give the same errno.
const marker = unix.EXFULL

// allowAll is a whole filter. What it costs is what any filter costs: the kernel's way to it.
var allowAll = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}

// blind is a policy's program that looks at an argument first, so that the kernel can answer no call ahead.
func blind(p Policy) ([]unix.SockFilter, error) {
	filter, err := Compile(p, HostArch())
	return append([]unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offArgs}}, filter...), err
}

// walls are the programs that an attempt is made under.
var walls = map[string]func() ([]unix.SockFilter, error){
	"none":    func() ([]unix.SockFilter, error) { return nil, nil },
	"open":    func() ([]unix.SockFilter, error) { return []unix.SockFilter{allowAll}, nil },
	"blind":   func() ([]unix.SockFilter, error) { return blind(Default()) },
	"default": func() ([]unix.SockFilter, error) { return Compile(Default(), HostArch()) },
	"marked": func() ([]unix.SockFilter, error) {
		p := Default()
		p.Default = Action(marker)
		for i := range p.Rules {
			if p.Rules[i].Action != Allow {
				p.Rules[i].Action = Action(marker)
			}
		}
		return compile(p, HostArch(), Action(marker))
	},
}

// raise loads a filter into all threads of this process, as a plan does into its only one.
func raise(wall string) error {
	filter, err := walls[wall]()
	if err != nil || len(filter) == 0 {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("loading the filter: %w", errno)
	}
	return nil
}

// An attempt is one call with the answer that the filter is to give. Its control is the same call without the
// filter, which has to answer otherwise, unless needs says what the caller or the kernel lacks for that.
type attempt struct {
	make  func() syscall.Errno
	want  syscall.Errno
	needs string
}

// everyAttempt is those of all machines, those of this one, and what other tests start.
func everyAttempt() map[string]attempt {
	out := map[string]attempt{"shell": {make: shell}, "cost": {make: cost}}
	maps.Copy(out, attempts)
	maps.Copy(out, archAttempts)
	maps.Copy(out, archHelpers)
	return out
}

// raw makes a system call of which only the errno matters.
func raw(nr uintptr, args ...uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return errno
	}
}

const (
	all     = ^uintptr(0)
	badFD   = all
	invalid = all // flags that no call knows

	userModeOnly = 1 // UFFD_USER_MODE_ONLY, include/uapi/linux/userfaultfd.h
)

// attempts that are refused, then those that have to go on working (want 0).
var attempts = map[string]attempt{
	"unshare user":         {startWith(&syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWUSER}), unix.EPERM, ""},
	"unshare mount":        {startWith(&syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}), unix.EPERM, ""},
	"unshare empty mounts": {raw(unix.SYS_UNSHARE, 0x100000), unix.EPERM, ""},
	"unshare time":         {raw(unix.SYS_UNSHARE, unix.CLONE_NEWTIME), unix.EPERM, ""},
	"clone user":           {startWith(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}), unix.EPERM, ""},
	"clone net":            {startWith(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}), unix.EPERM, ""},
	"clone3":               {raw(unix.SYS_CLONE3, 0, 0), unix.ENOSYS, ""},
	"setns":                {raw(unix.SYS_SETNS, badFD, 0), unix.EPERM, ""},
	"mount":                {mountTmpfs, unix.EPERM, ""},
	"umount2":              {raw(unix.SYS_UMOUNT2, 0, invalid), unix.EPERM, ""},
	"pivot_root":           {raw(unix.SYS_PIVOT_ROOT, 0, 0), unix.EPERM, ""},
	"open_tree":            {raw(unix.SYS_OPEN_TREE, badFD, 0, invalid), unix.EPERM, ""},
	"move_mount":           {raw(unix.SYS_MOVE_MOUNT, badFD, 0, badFD, 0, invalid), unix.EPERM, ""},
	"fsopen":               {raw(unix.SYS_FSOPEN, 0, invalid), unix.EPERM, ""},
	"fsconfig":             {raw(unix.SYS_FSCONFIG, badFD, invalid), unix.EPERM, ""},
	"fsmount":              {raw(unix.SYS_FSMOUNT, badFD, invalid), unix.EPERM, ""},
	"fspick":               {raw(unix.SYS_FSPICK, badFD, 0, invalid), unix.EPERM, ""},
	"mount_setattr":        {raw(unix.SYS_MOUNT_SETATTR, badFD, 0, invalid), unix.EPERM, ""},
	"open_tree_attr":       {raw(unix.SYS_OPEN_TREE_ATTR, badFD, 0, invalid), unix.EPERM, ""},
	"add_key":              {raw(unix.SYS_ADD_KEY), unix.EPERM, ""},
	"request_key":          {raw(unix.SYS_REQUEST_KEY), unix.EPERM, ""},
	"keyctl":               {raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, all-2, 0), unix.EPERM, ""}, // the session's
	"io_uring_setup":       {raw(unix.SYS_IO_URING_SETUP, 1, 0), unix.EPERM, "kernel.io_uring_disabled=0"},
	"io_uring_enter":       {raw(unix.SYS_IO_URING_ENTER, badFD), unix.EPERM, ""},
	"io_uring_register":    {raw(unix.SYS_IO_URING_REGISTER, badFD), unix.EPERM, ""},
	"bpf":                  {raw(unix.SYS_BPF, 0, 0, 1<<20), unix.EPERM, ""}, // E2BIG comes before privilege
	"perf_event_open":      {raw(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, invalid), unix.EPERM, ""},
	"userfaultfd":          {raw(unix.SYS_USERFAULTFD, userModeOnly), unix.EPERM, ""},
	"kexec_load":           {raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, invalid), unix.EPERM, "CAP_SYS_BOOT on the host"},
	"kexec_file_load":      {raw(unix.SYS_KEXEC_FILE_LOAD, badFD, badFD, 0, 0, invalid), unix.EPERM, "CAP_SYS_BOOT on the host"},
	"init_module":          {raw(unix.SYS_INIT_MODULE), unix.EPERM, "CAP_SYS_MODULE on the host"},
	"finit_module":         {raw(unix.SYS_FINIT_MODULE, badFD), unix.EPERM, "CAP_SYS_MODULE on the host"},
	"delete_module":        {raw(unix.SYS_DELETE_MODULE), unix.EPERM, "CAP_SYS_MODULE on the host"},
	"TIOCSTI":              {onTerminal(unix.TIOCSTI), unix.EPERM, ""},
	"TIOCSTI, high bit":    {onTerminal(1<<32 | unix.TIOCSTI), unix.EPERM, ""},
	"TIOCLINUX":            {onTerminal(unix.TIOCLINUX), unix.EPERM, ""},
	"TIOCLINUX, high bits": {onTerminal(0xffffffff<<32 | unix.TIOCLINUX), unix.EPERM, ""},

	"TIOCSETD":             {onTerminal(unix.TIOCSETD), unix.EPERM, ""},
	"process_vm_readv":     {raw(unix.SYS_PROCESS_VM_READV, 0, 0, 0, 0, 0, invalid), unix.EPERM, ""},
	"process_vm_writev":    {raw(unix.SYS_PROCESS_VM_WRITEV, 0, 0, 0, 0, 0, invalid), unix.EPERM, ""},
	"pidfd_getfd":          {raw(unix.SYS_PIDFD_GETFD, badFD, 0, invalid), unix.EPERM, ""},
	"kcmp":                 {raw(unix.SYS_KCMP, 1<<30, 1<<30), unix.EPERM, ""},
	"name_to_handle_at":    {raw(unix.SYS_NAME_TO_HANDLE_AT, badFD, 0, 0, 0, invalid), unix.EPERM, ""},
	"open_by_handle_at":    {raw(unix.SYS_OPEN_BY_HANDLE_AT, badFD), unix.EPERM, "CAP_DAC_READ_SEARCH on the host"},
	"clock_settime":        {raw(unix.SYS_CLOCK_SETTIME, 1<<20), unix.EPERM, ""},
	"settimeofday":         {raw(unix.SYS_SETTIMEOFDAY), unix.EPERM, "CAP_SYS_TIME on the host"},
	"fanotify_init":        {raw(unix.SYS_FANOTIFY_INIT, invalid), unix.EPERM, "CAP_SYS_ADMIN on the host"},
	"reading is executing": {raw(unix.SYS_PERSONALITY, 0x0400000), unix.EPERM, ""},
	"AF_ALG":               {raw(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET), unix.EAFNOSUPPORT, "the kernel's AF_ALG"},
	"AF_PACKET":            {raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW), unix.EAFNOSUPPORT, ""},
	"SOCK_PACKET":          {raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_PACKET), unix.EPERM, "CAP_NET_RAW over the network"},
	"netlink to netfilter": {raw(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), unix.EPROTONOSUPPORT, "the kernel's nfnetlink"},
	"a call to come":       {raw(510), unix.ENOSYS, "a younger kernel"},

	"unshare nothing":   {raw(unix.SYS_UNSHARE, 0), 0, ""},
	"netlink to routes": {raw(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), 0, ""},
	"no randomization":  {raw(unix.SYS_PERSONALITY, 0x0040000), 0, ""},
	"unshare files":     {raw(unix.SYS_UNSHARE, unix.CLONE_FS|unix.CLONE_FILES), 0, ""},
	"getpid":            {raw(unix.SYS_GETPID), 0, ""},
	"fork and exec":     {startWith(&syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}), 0, ""},
	"terminal":          {onTerminal(unix.TIOCGWINSZ), 0, ""},
	"traced child":      {startWith(&syscall.SysProcAttr{Ptrace: true}), 0, ""},
	"a session, a tty":  {ownTerminal, 0, ""},
	"seccomp once more": {func() syscall.Errno { return asErrno(raise("default")) }, 0, ""},
}

// startWith starts a shell that ends at once. Unlike this program, the child that calls clone and unshare has
// one thread, so both can succeed.
func startWith(attr *syscall.SysProcAttr) func() syscall.Errno {
	return func() syscall.Errno {
		cmd := exec.Command("/bin/sh", "-c", ":")
		cmd.SysProcAttr = attr
		if err := cmd.Start(); err != nil {
			return asErrno(err)
		}
		if attr.Ptrace {
			cmd.Process.Kill()
		}
		cmd.Wait()
		return 0
	}
}

func asErrno(err error) syscall.Errno {
	for err != nil {
		if errno, ok := err.(syscall.Errno); ok {
			return errno
		}
		wrapped, ok := err.(interface{ Unwrap() error })
		if !ok {
			return unix.EIO
		}
		err = wrapped.Unwrap()
	}
	return 0
}

func mountTmpfs() syscall.Errno { return asErrno(unix.Mount("none", "/tmp", "tmpfs", 0, "")) }

// openTerminal gives the far end of a new pty. The child leads a session without a terminal, so the pty becomes
// its own: TIOCSTI on another's needs privilege. Nothing is closed, since a hangup would end the child.
func openTerminal() (slave int, err error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	slave, err = unix.Open("/dev/pts/"+strconv.Itoa(number), unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	return slave, unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0)
}

func ownTerminal() syscall.Errno {
	_, err := openTerminal()
	return asErrno(err)
}

func onTerminal(request uintptr) func() syscall.Errno {
	return func() syscall.Errno {
		slave, err := openTerminal()
		if err != nil {
			return asErrno(err)
		}
		typed := [64]byte{'x'}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(slave), request, uintptr(unsafe.Pointer(&typed)))
		return errno
	}
}

func TestFilterInTheKernel(t *testing.T) {
	needUserNamespaces(t)
	for _, set := range []map[string]attempt{attempts, archAttempts} {
		for name, a := range set {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if got := try(t, name, "default"); got != a.want {
					t.Fatalf("%v, want %v", got, a.want)
				}
				compareControls(t, name, a)
			})
		}
	}
}

// compareControls makes the attempt without the filter, and with one that answers otherwise.
func compareControls(t *testing.T, name string, a attempt) {
	t.Helper()
	control := try(t, name, "none")
	if a.want == 0 {
		if control != 0 {
			t.Errorf("does not work without the filter either: %v", control)
		}
		return
	}
	if got := try(t, name, "marked"); got != marker {
		t.Errorf("the answer is not the filter's: %v", got)
	}
	switch {
	case control == a.want && a.needs == "":
		t.Errorf("without the filter it is %v as well", control)
	case control == a.want:
		t.Logf("without the filter it is %v as well (needs %s); the marked filter proves it", control, a.needs)
	}
}

// needUserNamespaces fails where the kernel makes none for this user: the filter could not be seen to refuse anything,
// and sbx could not run there either.
func needUserNamespaces(t *testing.T) {
	t.Helper()
	cmd := child("getpid", "none")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("this user cannot make user namespaces: %v %s", err, out)
	}
}

// try makes an attempt in a child and reads the errno that it printed.
func try(t *testing.T, name, wall string) syscall.Errno {
	t.Helper()
	out, err := child(name, wall).CombinedOutput()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) != 2 || fields[0] != "errno" {
		t.Fatalf("under %s: %v: %s", wall, err, out)
	}
	errno, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Errno(errno)
}

func child(name, wall string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-attempt="+name, "-wall="+wall)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// Toolchains run threads, pipes and children under the filter; programs that are not here are left out.
func TestToolsUnderTheFilter(t *testing.T) {
	needUserNamespaces(t)
	for name, line := range map[string]string{
		"sh":      `test "$(printf 'a\nb\n' | while read x; do echo "$x" | cat; done | wc -l)" = 2`,
		"python3": `python3 -c 'import threading, subprocess, os, pty; t = threading.Thread(target=subprocess.check_call, args=(["true"],)); t.start(); t.join(); pty.openpty()'`,
		"git":     `cd "$(mktemp -d)" && git init -q . && git -c user.name=x -c user.email=x@x commit -q --allow-empty -m x && rm -r "$PWD"`,
		"gcc":     `echo 'int main(void){return 0;}' | gcc -pipe -x c -o /dev/null -`,
		"bash":    `bash -c 'cat <(echo x) | grep -q x & wait $!'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(name); err != nil {
				t.Fatal("not installed; tests/setup.sh prepare installs it")
			}
			cmd := child("shell", "default")
			cmd.Stdin = strings.NewReader(line)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, &out)
			}
		})
	}
}

// BenchmarkCalls is what calls cost, in ns, under filters: none; one that allows all; the default; and the default where the kernel
// cannot answer ahead. A call that the kernel answers ahead costs under the default what it costs under the one that
// allows all. The least of many short rounds is taken: other processes and the hypervisor only add.
func BenchmarkCalls(b *testing.B) {
	for _, wall := range []string{"none", "open", "default", "blind"} {
		out, err := child("cost", wall).Output()
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] != "errno" {
				b.Run(f[0]+"/"+wall, func(b *testing.B) {
					ns, _ := strconv.ParseFloat(f[1], 64)
					b.ReportMetric(ns, "ns/call")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// cost prints what some calls cost: one that only counts, a read, and three whose arguments a filter may look at.
func cost() syscall.Errno {
	zero, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	if err != nil {
		return asErrno(err)
	}
	var one [1]byte
	for _, c := range []struct {
		name string
		nr   uintptr
		a    [3]uintptr
	}{
		{"getppid", unix.SYS_GETPPID, [3]uintptr{}},
		{"read", unix.SYS_READ, [3]uintptr{uintptr(zero), uintptr(unsafe.Pointer(&one)), 1}},
		{"ioctl", unix.SYS_IOCTL, [3]uintptr{badFD, unix.TIOCGWINSZ}},
		{"socket", unix.SYS_SOCKET, [3]uintptr{unix.AF_UNIX, invalid}},
		{"unshare", unix.SYS_UNSHARE, [3]uintptr{}},
	} {
		fmt.Println(c.name, leastOf(c.nr, c.a))
	}
	return 0
}

func leastOf(nr uintptr, a [3]uintptr) float64 {
	const rounds, calls = 300, 2000
	least := time.Hour
	for range rounds {
		began := time.Now()
		for range calls {
			unix.RawSyscall(nr, a[0], a[1], a[2])
		}
		least = min(least, time.Since(began))
	}
	return float64(least.Nanoseconds()) / calls
}

// shell runs the line on stdin in this process' place.
func shell() syscall.Errno {
	line, err := io.ReadAll(os.Stdin)
	if err != nil {
		return asErrno(err)
	}
	return asErrno(unix.Exec("/bin/sh", []string{"sh", "-e", "-c", string(line)}, os.Environ()))
}
