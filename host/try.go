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

// cleanEnv keeps the texts of programs in English, and their behaviour free of the caller's settings: LD_LIBRARY_PATH
// may lead into a hostile project as PATH may.
func cleanEnv() []string { return []string{"PATH=" + strings.Join(systemFolders, ":"), "LC_ALL=C"} }

// helper is the command of a program that FindHelper found.
func helper(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = cleanEnv(), "/", time.Second
	return cmd
}

// tryInside runs a program of the host in new namespaces, or in none for no flags, and gives the telling line of its
// output. With a user namespace the caller is root in it, by a map of its own id alone, which needs no helper.
func tryInside(flags uintptr, name string, args ...string) (said string, err error) {
	path, err := FindHelper(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryLimit)
	defer cancel()
	cmd := helper(ctx, path, args...)
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
