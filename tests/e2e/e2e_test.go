// Package e2e runs the real sbx binary, found on PATH, through one script per behaviour (testscript, *.txtar).
// It runs as the user that is to be tested: `make test` starts it as a user with sub-ids, as one without, and as root.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"sbx/host"
)

// TestScripts runs the scripts in this folder that name the user who runs them in their first line, such as
// `# vm root nosub`: every script runs as a user with sub-ids unless it says `nouser`, and as root or as a user
// without sub-ids where it says so. `vm` marks what depends on the kernel; `long` runs in `make test-all` alone.
func TestScripts(t *testing.T) {
	runScripts(t, ".")
}

// TestReal runs the scripts on real input: whole programs built inside the sandbox.
func TestReal(t *testing.T) {
	runScripts(t, "real")
}

// One after the other: what a script leaves behind is found among the children of this process.
func runScripts(t *testing.T, dir string) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	rememberChildren()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	me := whoAmI(t)
	for _, file := range files {
		tags := readTags(t, file)
		if !runsAs(tags, me) || !runsHere(tags) || slices.Contains(tags, "long") && os.Getenv("SBX_TEST_LONG") == "" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runScript(t, file, me) })
	}
}

// whoAmI is root, nosub (no line in /etc/subuid) or user.
func whoAmI(t *testing.T) string {
	if os.Getuid() == 0 {
		return "root"
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile("/etc/subuid")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		if strings.HasPrefix(line, u.Username+":") {
			return "user"
		}
	}
	return "nosub"
}

// readTags reads the first line; one that does not begin with a tag is a plain comment or command.
func readTags(t *testing.T, file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	words, isComment := strings.CutPrefix(first, "# ")
	tags := strings.Fields(words)
	if !isComment || len(tags) == 0 || !slices.Contains(knownTags, tags[0]) {
		return nil
	}
	for _, tag := range tags {
		if !slices.Contains(knownTags, tag) {
			t.Fatalf("%s: unknown tag %q in the first line", file, tag)
		}
	}
	return tags
}

var knownTags = []string{"vm", "guest", "session", "plain", "user", "nouser", "nosub", "root", "long"}

func runsAs(tags []string, me string) bool {
	if me == "user" {
		return !slices.Contains(tags, "nouser")
	}
	return slices.Contains(tags, me)
}

// runsHere knows whether this is the guest of tests/vm, which SBX_TEST_GUEST says: "vm" runs what depends on the kernel
// there, "guest" only what nowhere else can run, "all" everything. There a user has a login session or has none, and `session` and `plain` name one of the two.
func runsHere(tags []string) bool {
	where := os.Getenv("SBX_TEST_GUEST")
	inSession := os.Getenv("XDG_RUNTIME_DIR") != ""
	switch {
	case slices.Contains(tags, "session") && !inSession, slices.Contains(tags, "plain") && inSession:
		return false
	case slices.Contains(tags, "guest"):
		return where != ""
	}
	return where == "" || where == "all" || where == "vm" && slices.Contains(tags, "vm")
}

func runScript(t *testing.T, file, me string) {
	work, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	mounts := readMounts(t)
	t.Cleanup(func() {
		leakCheck(t, work, mounts)
		if err := removeAll(work); err != nil {
			t.Errorf("removing the script's folder: %v", err)
		}
	})
	// A script that hangs, or one whose leftovers hold its output open, ends here.
	watchdog := time.AfterFunc(timeFor(file), func() {
		for _, p := range descendants() {
			fmt.Printf("    script hangs, killing %d %s\n", p.pid, p.cmdline)
			unix.Kill(p.pid, unix.SIGKILL)
		}
		t.Error("the script took too long; its processes were killed")
	})
	defer watchdog.Stop()
	testscript.RunT(shim{t}, testscript.Params{
		Files:       []string{file},
		WorkdirRoot: work,
		Setup:       func(e *testscript.Env) error { return setUp(e, me) },
		Cmds:        commands,
		Condition:   func(cond string) (bool, error) { return condition(cond, me) },
	})
}

// timeFor is far more than a script needs.
func timeFor(file string) time.Duration {
	if strings.HasPrefix(file, "real/") || strings.HasSuffix(file, "_often.txtar") ||
		strings.HasSuffix(file, "_many_layers.txtar") {
		return slow(10 * time.Minute)
	}
	return slow(time.Minute)
}

// slow is d on a machine that is SBX_TEST_SLOW times slower than usual, as an emulated one is.
func slow(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv("SBX_TEST_SLOW")); err == nil && n > 1 {
		return d * time.Duration(n)
	}
	return d
}

