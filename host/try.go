package host

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tryLimit ends a program that hangs: a dead network mount or a stuck FUSE server must not hang doctor.
const tryLimit = 5 * time.Second

// cleanEnv keeps the texts of programs in English, and their behaviour free of the caller's settings.
var cleanEnv = []string{"PATH=/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin", "LC_ALL=C"}

// tryInside runs a program of the host in new namespaces, or in none for no flags, and gives the telling line of its
// output. With a user namespace the caller is root in it, by a map of its own id alone, which needs no helper.
func tryInside(flags uintptr, name string, args ...string) (said string, err error) {
	path, err := FindHelper(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = cleanEnv
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	return tellingLine(out, name), err
}

// tellingLine is the line in which a program tells its version, since some warn before they answer or tell those of
// their libraries as well, or else just the first.
func tellingLine(out []byte, program string) (line string) {
	for l := range strings.Lines(strings.TrimSpace(string(out))) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, program) && strings.Contains(l, "version") {
			return l
		}
		if line == "" {
			line = l
		}
	}
	return line
}

// whatFailed prefers what the program said to its bare exit status.
func whatFailed(said string, err error) string {
	if said != "" {
		return said
	}
	return err.Error()
}
