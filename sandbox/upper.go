package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sbx/images"
)

// An upper holds what a sandbox on an image changes. Without a name to keep it under it lies in a folder
// of its own below the state folder, locked by its supervisor, and goes with the sandbox. What killed
// supervisors left, the next sandbox on an image removes.

// StateFolder is $XDG_STATE_HOME/sbx, or its default below the home.
func StateFolder(home string) string {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(home, ".local/state")
	}
	return filepath.Join(realPath(state), "sbx")
}

// upper is a passing upper, and what keeps the image under it.
type upper struct {
	dir   string
	lock  *os.File
	image *os.File
}

// makeUpper makes a passing upper for a spec that needs one and has none of its own, and marks the image as
// in use.
func makeUpper(s *Spec) (*upper, error) {
	if s.Root.Overlay == nil {
		return nil, nil
	}
	account, err := Caller()
	if err != nil {
		return nil, err
	}
	u := &upper{}
	if s.Image.Manifest != "" {
		store := &images.Store{Dir: s.Image.Store}
		if u.image, err = store.Use(s.Image.Manifest); err != nil {
			return nil, err
		}
	}
	if kept := s.Root.Overlay.Upper; kept != "" {
		return u, prepareKept(kept)
	}
	all := filepath.Join(StateFolder(account.Home), "uppers")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for what the sandbox changes: %w", err)
	}
	sweepUppers(all)
	if u.dir, err = os.MkdirTemp(all, "run-"); err != nil {
		return nil, fmt.Errorf("making a folder for what the sandbox changes: %w", err)
	}
	if err := u.prepare(); err != nil {
		u.end()
		return nil, fmt.Errorf("making a folder for what the sandbox changes: %w", err)
	}
	s.Root.Overlay.Upper = u.dir
	if s.Image.Driver == driverAuto && !carriesAttributes(filepath.Join(u.dir, "work")) {
		s.Root.Overlay.Fuse = true // the kernel would mount it and then lose whiteouts
	}
	return u, nil
}

// prepareKept makes what an upper that stays lacks, and the sandbox's own layer anew.
func prepareKept(dir string) error {
	if err := makeFolder(dir, 0o700); err != nil {
		return err
	}
	own := filepath.Join(dir, "init")
	if exists(own) {
		if err := removeFolder(own); err != nil {
			return err
		}
	}
	for name, mode := range map[string]os.FileMode{"upper": 0o755, "init": 0o755, "work": 0o700} {
		if err := makeFolder(filepath.Join(dir, name), mode); err != nil {
			return err
		}
	}
	return nil
}

// carriesAttributes tells whether a file system has the attributes that an overlay keeps its books in.
func carriesAttributes(dir string) bool {
	err := unix.Setxattr(dir, "user.overlay.opaque", []byte("n"), 0)
	unix.Removexattr(dir, "user.overlay.opaque")
	return err == nil
}

func (u *upper) prepare() (err error) {
	if u.lock, err = os.Open(u.dir); err != nil {
		return err
	}
	if err := unix.Flock(int(u.lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(u.dir, "work"), 0o700); err != nil {
		return err
	}
	for _, name := range []string{"upper", "init"} {
		// The mode of the upper is that of the root inside; the caller's umask has no say in it.
		dir := filepath.Join(u.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// end removes a passing upper, and lets go of the image.
func (u *upper) end() error {
	if u == nil {
		return nil
	}
	defer u.image.Close() // of a nil file: an error that nobody needs
	if u.dir == "" {
		return nil
	}
	defer u.lock.Close()
	return removeFolder(u.dir)
}

// removeFolder removes a folder whose content may belong to sub-ids: as ourselves, and where that is
// refused through the user namespace.
func removeFolder(dir string) error {
	shut := filepath.Join(dir, "work/work") // of overlay, with no permission for anybody
	os.Chmod(shut, 0o700)
	if os.RemoveAll(dir) == nil {
		return nil
	}
	return RemoveForeign(dir)
}

// sweepUppers removes uppers whose supervisor is gone.
func sweepUppers(all string) {
	entries, _ := os.ReadDir(all)
	for _, e := range entries {
		dir := filepath.Join(all, e.Name())
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		young := err == nil && time.Since(info.ModTime()).Abs() < time.Second // perhaps made and not yet locked
		if !young && unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			removeFolder(dir)
		}
		f.Close()
	}
}
