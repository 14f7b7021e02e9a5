package host

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// NoHelper is the error for a program of the host that was not found; Install(Name) is the command that mends it.
type NoHelper struct{ Name string }

func (e NoHelper) Error() string {
	return fmt.Sprintf("looking for the program %s: not in PATH nor in the system folders", e.Name)
}

// systemFolders are asked after PATH: cron and su often leave out the sbin folders, where some distributions keep
// helpers, and a PATH emptied by hand must not cost the sub-ids.
var systemFolders = []string{"/usr/bin", "/usr/sbin", "/bin", "/usr/local/bin"}

// FindHelper finds a program of the host, such as newuidmap, in PATH and then in the system folders. Relative folders
// in PATH are passed over: they may lie in a hostile project.
func FindHelper(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), systemFolders...) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if p := filepath.Join(dir, name); executable(p) {
			return p, nil
		}
	}
	return "", NoHelper{name}
}

func executable(path string) bool {
	var st unix.Stat_t
	return unix.Access(path, unix.X_OK) == nil && unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}
