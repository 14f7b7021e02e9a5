package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// NoHelper is the error for a program of the host that was not found; Install(Name) is the command that mends it.
type NoHelper struct{ Name string }

func (e NoHelper) Error() string {
	return fmt.Sprintf("looking for the program %s: not in the system folders, or not root's alone to write", e.Name)
}

// systemFolders are all places of helpers; the last two are those of NixOS. PATH is not asked: `source
// .venv/bin/activate` puts a folder of the project there, where an earlier sandbox could leave a newuidmap of its own,
// which the host would then execute.
var systemFolders = []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin",
	"/run/wrappers/bin", "/run/current-system/sw/bin"}

// FindHelper finds a program of the host, such as newuidmap, that may be executed outside of a sandbox: in the system
// folders alone, and only a file that nobody but root can have put there or changed.
func FindHelper(name string) (string, error) { return findIn(systemFolders, name) }

func findIn(folders []string, name string) (string, error) {
	if name != filepath.Base(name) {
		return "", NoHelper{name}
	}
	for _, dir := range folders {
		if p := filepath.Join(dir, name); executable(p) && trusted(p) {
			return p, nil
		}
	}
	return "", NoHelper{name}
}

// Which finds a command in the absolute folders of the caller's PATH, as a shell would. It is for telling where a
// command is and never for executing what it found: PATH may lead into a hostile project.
func Which(command string) (string, error) {
	if command != "" && command == filepath.Base(command) {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if p := filepath.Join(dir, command); filepath.IsAbs(dir) && executable(p) {
				return p, nil
			}
		}
	}
	return "", &exec.Error{Name: command, Err: exec.ErrNotFound}
}

func executable(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(path, unix.X_OK) == nil
}

// linkLimit is the kernel's own, of path_resolution(7).
const linkLimit = 40

// trusted walks an absolute path as the kernel does, links included, and reports whether all that it passes, from / to
// the file, is root's alone.
func trusted(path string) bool {
	var st unix.Stat_t
	if unix.Lstat("/", &st) != nil || !rootsAlone(&st) {
		return false
	}
	at, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0]) // at holds no links, so that .. means what it says
		rest = rest[1:]
		if unix.Lstat(next, &st) != nil || !rootsAlone(&st) {
			return false
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > linkLimit {
			return false
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return true
}

// rootsAlone: root owns it and nobody else can write to it. A link has no mode of its own. In a folder with the sticky
// bit, such as /nix/store, others can add names and neither rename nor remove those of root.
func rootsAlone(st *unix.Stat_t) bool {
	kind := st.Mode & unix.S_IFMT
	shut := st.Mode&0o022 == 0 || kind == unix.S_IFLNK || kind == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
	return (st.Uid == 0 || st.Uid == overflowUID && hidesRoot()) && shut
}

// overflowUID is what an id shows as that the user namespace does not map: user_namespaces(7).
const overflowUID = 65534

// hidesRoot tells whether this is a user namespace in which the system's root shows as the overflow id.
var hidesRoot = sync.OnceValue(func() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(data))
	return err == nil && !(len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295")
})