// setUp gives each script a home and a project of its own; it starts in the project.
func setUp(e *testscript.Env, me string) error {
	home, project := filepath.Join(e.WorkDir, "home"), filepath.Join(e.WorkDir, "project")
	for _, dir := range []string{home, project} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	e.Cd = project
	e.Setenv("HOME", home)
	u, err := user.Current()
	if err != nil {
		return err
	}
	e.Setenv("USER", u.Username)
	e.Setenv("LANG", "C.UTF-8")
	e.Setenv("UID", fmt.Sprint(os.Getuid()))
	e.Setenv("GID", fmt.Sprint(os.Getgid()))
	e.Setenv("STAGE", os.Getenv("STAGE"))
	e.Setenv("DISPLAY_NUMBER", strconv.Itoa(100+os.Getpid()%10000))
	e.Setenv("PATIENCE", strconv.Itoa(int(patience().Seconds())))
	for _, name := range []string{"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"} {
		if v := os.Getenv(name); v != "" {
			e.Setenv(name, v)
		}
	}
	// A number of seconds that no other process sleeps: scripts find their own processes by it.
	e.Setenv("TOKEN", fmt.Sprintf("86400.%d%d", os.Getpid(), time.Now().UnixNano()%1e9))
	return nil
}

// condition knows who runs the script, and which attacks this machine lets through without a sandbox: only those
// have a control.
func condition(cond, me string) (bool, error) {
	switch cond {
	case "user", "nosub", "root":
		return cond == me, nil
	case "guest":
		return os.Getenv("SBX_TEST_GUEST") != "", nil
	case "limits":
		return host.Ask("cgroups").Status == host.OK && host.Ask("user-bus").Status == host.OK, nil
	case "i386":
		return exists("/proc/sys/abi/vsyscall32") || exists("/proc/sys/abi/ldt16"), nil
	case "io_uring":
		return readWord("/proc/sys/kernel/io_uring_disabled") == "0", nil
	case "userfaultfd":
		return exists("/proc/sys/vm/unprivileged_userfaultfd"), nil
	case "tiocsti":
		return readWord("/proc/sys/dev/tty/legacy_tiocsti") != "0", nil
	case "vsock":
		fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
		unix.Close(fd)
		return err == nil, nil
	case "scopes": // Landlock keeps abstract sockets apart: ABI 6, landlock(7)
		abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
		return errno == 0 && abi >= 6, nil
	case "piped": // cores go to a program: core(5)
		return strings.HasPrefix(readWord("/proc/sys/kernel/core_pattern"), "|"), nil
	case "binfmt": // a user namespace has its own handlers of programs: Linux 6.7
		return exec.Command("unshare", "-Urm", "mount", "-t", "binfmt_misc", "none", "/mnt").Run() == nil, nil
	case "gpu":
		return exists("/dev/dri") || exists("/dev/nvidiactl") || exists("/dev/kfd"), nil
	case "sysctl":
		return unix.Access("/proc/sys/kernel/core_pattern", unix.W_OK) == nil, nil
	case "key_quota":
		quota, err := strconv.Atoi(readWord("/proc/sys/kernel/keys/maxkeys"))
		return quota <= 250, err
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

func readWord(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A shim runs a script directly in the test that was made for it, without t.Parallel and without the verbose log.
type shim struct{ *testing.T }

func (s shim) Run(_ string, f func(testscript.T)) { f(s) }
func (shim) Parallel()                            {}
func (shim) Verbose() bool                        { return false }

// leakCheck holds the promise that nothing stays: no process, no file of sbx, no mount.
func leakCheck(t *testing.T, work string, mounts []string) {
	deadline := time.Now().Add(slow(5 * time.Second))
	for len(descendants()) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	for { // supervisors that ended have become this process's own
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
			break
		}
	}
	for _, p := range descendants() {
		t.Errorf("left running: %d %s (%s)", p.pid, p.comm, p.cmdline)
		unix.Kill(p.pid, unix.SIGKILL)
	}
	for _, dir := range []string{work, fmt.Sprintf("/run/user/%d/sbx", os.Getuid())} {
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && stateFile.MatchString(path) && !isUndoable(path) {
				t.Errorf("left on disk: %s", path)
			}
			return nil
		})
	}
	for _, m := range readMounts(t) {
		// On a machine in use others mount and unmount meanwhile; where CI=true nobody else does.
		ours := os.Getenv("CI") == "true" || strings.Contains(m, work) || strings.Contains(m, "sbx")
		if ours && !slices.Contains(mounts, m) {
			t.Errorf("left mounted: %s", m)
		}
	}
}

// stateFile matches what sbx writes below its state and runtime folders.
var stateFile = regexp.MustCompile(`/(\.local/state|run/user/\d+)/sbx/`)

// isUndoable tells what stays so that it can be undone: the journal of an apply that is done.
func isUndoable(path string) bool {
	before, after, ok := strings.Cut(path, "/sbx/applied/")
	id, _, _ := strings.Cut(after, "/")
	_, err := os.Stat(filepath.Join(before, "sbx/applied", id, "done.json"))
	return ok && err == nil
}

// readMounts lists the mounts of this machine.
func readMounts(t *testing.T) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// removeAll also removes folders that a script made unreadable.
func removeAll(dir string) error {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	if os.RemoveAll(dir) == nil {
		return nil
	}
	// Layers of images belong to sub-ids.
	out, err := exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
