package review

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// stagers is how many files are copied at once.
const stagers = 4

// stage lays all that comes ready, in folders beside what is on the host, and copies what goes where it
// cannot be moved into the journal. Nothing that anybody sees has changed after it.
func (j *journal) stage(set *Set, earlier *journal) error {
	if err := j.openStages(true); err != nil {
		return err
	}
	if err := j.measure(); err != nil {
		return err
	}
	one := func(i int) error { return j.stageOne(i, set, earlier) }
	if err := j.parallel(func(o *op) bool { return o.Do == opPut && o.Link == 0 }, one); err != nil {
		return err
	}
	for i := range j.plan.Ops {
		if o := &j.plan.Ops[i]; o.Do == opPut && o.Link > 0 {
			if err := j.stageLink(i, o); err != nil {
				return err
			}
		}
	}
	if err := j.parallel(func(o *op) bool { return o.Old != nil && j.far[o.Folder] && !o.Old.folder() && o.Do != opChmod }, j.copyOld); err != nil {
		return err
	}
	for _, s := range j.stages {
		if s != nil {
			if err := unix.Syncfs(int(s.root.Fd())); err != nil {
				return fmt.Errorf("waiting for the disk of %s: %w", s.path, err)
			}
		}
	}
	if err := j.noteStaged(); err != nil {
		return err
	}
	if err := writeJSON(j.dir, stagedFile, j.staged); err != nil {
		return fmt.Errorf("writing a journal: %w", err)
	}
	step()
	return nil
}

