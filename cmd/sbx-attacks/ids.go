package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// setUserIDs executes set-user-ID programs of the system, which wait for a password, and looks whose they are then.
func setUserIDs(string) (string, error) {
	last := errors.New("the system has none of them")
	for _, program := range []string{"/usr/bin/passwd", "/usr/bin/chsh", "/usr/bin/su"} {
		if _, err := os.Stat(program); err != nil {
			continue
		}
		ids, err := idsOf(program)
		if err != nil {
			last = err
			continue
		}
		if ids[0] != ids[1] {
			return fmt.Sprintf("%s runs as user %s", program, ids[1]), nil
		}
		last = fmt.Errorf("%s runs as whoever executes it", program)
	}
	return "", last
}

// idsOf is the line Uid of a program's /proc/PID/status, once it has executed: real and effective first.
func idsOf(program string) ([]string, error) {
	cmd := exec.Command(program)
	wait, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer wait.Close()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for range 3 { // it may give its rights up later
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			if ids, found := strings.CutPrefix(line, "Uid:"); found {
				if f := strings.Fields(ids); len(f) == 4 && f[0] != f[1] {
					return f, nil
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return []string{"", ""}, nil
}

// fileCapabilities gives a file capabilities that whoever executes it would have: capabilities(7).
func fileCapabilities(string) (string, error) {
	f, err := os.CreateTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// VFS_CAP_REVISION_2 and effective; CAP_SYS_ADMIN permitted.
	capability := []byte{1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Fsetxattr(int(f.Fd()), "security.capability", capability, 0); err != nil {
		return "", fmt.Errorf("setting security.capability: %w", err)
	}
	return "gave a file CAP_SYS_ADMIN", nil
}

// others are ids of the host: root, a daemon, the first users, nobody, and what lies beyond the usual ranges.
var others = []int{0, 1, 1000, 1001, 65534, 65535, 65536, 100000, 1 << 30}

// otherIDs becomes somebody else, and gives files away.
func otherIDs(string) (string, error) {
	f, err := os.CreateTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var got []string
	for _, id := range others {
		if id != os.Getuid() && f.Chown(id, -1) == nil {
			got = append(got, fmt.Sprintf("gave a file to %d", id))
		}
		if id != os.Getgid() && f.Chown(-1, id) == nil {
			got = append(got, fmt.Sprintf("gave a file to group %d", id))
		}
		// By the raw calls: those of the library would change all threads.
		if id != os.Getuid() {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(id), 0, 0); errno == 0 {
				if now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0); int(now) == id {
					got = append(got, fmt.Sprintf("became %d", id))
				}
				unix.RawSyscall(unix.SYS_SETFSUID, uintptr(os.Geteuid()), 0, 0)
			}
		}
	}
	if len(got) > 0 {
		return strings.Join(got, ", "), nil
	}
	return "", fmt.Errorf("none of %d other ids can be had, or given files", len(others))
}
