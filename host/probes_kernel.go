package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The probes about system calls and file systems.
var (
	KernelVersion  = &Probe{Name: "kernel", What: "kernel version", Required: true, run: probeKernel}
	MountSetattr   = &Probe{Name: "mount-setattr", What: "mount_setattr (5.12)", run: probeMountSetattr}
	CloseRange     = &Probe{Name: "close-range", What: "close_range (5.9)", Required: true, run: probeCloseRange}
	Openat2        = &Probe{Name: "openat2", What: "openat2 (5.6)", Required: true, run: probeOpenat2}
	NewMountAPI    = &Probe{Name: "new-mount-api", What: "fsopen, open_tree, move_mount (5.2)", Required: true, run: probeNewMountAPI}
	TimeNamespace  = &Probe{Name: "time-namespace", What: "time namespaces (5.6)", run: probeTimeNamespace}
	FreshProc      = &Probe{Name: "fresh-proc", What: "a fresh proc in a user namespace", run: probeFreshProc}
	Overlay        = &Probe{Name: "overlay", What: "overlay in a user namespace (5.11)", run: probeOverlay}
	RootFilesystem = &Probe{Name: "root-filesystem", What: "the root filesystem", Required: true, run: probeRoot}
	// HiddenProcesses asks how /proc is mounted.
	HiddenProcesses = &Probe{Name: "hidepid", What: "hidepid on /proc", run: probeHidepid}
)

// oldest is the first kernel with all that has no fallback in sbx: the new mount API is of 5.2, openat2 of 5.6,
// close_range of 5.9.
const oldestMajor, oldestMinor = 5, 9

func probeKernel(e *Env) Finding {
	release, there := e.text("/proc/sys/kernel/osrelease")
	major, minor := kernelNumbers(release)
	switch {
	case !there || major == 0:
		return unknown(release, "the other rows say what works")
	case major < oldestMajor || major == oldestMajor && minor < oldestMinor:
		return missing(release, fmt.Sprintf("sbx needs %d.%d", oldestMajor, oldestMinor), "")
	case major == 5 && minor < 12:
		return weaker(release, "sbx works by its fallbacks; from 5.12 on it needs none", "")
	}
	return ok(release, "new enough for all that sbx does")
}

// absent tells a system call that the kernel lacks from one that looked at its arguments and refused them. ENOSYS is
// also what seccomp filters of containers answer for calls that they do not know.
func absent(err error) bool { return errors.Is(err, unix.ENOSYS) }

func probeMountSetattr(*Env) Finding {
	if absent(unix.MountSetattr(-1, "", 0, &unix.MountAttr{})) {
		return weaker("absent", "read-only trees are made mount by mount, which is slower", "")
	}
	return ok("present", "whole trees become read-only in one step")
}

// probeCloseRange closes nothing: no descriptor has the highest number.
func probeCloseRange(*Env) Finding {
	if err := unix.CloseRange(0xffffffff, 0xffffffff, 0); err != nil {
		return missing(err.Error(), "descriptors of the host could reach a sandbox, so none is started", "")
	}
	return ok("present", "no descriptor of the host reaches a sandbox")
}

func probeOpenat2(*Env) Finding {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return missing(err.Error(), "a symlink could lead out of a sandbox's root, so none is started", "")
	}
	unix.Close(fd)
	return ok("present", "paths are opened without following symlinks out of a root")
}

func probeNewMountAPI(*Env) Finding {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	if absent(err) {
		return missing("absent", "mounts are made by descriptor, and cannot be here", "")
	}
	return ok("present", "mounts can be made by descriptor")
}

func probeTimeNamespace(e *Env) Finding {
	if !e.exists("/proc/self/ns/time") {
		return weaker("absent", "[root] boottime = \"zero\" cannot be had", "")
	}
	return ok("present", "[root] boottime = \"zero\" works")
}

const ownProc = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

func probeFreshProc(e *Env) Finding {
	said, err := tryInside(ownProc, "mount", "-t", "proc", "proc", "/proc")
	if err != nil {
		return refused(e, StepProc, said, err, "sandboxes get level outer-proc: names of outer processes show").softened()
	}
	return ok("mounted one", "a sandbox sees its own processes alone")
}

// probeOverlay tries with the folder where sbx keeps uppers: what a file system can carry differs from one to the next.
func probeOverlay(e *Env) Finding {
	dir, err := overlayFolders()
	if err != nil {
		return unknown(err.Error(), "no folder to try it in")
	}
	defer os.RemoveAll(dir)
	opts := "userxattr,lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	said, err := tryInside(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, "mount", "-t", "overlay", "-o", opts, "overlay", dir+"/on")
	if err != nil {
		return refused(e, StepOverlay, said, err, "review, images and kept changes use fuse-overlayfs, which is slower").softened()
	}
	return ok("mounted one, with userxattr", "review, images and kept changes are as fast as the kernel")
}

func overlayFolders() (string, error) {
	dir, err := os.MkdirTemp(stateFolder(), "sbx-probe-")
	for _, name := range []string{"lower", "upper", "work", "on"} {
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, name), 0o700)
		}
	}
	return dir, err
}

// stateFolder is $XDG_STATE_HOME or its default where that exists already: a probe makes no folders in a home.
func stateFolder() string {
	who, _ := User()
	for _, dir := range []string{os.Getenv("XDG_STATE_HOME"), filepath.Join(who.Home, ".local/state")} {
		if filepath.IsAbs(dir) && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return os.TempDir()
}

func probeRoot(e *Env) Finding {
	root, found := rootMount(e)
	switch {
	case rootIsInitramfs(e):
		return missing("rootfs, an initramfs", "pivot_root is impossible, and sbx refuses to start: a chroot could be left again by whoever has CAP_SYS_CHROOT", "")
	case chrooted(e):
		return missing("a chroot", "the kernel makes no user namespaces from inside a chroot", "")
	case !found:
		return unknown("mountinfo shows no root", "whether pivot_root works is seen at the first start")
	}
	return ok(root.Type, "pivot_root works")
}

func probeHidepid(e *Env) Finding {
	mode := hidepidOf(e.mounts())
	if mode == "off" {
		return ok(mode, "the host's processes can be listed")
	}
	return weaker(mode, "the host hides processes of others, and the kernel may refuse a sandbox a fresh proc", e.asRoot("mount -o remount,hidepid=0 /proc"))
}

// landlockABI asks landlock_create_ruleset(2) for its version.
func landlockABI() (int, error) {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(nil)), 0, version)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// words splits a list of a kernel file.
func words(e *Env, name string) []string {
	s, _ := e.text(name)
	return strings.Fields(s)
}
