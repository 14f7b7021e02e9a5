package profiles

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// ProjectFile is the name of the profile that a project carries.
const ProjectFile = "sbx.toml"

// Project is the folder that a run is about.
type Project struct {
	Dir       string // absolute, symlinks resolved
	HasFile   bool   // an sbx.toml lies in Dir and may be read
	HoldsHome bool   // Dir is a home, / or another folder above a home: no project to write to
	System    bool   // Dir is a folder of the system's own, such as /etc or /tmp: no project to write to
	Kernel    bool   // Dir lies in /proc, /sys or /dev: no project to show at all
	Skipped   string // an sbx.toml, .git or folder that ended the search since another user owns it
	// Outer are the folders above Dir with an sbx.toml that this one's extends, from the nearest up.
	Outer []string
}

// File is the path of the project's profile, "" without one.
func (p Project) File() string {
	if !p.HasFile {
		return ""
	}
	return filepath.Join(p.Dir, ProjectFile)
}

// FindProject finds the nearest folder upwards from cwd with an sbx.toml or a
// .git, else cwd. The search stops below each of homes, at a mount point, and
// at a folder or file that another user owns: a shared folder's owner must not
// get to say what the project is. Homes are what $HOME says and what passwd
// says: by the first alone, HOME=/tmp would make the other a project.
func FindProject(cwd string, homes ...string) (Project, error) {
	dir, err := realDir(cwd)
	if err != nil {
		return Project{}, fmt.Errorf("finding the project of %q: %w", cwd, err)
	}
	homes = realHomes(homes)
	p := search(dir, homes)
	if p.HasFile {
		p.Outer = outer(p.Dir, homes)
	}
	p.HoldsHome = p.Dir == "/" || slices.ContainsFunc(homes, func(home string) bool { return within(home, p.Dir) })
	p.System = slices.Contains(systemPlaces, p.Dir)
	p.Kernel = ofKernel(p.Dir)
	return p, nil
}

// realHomes leaves out what is no absolute path: a relative one would mean
// another home with each working folder.
func realHomes(homes []string) (real []string) {
	for _, home := range homes {
		if !filepath.IsAbs(home) {
			continue
		}
		home = filepath.Clean(home)
		if r, ok := resolve(home); ok {
			home = r.path
		}
		real = append(real, home)
	}
	return real
}

// systemPlaces are folders that every system has and that hold what is not one
// project's, symlinks resolved: /bin is /usr/bin on most.
var systemPlaces = []string{
	"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/media", "/mnt", "/opt", "/proc",
	"/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp", "/dev/shm",
	"/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/sbin", "/usr/local",
}

// ofKernel reports whether what lies in a folder is the kernel's: devices and
// processes of the host, which a project's mount would show.
func ofKernel(dir string) bool {
	if dir != "/dev/shm" && within(dir, "/dev/shm") {
		return false
	}
	return within(dir, "/proc") || within(dir, "/sys") || within(dir, "/dev")
}

func realDir(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

func search(cwd string, homes []string) Project {
	for dir := cwd; ; dir = filepath.Dir(dir) {
		if dir != cwd && (dir == "/" || slices.Contains(homes, dir)) {
			return Project{Dir: cwd}
		}
		if foreign(dir) {
			return Project{Dir: cwd, Skipped: skipped(dir)}
		}
		p, found := at(dir)
		if p.Skipped != "" {
			p.Dir = cwd
		}
		if found {
			return p
		}
		if dir == "/" || isMountPoint(dir) {
			return Project{Dir: cwd}
		}
	}
}

// outer finds the files that a project's own extends: those above it, up to the
// top of the repository, by the rules of the search. A monorepo says at its top
// what holds for all of it.
func outer(dir string, homes []string) (list []string) {
	for !exists(filepath.Join(dir, ".git")) && !isMountPoint(dir) && len(list) < maxChain {
		dir = filepath.Dir(dir)
		if dir == "/" || slices.Contains(homes, dir) || foreign(dir) {
			break
		}
		if file := filepath.Join(dir, ProjectFile); exists(file) && !foreign(file) {
			list = append(list, dir)
		}
	}
	return list
}

// at looks for the marks of a project in one folder.
func at(dir string) (Project, bool) {
	for _, mark := range []string{ProjectFile, ".git"} {
		path := filepath.Join(dir, mark)
		if !exists(path) {
			continue
		}
		if foreign(path) {
			return Project{Skipped: path}, true
		}
		return Project{Dir: dir, HasFile: mark == ProjectFile}, true
	}
	return Project{}, false
}

// skipped names what a folder of another user's has that would have counted.
func skipped(dir string) string {
	for _, mark := range []string{ProjectFile, ".git"} {
		if path := filepath.Join(dir, mark); exists(path) {
			return path
		}
	}
	return ""
}

func foreign(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil {
		return true
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) != os.Geteuid()
}

// isMountPoint asks statx, and where the kernel does not know (before 5.8)
// whether the parent lies on another device.
func isMountPoint(dir string) bool {
	var sx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &sx)
	if err == nil && sx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return sx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	var own, parent unix.Stat_t
	if unix.Lstat(dir, &own) != nil || unix.Lstat(filepath.Dir(dir), &parent) != nil {
		return true
	}
	return own.Dev != parent.Dev
}
