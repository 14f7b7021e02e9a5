package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
)

// What sbx itself keeps for a project is captured as folders of the host are: its kept home, which [files] capture
// names by ~, and a cache that the host does not have. Each lies in sbx's data folder and is shown elsewhere, by which
// place people name it. The home of the host is never captured: ~ is the home inside.

// isHome tells whether a path of [files] capture is the home, or a link to it.
func isHome(path string, account host.Account) bool {
	return path == filepath.Clean(account.Home) || realPath(path) == realPath(account.Home)
}

// captureHome holds what changes in the kept home.
func (l *layout) captureHome(s *Spec, r *Request) error {
	data := filepath.Join(homeFolder(r), volumeData)
	i := slices.IndexFunc(l.entries, func(e fuseoverlay.Entry) bool { return e.Source == data })
	if i < 0 {
		return &UsageError{"capturing ~: the home inside is empty, and what changes there goes with the sandbox", `set [files] home = "kept", or name the folders of your home that are to be captured`}
	}
	target := l.entries[i].Target
	l.entries[i] = ownCapture(s, data, target)
	s.Captured = append(s.Captured, Captured{Folder: data, Target: target, Shown: r.Account.Home, Label: "~", Own: true})
	return nil
}

// homeFolder is where a project's kept home lies.
func homeFolder(r *Request) string {
	return filepath.Join(dataFolder(r.Account.Home), "homes", nameOf(r.Project.Dir))
}

// captureCache holds what changes in a cache that is the project's alone.
func (l *layout) captureCache(s *Spec, r *Request, c *Cache, folder string) {
	data := filepath.Join(c.Own, aloneName, upperName)
	l.add(ownCapture(s, data, c.Target))
	label := folder
	if rest, below := strings.CutPrefix(folder, r.Account.Home+"/"); below {
		label = "~/" + rest
	}
	s.Captured = append(s.Captured, Captured{Folder: data, Target: c.Target, Shown: folder, Label: label, Own: true})
}

// ownCapture shows a capture of a folder of sbx's own, in which mount points may be made, as in any that is the
// sandbox's; not on an image, which has all of its own beforehand.
func ownCapture(s *Spec, folder, target string) fuseoverlay.Entry {
	return fuseoverlay.Entry{Kind: fuseoverlay.Capture, Source: folder, Target: target, Mode: unix.S_IFDIR, Own: s.Image == nil}
}

// capturesByName tells whether [files] capture names a path.
func capturesByName(list []profiles.Val[string], path string) bool {
	return slices.ContainsFunc(list, func(item profiles.Val[string]) bool { return item.V == path })
}

// makeOwn makes a captured folder of sbx's own, with what is mounted on in it: else that would be a change.
func (s *Spec) makeOwn(c *Captured) error {
	if err := os.MkdirAll(c.Folder, 0o755); err != nil {
		return err
	}
	dir, err := openFolder(c.Folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, e := range s.Root.Entries {
		rel, below := strings.CutPrefix(e.Target, c.Target+"/")
		if !below || s.Image != nil {
			continue
		}
		if err := makePoint(dir, rel, &e); err != nil {
			return fmt.Errorf("making what %s is laid over: %w", e.Target, err)
		}
	}
	return nil
}

// makePoint makes what an entry is laid over, where nothing is there. What is there is the payload's own doing: it is
// followed nowhere, and left as it is.
func makePoint(dir *os.File, rel string, e *fuseoverlay.Entry) error {
	parent, err := openBelow(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { parent.Close() }()
	steps := strings.Split(rel, "/")
	for i, name := range steps {
		if i == len(steps)-1 && !e.Folder() {
			err = makeFilePoint(parent, name, e)
		} else {
			err = unix.Mkdirat(int(parent.Fd()), name, 0o755)
		}
		if err != nil && err != unix.EEXIST || i == len(steps)-1 {
			return ignoreExisting(err)
		}
		next, err := openBelow(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil // a file or a link stands there: the start says what that means
		}
		parent.Close()
		parent = next
	}
	return nil
}

func makeFilePoint(parent *os.File, name string, e *fuseoverlay.Entry) error {
	if e.Kind == fuseoverlay.Symlink {
		return unix.Symlinkat(e.Content, int(parent.Fd()), name)
	}
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func ignoreExisting(err error) error {
	if err == unix.EEXIST {
		return nil
	}
	return err
}
