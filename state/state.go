// Package state keeps what is known of sandboxes on disk: a folder each, with a record, a log and, where
// the sandbox is kept, its files; and, while it runs, a socket.
//
// In scope: where these lie, that a record is whole and true (a dead supervisor's sandbox is never told
// to run), that a name means one sandbox, and that what a killed supervisor left is found. Not in scope:
// what a sandbox is made of, and what is said over its socket.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Store is where one user's sandboxes are known. Making one touches nothing.
type Store struct {
	// State is $XDG_STATE_HOME/sbx; a sandbox has a folder of its name in State/sandboxes.
	State string
	// Runtime is $XDG_RUNTIME_DIR/sbx, or what stands in for it; a running sandbox has NAME.sock there.
	Runtime string
}

// Find tells where sandboxes of the caller are known: by the XDG Base Directory Specification, which
// says that a relative path is ignored. home is the caller's home folder. A runtime folder that is not
// the caller's own, as after su(1), is not used.
func Find(home string, uid int, getenv func(string) string) *Store {
	state := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(home, ".local", "state")
	}
	s := &Store{State: real(filepath.Join(state, "sbx"))}
	for _, dir := range []string{getenv("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(uid)} {
		if filepath.IsAbs(dir) && private(dir, uid) {
			s.Runtime = real(filepath.Join(dir, "sbx"))
			return s
		}
	}
	s.Runtime = filepath.Join(s.State, "run")
	return s
}

// real resolves the symlinks of what exists of a path: sandboxes' files are shown to them by paths that
// pass none.
func real(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(real(parent), filepath.Base(path))
	}
	return path
}

func private(dir string, uid int) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == uid && st.Mode&0o022 == 0
}

func (s *Store) sandboxes() string { return filepath.Join(s.State, "sandboxes") }

// MakeRuntime makes the runtime folder, mode 0700.
func (s *Store) MakeRuntime() error {
	if err := os.MkdirAll(s.Runtime, 0o700); err != nil {
		return fmt.Errorf("making the runtime folder: %w", err)
	}
	if !private(s.Runtime, os.Getuid()) {
		return fmt.Errorf("using the runtime folder %s: it is not yours alone to write", s.Runtime)
	}
	return nil
}

// Socket is the path of a sandbox's socket.
func (s *Store) Socket(name string) string { return filepath.Join(s.Runtime, name+socketSuffix) }

const socketSuffix = ".sock"

// ExistsError is a name that is taken.
type ExistsError struct {
	Name   string
	Status Status
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("there is a sandbox %s already (%s)", e.Name, e.Status)
}

// NotFoundError is a name that no sandbox has.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return "there is no sandbox " + e.Name }

// BusyError is a sandbox that another command is starting, copying from, renaming or removing just now.
type BusyError struct{ Name string }

func (e *BusyError) Error() string {
	return "another command starts, copies from, renames or removes the sandbox " + e.Name + " just now"
}

// Folder is one sandbox's folder, open. It stays the same one when it is renamed.
type Folder struct {
	store *Store
	dir   *os.File
	lock  *os.File // held, or nil
	name  string
}

// newPrefix begins the name of a folder that is being made.
const newPrefix = ".new-"

// Create makes the folder of a new sandbox, with its record and its lock held, in one step: another
// command sees all of it or nothing.
func (s *Store) Create(r *Record) (*Folder, error) {
	if err := os.MkdirAll(s.sandboxes(), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of sandboxes: %w", err)
	}
	path, err := os.MkdirTemp(s.sandboxes(), newPrefix)
	if err != nil {
		return nil, fmt.Errorf("making the folder of the sandbox: %w", err)
	}
	f, err := s.open(path, r.Name)
	if err == nil {
		err = f.fill(r, path)
	}
	if err != nil {
		os.RemoveAll(path)
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill gives a new folder its lock, its record and its name.
func (f *Folder) fill(r *Record, path string) error {
	if err := f.Lock(); err != nil {
		return err
	}
	if err := f.Write(r); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, f.store.path(r.Name), unix.RENAME_NOREPLACE)
	if err == unix.EINVAL { // a file system without the flag: an empty folder can be replaced, a full one cannot
		err = unix.Rename(path, f.store.path(r.Name))
	}
	switch err {
	case nil:
		return nil
	case unix.EEXIST, unix.ENOTEMPTY:
		e := &ExistsError{Name: r.Name, Status: Exited}
		if old, err := f.store.Read(r.Name); err == nil {
			e.Status = old.Status()
		}
		return e
	}
	return fmt.Errorf("naming the folder of the sandbox %s: %w", r.Name, err)
}

func (s *Store) path(name string) string { return filepath.Join(s.sandboxes(), name) }

// Folder is the path of the folder of the sandbox that has, or will have, this name.
func (s *Store) Folder(name string) string { return s.path(name) }

// Open opens the folder of a sandbox. Its error is a *NotFoundError where there is none.
func (s *Store) Open(name string) (*Folder, error) {
	if CheckName(name) != nil {
		return nil, &NotFoundError{name}
	}
	f, err := s.open(s.path(name), name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &NotFoundError{name}
	}
	return f, err
}

func (s *Store) open(path, name string) (*Folder, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "opening the sandbox's folder", Path: path, Err: err}
	}
	return &Folder{store: s, dir: os.NewFile(uintptr(fd), path), name: name}, nil
}

