package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moveMount clones a mount and attaches the clone elsewhere, without the options that it had: open_tree(2), move_mount(2).
func moveMount(string) (string, error) {
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		// The second call may be refused on its own account: it is asked for a mount that is there.
		err2 := unix.MoveMount(unix.AT_FDCWD, "/tmp", unix.AT_FDCWD, dir, 0)
		if err2 == nil {
			return "moved the mount /tmp", nil
		}
		return "", fmt.Errorf("open_tree: %w, move_mount: %w", err, err2)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return "", fmt.Errorf("move_mount: %w", err)
	}
	unix.Unmount(dir, unix.MNT_DETACH)
	return "attached a clone of /usr", nil
}

// pivotRoot is done in a process and, where that can be had, a mount namespace of its own: it changes everybody's root in one.
func pivotRoot(string) (string, error) { return alone("pivot-root") }

// pivotRootHere changes the root to a mount of its own, or to /tmp where that is one: pivot_root(2).
func pivotRootHere() (string, error) {
	runtime.LockOSThread()
	stopped := []error{unix.Unshare(unix.CLONE_NEWNS)}
	if dir, err := os.MkdirTemp("", "attack"); err == nil {
		defer os.Remove(dir)
		stopped = append(stopped, unix.Mount("none", dir, "tmpfs", 0, ""))
		if err := unix.PivotRoot(dir, dir); err == nil {
			unix.Unmount("/", unix.MNT_DETACH) // the root that was stays below
			return "changed the root to a tmpfs", nil
		} else {
			stopped = append(stopped, fmt.Errorf("pivot_root: %w", err))
		}
	}
	if err := unix.PivotRoot("/tmp", "/tmp"); err != nil {
		return "", errors.Join(append(stopped, fmt.Errorf("pivot_root to /tmp: %w", err))...)
	}
	return "changed the root to /tmp", nil
}

// leaveRoot is the old way out of a chroot, by an open descriptor of what lies above it, in a process of its own. It reads file.
func leaveRoot(file string) (string, error) { return alone("leave-root=" + file) }

func leaveRootHere(file string) (string, error) {
	above, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	if err := unix.Chroot(dir); err != nil {
		return "", fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Fchdir(above); err != nil {
		return "", fmt.Errorf("fchdir: %w", err)
	}
	return readFile("." + strings.Repeat("/..", 20) + file)
}

// joinByDescriptor enters a namespace by a descriptor that is open already: setns(2). It can be entered only where it is
// no user namespace: this program has threads.
func joinByDescriptor(number string) (string, error) {
	fd, err := strconv.Atoi(number)
	if err != nil {
		return "", err
	}
	runtime.LockOSThread()
	if err := unix.Setns(fd, 0); err != nil {
		return "", fmt.Errorf("setns: %w", err)
	}
	return "entered the namespace behind descriptor " + number, nil
}

// signalProcess asks whether it may send signals to a process, by a pidfd and by its number, and sends none.
func signalProcess(pid string) (string, error) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return "", err
	}
	fd, err := unix.PidfdOpen(n, 0)
	if err != nil {
		return "", fmt.Errorf("pidfd_open: %w, kill: %w", err, unix.Kill(n, 0))
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return "", fmt.Errorf("pidfd_send_signal: %w", err)
	}
	return "may send signals to " + pid, nil
}

// attachLoop makes a block device of a file: loop(4). Nothing is left attached.
func attachLoop(string) (string, error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("ioctl(LOOP_CTL_GET_FREE): %w", err)
	}
	device, err := unix.Open(fmt.Sprintf("/dev/loop%d", n), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening a loop device: %w", err)
	}
	defer unix.Close(device)
	file, err := os.CreateTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := file.Truncate(1 << 20); err != nil {
		return "", err
	}
	if err := unix.IoctlSetInt(device, unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		return "", fmt.Errorf("ioctl(LOOP_SET_FD): %w", err)
	}
	unix.IoctlSetInt(device, unix.LOOP_CLR_FD, 0)
	return fmt.Sprintf("attached a file to loop%d", n), nil
}

// runWindows executes a program of Windows, which the machine's binfmt_misc gives to a handler; the handler has it run
// outside of everything, over a socket of the host. What the program prints is the evidence.
func runWindows(program string) (string, error) {
	if program == "" {
		return "", errors.New("no program was named")
	}
	cmd := exec.Command(program)
	cmd.WaitDelay = time.Second
	end := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer end.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", program, err, strings.TrimSpace(string(out)))
	}
	return "ran " + program + ", which said: " + strings.TrimSpace(string(out)), nil
}