// measure finds out, by trying, which folders are on another file system than the journal.
func (j *journal) measure() error {
	j.far = make([]bool, len(j.stages))
	dir, err := os.Open(j.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for i, s := range j.stages {
		if s == nil {
			continue
		}
		if err := unix.Mkdirat(int(s.root.Fd()), "probe", 0o700); err != nil {
			return &os.PathError{Op: "making a folder in", Path: s.path, Err: err}
		}
		err := unix.Renameat(int(s.root.Fd()), "probe", int(dir.Fd()), "probe")
		j.far[i] = err != nil
		if err == nil {
			err = unix.Unlinkat(int(dir.Fd()), "probe", unix.AT_REMOVEDIR)
		} else {
			err = unix.Unlinkat(int(s.root.Fd()), "probe", unix.AT_REMOVEDIR)
		}
		if err != nil {
			return err
		}
		step()
	}
	return nil
}

// parallel does something for each operation that is wanted, some at once, until one fails.
func (j *journal) parallel(wanted func(*op) bool, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for range stagers {
		group.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(j.plan.Ops) {
					return
				}
				if !wanted(&j.plan.Ops[i]) {
					continue
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
				step()
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// stageOne lays one file ready.
func (j *journal) stageOne(i int, set *Set, earlier *journal) error {
	o := &j.plan.Ops[i]
	s, name := j.stages[o.Folder], strconv.Itoa(i)
	var err error
	switch {
	case o.Kept > 0:
		err = s.fromJournal(name, o, earlier)
	case o.New.link():
		if err = unix.Symlinkat(string(o.Target), int(s.root.Fd()), name); err == nil {
			s.setTime(name, o.New.Mtime)
		} else if err == unix.EPERM { // symlink(2)
			err = errNoLinks
		}
	case o.change.text != nil:
		err = s.write(name, o)
	default:
		err = s.copyIn(name, o, set)
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", filepath.Join(j.plan.Folders[o.Folder], string(o.Path)), err)
	}
	return nil
}

// errNoLinks is the lack of symlinks, as on vfat.
var errNoLinks = errors.New("the file system has no symbolic links: choose other paths")

// noteStaged notes all that lies ready, once nothing more is done to it.
func (j *journal) noteStaged() error {
	j.staged = make([]staged, len(j.plan.Ops))
	for i := range j.plan.Ops {
		o := &j.plan.Ops[i]
		if o.Do != opPut {
			continue
		}
		s, name := j.stages[o.Folder], strconv.Itoa(i)
		n, err := lookAt(int(s.root.Fd()), name)
		if err == nil && n == nil {
			err = unix.ENOENT
		}
		if err != nil {
			return fmt.Errorf("looking at %s: %w", filepath.Join(s.path, name), err)
		}
		j.staged[i] = staged{n.Ino, n.Size, n.Mtime, n.Mode, n.Ctime, n.Nlink}
	}
	return nil
}

func (j *journal) stageLink(i int, o *op) error {
	s, name := j.stages[o.Folder], strconv.Itoa(i)
	at := int(s.root.Fd())
	if err := unix.Linkat(at, strconv.Itoa(o.Link-1), at, name, 0); err != nil {
		return &os.LinkError{Op: "linking", Old: string(j.plan.Ops[o.Link-1].Path), New: string(o.Path), Err: err}
	}
	step()
	return nil
}

// create makes a staged file.
func (t *tree) create(name string) (*os.File, error) {
	return t.openOwn(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
}

func (t *tree) setTime(name string, mtime int64) {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtime)}
	unix.UtimesNanoAt(int(t.root.Fd()), name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// dress gives a staged file its permissions, its group and its time. What would run as another user or
// group loses that.
func dress(f *os.File, o *op) error {
	if o.Old != nil {
		unix.Fchown(int(f.Fd()), -1, int(o.Old.GID)) // the group of what it replaces, where the user may
	}
	if err := unix.Fchmod(int(f.Fd()), o.New.perm()&0o1777); err != nil {
		return err
	}
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(o.New.Mtime)}
	return futimens(f, &times)
}

// write stages a text that was merged or agreed to in part. Its time is now.
func (t *tree) write(name string, o *op) error {
	f, err := t.create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(*o.change.text); err != nil {
		return err
	}
	perm := o.New.perm() & 0o1777
	return unix.Fchmod(int(f.Fd()), perm)
}

// copyIn stages a file of the upper, which has to be what was listed, and shown.
func (t *tree) copyIn(name string, o *op, set *Set) error {
	c := o.change
	from, n, err := c.held.upper.open(c.Path)
	if missing(err) {
		return ErrNotAsShown
	}
	if err != nil {
		return err
	}
	defer from.Close()
	if !n.same(c.new) {
		return ErrNotAsShown
	}
	to, err := t.create(name)
	if err != nil {
		return err
	}
	defer to.Close()
	sum, err := copyContent(to, from, n.Size, set.Live || c.digest != "")
	if errors.Is(err, ErrChanged) {
		return ErrNotAsShown
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if after := nodeOf(&st); !after.same(c.new) || c.digest != "" && sum != c.digest {
		return ErrNotAsShown
	}
	copyAttributes(to, from)
	return dress(to, o)
}

// ErrNotAsShown is a file that the sandbox changed after it was listed or shown.
var ErrNotAsShown = errors.New("the sandbox changed it after it was shown")

// fromJournal stages what an earlier journal took away: the very file, where both lie on one file system.
func (t *tree) fromJournal(name string, o *op, earlier *journal) error {
	kept := filepath.Join(earlier.dir, oldFolder, strconv.Itoa(o.Kept-1))
	if unix.Linkat(unix.AT_FDCWD, kept, int(t.root.Fd()), name, 0) == nil {
		return nil
	}
	return copyKept(kept, o.New, t, name)
}

// copyKept copies a file of any kind that can be copied, with its time and permissions.
func copyKept(kept string, n *node, t *tree, name string) error {
	at := int(t.root.Fd())
	switch n.kind() {
	case unix.S_IFLNK:
		target, err := os.Readlink(kept)
		if err == nil {
			err = unix.Symlinkat(target, at, name)
		}
		t.setTime(name, n.Mtime)
		return err
	case unix.S_IFIFO:
		return unix.Mknodat(at, name, unix.S_IFIFO|n.perm(), 0)
	case unix.S_IFREG:
	default:
		return fmt.Errorf("a %s cannot be kept", typeOf(n))
	}
	from, err := os.OpenFile(kept, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	return copyFile(from, n, t, name)
}

// copyFile copies an open file with its time, its group and its permissions.
func copyFile(from *os.File, n *node, t *tree, name string) error {
	to, err := t.create(name)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := copyFast(to, from, n.Size); err != nil {
		return err
	}
	copyAttributes(to, from)
	unix.Fchown(int(to.Fd()), -1, int(n.GID))
	if err := unix.Fchmod(int(to.Fd()), n.perm()); err != nil {
		return err
	}
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(n.Mtime)}
	return futimens(to, &times)
}

// copyOld keeps a copy of what goes.
func (j *journal) copyOld(i int) error {
	o := &j.plan.Ops[i]
	host := j.trees[o.Folder]
	old, err := openTree(filepath.Join(j.dir, oldFolder))
	if err != nil {
		return err
	}
	defer old.close()
	name := strconv.Itoa(i)
	switch o.Old.kind() {
	case unix.S_IFLNK:
		target, err := host.readlink(string(o.Path))
		if err == nil {
			err = unix.Symlinkat(target, int(old.root.Fd()), name)
		}
		old.setTime(name, o.Old.Mtime)
		return err
	case unix.S_IFREG:
	case unix.S_IFIFO:
		return unix.Mknodat(int(old.root.Fd()), name, unix.S_IFIFO|o.Old.perm(), 0)
	default:
		return nil // a socket: whoever serves it makes it anew
	}
	from, n, err := host.open(string(o.Path))
	if err != nil {
		return fmt.Errorf("keeping what is to be replaced: %w", err)
	}
	defer from.Close()
	if !n.same(o.Old) {
		return &ConflictError{Conflicts: []Conflict{{filepath.Join(host.path, string(o.Path)), "the host changed it just now"}}}
	}
	return copyFile(from, &n, old, name)
}

// futimens is futimens(3).
func futimens(f *os.File, times *[2]unix.Timespec) error {
	return unix.UtimesNanoAt(int(f.Fd()), "", times[:], unix.AT_EMPTY_PATH)
}