// Adopt takes over a folder that another process has opened and locked.
func (s *Store) Adopt(dir, lock *os.File, name string) *Folder {
	return &Folder{store: s, dir: dir, lock: lock, name: name}
}

// Files are what Adopt takes in another process.
func (f *Folder) Files() (dir, lock *os.File) { return f.dir, f.lock }

// Name is the sandbox's.
func (f *Folder) Name() string { return f.name }

// Path is that of a file in the folder.
func (f *Folder) Path(file string) string { return filepath.Join(f.store.path(f.name), file) }

// Socket is the path of the sandbox's socket.
func (f *Folder) Socket() string { return f.store.Socket(f.name) }

// Lock takes the folder for starting, renaming or removing the sandbox; *BusyError where another command
// has it, *NotFoundError where it was removed meanwhile.
func (f *Folder) Lock() error {
	fd, err := unix.Openat(int(f.dir.Fd()), "lock", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err == unix.ENOENT {
		return &NotFoundError{f.name} // the folder has been removed
	}
	if err != nil {
		return fmt.Errorf("locking the sandbox %s: %w", f.name, err)
	}
	lock := os.NewFile(uintptr(fd), "lock")
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if err == unix.EWOULDBLOCK {
			return &BusyError{f.name}
		}
		return fmt.Errorf("locking the sandbox %s: %w", f.name, err)
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Nlink == 0 {
		lock.Close()
		return &NotFoundError{f.name}
	}
	f.lock = lock
	return nil
}

// LockPatiently waits some time for another command that has the folder.
func (f *Folder) LockPatiently() error {
	const times, pause = 100, 50 * time.Millisecond
	for i := 0; ; i++ {
		err := f.Lock()
		var busy *BusyError
		if !errors.As(err, &busy) || i == times {
			return err
		}
		time.Sleep(pause)
	}
}

// Unlock lets other commands have the folder.
func (f *Folder) Unlock() {
	f.lock.Close()
	f.lock = nil
}

// Close closes the folder, and gives back its lock.
func (f *Folder) Close() {
	if f != nil {
		f.dir.Close()
		f.lock.Close()
	}
}

// Rename gives the sandbox another name: its folder, and its socket where there is one. The caller holds
// the lock, or is the sandbox's supervisor on behalf of who does.
func (f *Folder) Rename(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, f.store.path(f.name), unix.AT_FDCWD, f.store.path(name), unix.RENAME_NOREPLACE)
	switch {
	case err == unix.EEXIST:
		return &ExistsError{Name: name, Status: Exited}
	case err != nil:
		return fmt.Errorf("renaming the sandbox %s: %w", f.name, err)
	}
	if err := os.Rename(f.Socket(), f.store.Socket(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		unix.Rename(f.store.path(name), f.store.path(f.name))
		return fmt.Errorf("renaming the socket of the sandbox %s: %w", f.name, err)
	}
	f.name = name
	return nil
}

// Remove removes the folder with all that is in it, and the socket. The caller holds the lock. foreign
// removes a tree that the caller may not: one with files of sub-ids.
func (f *Folder) Remove(foreign func(path string) error) error {
	os.Remove(f.Socket())
	// Away from its name first: what is half removed is no sandbox any more.
	path := filepath.Join(f.store.sandboxes(), newPrefix+"gone-"+strconv.Itoa(os.Getpid())+"-"+f.name)
	if err := os.Rename(f.store.path(f.name), path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return &NotFoundError{f.name}
		}
		return fmt.Errorf("removing the sandbox %s: %w", f.name, err)
	}
	return removeTree(path, foreign)
}

// removeTree removes a tree whose folders may be shut.
func removeTree(path string, foreign func(path string) error) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			unix.Fchmodat(unix.AT_FDCWD, p, 0o700, 0)
		}
		return nil
	})
	err := os.RemoveAll(path)
	if err != nil && foreign != nil {
		if err := foreign(path); err != nil {
			return err
		}
		err = os.RemoveAll(path)
	}
	if err != nil {
		return fmt.Errorf("removing the sandbox's files: %w", err)
	}
	return nil
}

// RemoveFiles removes the upper layer and leaves the record and the log.
func (f *Folder) RemoveFiles(foreign func(path string) error) error {
	path := f.Path(upperDir)
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	return removeTree(path, foreign)
}

const upperDir = "upper"

// Upper is the folder of the files that a kept sandbox has changed.
func (f *Folder) Upper() string { return f.Path(upperDir) }

// Upper is that folder of the sandbox that has, or will have, this name.
func (s *Store) Upper(name string) string { return filepath.Join(s.path(name), upperDir) }
