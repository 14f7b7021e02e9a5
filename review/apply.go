package review

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ApplyOptions are what else an apply is told.
type ApplyOptions struct {
	// Sandbox is the name that undo knows the apply by.
	Sandbox string
	// Overwrite replaces also what the host changed, which undo brings back.
	Overwrite bool
}

// Apply brings changes to the host: all of them or, where one cannot be, none. The caller holds the lock of
// the journals, and has called Recover. Its error is a *ConflictError where the host stands against it.
func (j Journals) Apply(set *Set, changes []*Change, options ApplyOptions) error {
	p, err := set.planOf(changes, options.Overwrite)
	if err != nil {
		return err
	}
	p.Sandbox = options.Sandbox
	return j.run(p, set, nil)
}

// run carries a plan out.
func (j Journals) run(p *plan, set *Set, earlier *journal) error {
	if err := j.unfinished(p.Folders); err != nil {
		return err
	}
	jr, err := j.create(p)
	if err != nil {
		if jr != nil {
			jr.close()
			jr.remove()
		}
		return err
	}
	defer jr.close()
	if err := jr.stage(set, earlier); err != nil {
		return errors.Join(err, jr.giveUp())
	}
	if err := jr.forward(); err != nil {
		return errors.Join(err, jr.takeBack())
	}
	return j.finish(jr)
}

// giveUp removes what was laid ready for a plan of which nothing has been done, or has been taken back.
func (j *journal) giveUp() error {
	if err := j.removeStages(); err != nil {
		return fmt.Errorf("removing what was laid ready: %w", err)
	}
	return j.remove()
}

// spot is one name in an open folder.
type spot struct {
	dir  *os.File
	name string
	path string
}

func (s *spot) at() int { return int(s.dir.Fd()) }

// lookup tells what is there; nil is nothing.
func (s *spot) lookup() (*node, error) { return lookAt(s.at(), s.name) }

func lookAt(at int, name string) (*node, error) {
	var st unix.Stat_t
	err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "looking at", Path: name, Err: err}
	}
	n := nodeOf(&st)
	return &n, nil
}

// spots opens the folders of operations, one after the other.
type spots struct {
	j      *journal
	folder int
	dir    string
	open   *os.File
}

func (s *spots) close() { s.open.Close() }

// of opens the folder that an operation is done in, through no link.
func (s *spots) of(o *op) (*spot, error) {
	dir := path.Dir(string(o.Path))
	if s.open == nil || s.folder != o.Folder || s.dir != dir {
		s.open.Close()
		s.open = nil
		f, err := s.j.trees[o.Folder].openOwn(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, err
		}
		s.open, s.folder, s.dir = f, o.Folder, dir
	}
	return &spot{s.open, path.Base(string(o.Path)), filepath.Join(s.j.plan.Folders[o.Folder], string(o.Path))}, nil
}

// forward does all operations that are not done yet, in order.
func (j *journal) forward() error {
	at := &spots{j: j}
	defer at.close()
	for i := range j.plan.Ops {
		o := &j.plan.Ops[i]
		s, err := at.of(o)
		if gone(err) && (o.Do == opRemove || o.Do == opRmdir) {
			continue // gone with its folder, by our own hand
		}
		if err == nil {
			err = j.do(i, o, s)
		}
		if err != nil {
			return fmt.Errorf("changing %s: %w", filepath.Join(j.plan.Folders[o.Folder], string(o.Path)), err)
		}
		step()
	}
	return j.seal()
}

// errNoStage is a staging folder that somebody removed.
var errNoStage = errors.New("the folder with what lay ready is gone")

// do does one operation, unless it is done.
func (j *journal) do(i int, o *op, s *spot) error {
	if j.stages[o.Folder] == nil && (o.Do == opPut || o.Do == opRemove) {
		return errNoStage
	}
	now, err := s.lookup()
	if err != nil {
		return err
	}
	switch o.Do {
	case opPut:
		return j.put(i, o, s, now)
	case opRemove:
		return j.takeAway(i, o, s, now)
	case opMkdir:
		switch {
		case now == nil:
			return unix.Mkdirat(s.at(), s.name, o.New.perm()&0o777|0o700)
		case !now.folder():
			return conflict(s, "the host has something there now")
		}
	case opRmdir:
		if now == nil || !now.folder() {
			return nil // it is done, and something else may have taken its place since
		}
		err := unix.Unlinkat(s.at(), s.name, unix.AT_REMOVEDIR)
		switch {
		case err == unix.ENOENT, o.Loose:
			return nil
		case err == unix.ENOTEMPTY || err == unix.EEXIST:
			return conflict(s, "the host has put something into it")
		}
		return err
	case opChmod:
		want := o.New.shown() & 0o1777
		if o.Old.folder() {
			want |= o.Old.perm() & unix.S_ISGID // which is the host's own
		}
		if now == nil || now.Ino != o.Old.Ino || now.perm() != o.Old.perm() && now.perm() != want {
			return conflict(s, "the host changed it just now")
		}
		return s.chmod(want)
	}
	return nil
}

func conflict(s *spot, why string) error {
	return &ConflictError{Conflicts: []Conflict{{s.path, why}}}
}

// put lets a staged file take its place.
func (j *journal) put(i int, o *op, s *spot, now *node) error {
	stage, name := int(j.stages[o.Folder].root.Fd()), strconv.Itoa(i)
	switch {
	case now != nil && now.Ino == j.staged[i].Ino:
		return nil
	case o.Old == nil && now != nil:
		return conflict(s, "the host has something there now")
	}
	if err := j.intact(i, stage, name, s); err != nil {
		return err
	}
	defer j.follow(i, s)
	switch {
	case o.Old == nil:
		return moveTo(stage, name, s.at(), s.name)
	case now == nil:
		return conflict(s, "the host deleted it just now")
	case !o.Old.still(now):
		return conflict(s, "the host changed it just now")
	}
	err := unix.Renameat2(stage, name, s.at(), s.name, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return replaceByLink(stage, name, s)
	}
	if err != nil {
		return err
	}
	// Between the look and the rename the host may have put another file there.
	if was, err := lookAt(stage, name); err != nil || !was.alike(o.Old) {
		return errors.Join(conflict(s, "the host changed it just now"), unix.Renameat2(stage, name, s.at(), s.name, unix.RENAME_EXCHANGE), err)
	}
	return nil
}

// intact tells whether what lies ready is what was laid there. One with several names has a new ctime after any of
// them took its place; after a kill in between nobody knows it, and all is taken back.
func (j *journal) intact(i, stage int, name string, s *spot) error {
	now, err := lookAt(stage, name)
	if err != nil {
		return err
	}
	want := j.staged[i]
	if now == nil || now.Ino != want.Ino || now.Size != want.Size || now.Mtime != want.Mtime || now.Mode != want.Mode ||
		now.Ctime != want.Ctime && now.Ctime != j.moved[now.Ino] {
		return conflict(s, "somebody changed what lay ready for it")
	}
	return nil
}

// follow notes the ctime that a file with several names has once one of them took its place.
func (j *journal) follow(i int, s *spot) {
	if j.staged[i].Nlink < 2 {
		return
	}
	if now, err := s.lookup(); err == nil && now != nil && now.Ino == j.staged[i].Ino {
		if j.moved == nil {
			j.moved = map[uint64]int64{}
		}
		j.moved[now.Ino] = now.Ctime
	}
}

// replaceByLink is the exchange on file systems without one: the old file gets a name in the staging
// folder before it loses its own.
func replaceByLink(stage int, name string, s *spot) error {
	if err := unix.Linkat(s.at(), s.name, stage, oldName(name), 0); err != nil && err != unix.EEXIST {
		return err
	}
	step()
	return unix.Renameat(stage, name, s.at(), s.name)
}

// oldName is what the old file is called then.
func oldName(name string) string { return "old-" + name }

// moveTo renames where nothing is.
func moveTo(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	if err := unix.Linkat(fromDir, from, toDir, to, 0); err != nil {
		return err
	}
	return unix.Unlinkat(fromDir, from, 0)
}

// takeAway moves a file into the staging folder.
func (j *journal) takeAway(i int, o *op, s *spot, now *node) error {
	stage, name := int(j.stages[o.Folder].root.Fd()), strconv.Itoa(i)
	if taken, err := lookAt(stage, name); err != nil || taken != nil {
		return err
	}
	if now == nil {
		return nil
	}
	if !o.Old.still(now) {
		return conflict(s, "the host changed it just now")
	}
	if err := moveTo(s.at(), s.name, stage, name); err != nil {
		return err
	}
	if was, err := lookAt(stage, name); err != nil || !was.alike(o.Old) {
		return errors.Join(conflict(s, "the host changed it just now"), moveTo(stage, name, s.at(), s.name), err)
	}
	return nil
}

func (s *spot) chmod(mode uint32) error {
	fd, err := unix.Openat(s.at(), s.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

// seal gives new folders just their mode, which the caller's umask has no say in.
func (j *journal) seal() error {
	at := &spots{j: j}
	defer at.close()
	for i := len(j.plan.Ops) - 1; i >= 0; i-- {
		o := &j.plan.Ops[i]
		if o.Do != opMkdir {
			continue
		}
		s, err := at.of(o)
		if err != nil {
			return err
		}
		now, err := s.lookup()
		if err == nil && now == nil {
			err = unix.ENOENT
		}
		if err != nil {
			return fmt.Errorf("changing %s: %w", s.path, err)
		}
		// A set-group-ID bit is the host's own, of the folder above.
		if want := o.New.shown()&0o1777 | now.perm()&unix.S_ISGID; now.perm() != want {
			if err := s.chmod(want); err != nil {
				return err
			}
			step()
		}
	}
	return nil
}

// takeBack undoes all operations that are done, the last one first, and removes the journal.
func (j *journal) takeBack() error {
	j.mark(backFile) // on a full disk without: whoever goes on then may as well do it all as take it back
	step()
	at := &spots{j: j}
	defer at.close()
	var left error
	for i := len(j.plan.Ops) - 1; i >= 0; i-- {
		o := &j.plan.Ops[i]
		s, err := at.of(o)
		if missing(err) {
			continue
		}
		if err == nil {
			err = j.back(i, o, s)
		}
		if err != nil {
			left = errors.Join(left, fmt.Errorf("taking back the change of %s: %w", filepath.Join(j.plan.Folders[o.Folder], string(o.Path)), err))
		}
		step()
	}
	if left != nil {
		return left
	}
	// What was moved and moved back has a new ctime, and is no other file for that.
	ours := func(_ int, o *op, now *node) bool {
		return o.Old == nil && now == nil || o.Old != nil && now != nil && now.alike(o.Old)
	}
	if _, err := j.agreeToNow(ours); err != nil {
		return err
	}
	if err := j.giveUp(); err != nil || len(j.lost) == 0 {
		return err
	}
	return &LostError{j.lost}
}

// LostError names files that could not be brought back when an apply, or undo, was taken back: somebody removed the
// folder with what had been taken away. All else is as it was.
type LostError struct{ Paths []string }

func (e *LostError) Error() string {
	text := "bringing back " + e.Paths[0] + ": it was in the folder with what lay ready, which somebody removed"
	if n := len(e.Paths) - 1; n > 0 {
		text += fmt.Sprintf("; %d more likewise", n)
	}
	return text
}

// back undoes one operation, where it was done.
func (j *journal) back(i int, o *op, s *spot) error {
	now, err := s.lookup()
	if err != nil {
		return err
	}
	switch o.Do {
	case opMkdir:
		// One that holds something is the host's own.
		if now != nil && now.folder() {
			unix.Unlinkat(s.at(), s.name, unix.AT_REMOVEDIR)
		}
		return nil
	case opRmdir:
		if now != nil {
			return nil
		}
		if err := unix.Mkdirat(s.at(), s.name, o.Old.perm()|0o700); err != nil {
			return err
		}
		return s.chmod(o.Old.perm() | 0o700)
	case opChmod:
		if now == nil || now.Ino != o.Old.Ino || now.perm() == o.Old.perm() {
			return nil
		}
		return s.chmod(o.Old.perm())
	}
	return j.backFile(i, o, s, now)
}

// backFile takes a file back that was put or taken away.
func (j *journal) backFile(i int, o *op, s *spot, now *node) error {
	if j.stageGone(o.Folder) {
		ours := now != nil && now.Ino == j.staged[i].Ino && o.Do == opPut
		if o.Old != nil && (ours || now == nil) {
			j.lost = append(j.lost, s.path)
		}
		return nil
	}
	stage, name := int(j.stages[o.Folder].root.Fd()), strconv.Itoa(i)
	if o.Do == opRemove {
		if kept, err := lookAt(stage, name); err != nil || kept == nil {
			return err
		}
		return moveTo(stage, name, s.at(), s.name)
	}
	if now == nil || now.Ino != j.staged[i].Ino {
		return nil
	}
	if o.Old == nil {
		return moveTo(s.at(), s.name, stage, name)
	}
	if kept, err := lookAt(stage, oldName(name)); err != nil || kept != nil {
		return errors.Join(err, unix.Renameat(stage, oldName(name), s.at(), s.name))
	}
	return unix.Renameat2(stage, name, s.at(), s.name, unix.RENAME_EXCHANGE)
}

// stageGone tells whether somebody removed a staging folder, be it one that is open.
func (j *journal) stageGone(folder int) bool {
	if j.stages[folder] == nil {
		return true
	}
	var st unix.Stat_t
	return unix.Fstat(int(j.stages[folder].root.Fd()), &st) == nil && st.Nlink == 0
}

// finish puts away what was taken away, notes how the host is now, and removes what is needed no more.
func (j Journals) finish(jr *journal) error {
	if err := jr.mark(appliedFile); err != nil {
		return err
	}
	step()
	if err := jr.putAway(); err != nil {
		return err
	}
	if err := jr.removeStages(); err != nil {
		return err
	}
	if jr.plan.Undoes != "" {
		if earlier, err := j.read(jr.plan.Undoes); err == nil {
			earlier.remove()
		}
		step()
	}
	if err := jr.settle(); err != nil {
		return err
	}
	step()
	j.refresh(jr)
	j.trim(jr.plan.Folders)
	return nil
}

// putAway moves what was taken away into the journal.
func (j *journal) putAway() error {
	old, err := os.Open(filepath.Join(j.dir, oldFolder))
	if err != nil {
		return err
	}
	defer old.Close()
	for i := range j.plan.Ops {
		o := &j.plan.Ops[i]
		if o.Old == nil || o.Do != opPut && o.Do != opRemove || j.stages[o.Folder] == nil {
			continue
		}
		stage := int(j.stages[o.Folder].root.Fd())
		for _, name := range []string{strconv.Itoa(i), oldName(strconv.Itoa(i))} {
			err := unix.Renameat(stage, name, int(old.Fd()), strconv.Itoa(i))
			if err != nil && err != unix.ENOENT && err != unix.EXDEV { // EXDEV: a copy is there already
				return fmt.Errorf("keeping what was in the place of %s: %w", o.Path, err)
			}
		}
		step()
	}
	return nil
}

// settle notes how the host is now: for undo, and for the captures.
func (j *journal) settle() error {
	now, err := j.agreeToNow(func(i int, o *op, now *node) bool {
		return now == nil || o.Do != opPut || now.Ino == j.staged[i].Ino && now.Size == j.staged[i].Size && now.Mtime == j.staged[i].Mtime
	})
	if err != nil {
		return err
	}
	return writeJSON(j.dir, doneFile, &done{When: time.Now(), Now: now})
}

// agreeToNow tells the captures how the host is now at each path of the plan where that is our own doing,
// which is then no conflict to them, and returns how it is by operation.
func (j *journal) agreeToNow(ours func(i int, o *op, now *node) bool) ([]*node, error) {
	now := make([]*node, len(j.plan.Ops))
	agreed := make([]byPath[agreement], len(j.plan.Folders))
	at := &spots{j: j}
	defer at.close()
	for i := range j.plan.Ops {
		o := &j.plan.Ops[i]
		s, err := at.of(o)
		if err == nil {
			now[i], err = s.lookup()
		}
		if err != nil && !gone(err) {
			return nil, err
		}
		if agreed[o.Folder] == nil {
			agreed[o.Folder] = byPath[agreement]{}
		}
		if ours(i, o, now[i]) {
			agreed[o.Folder][o.Path] = agreement{now[i], o.Merged}
		}
	}
	for i, dir := range j.plan.Captures {
		c, err := ReadCapture(dir)
		if err != nil || c.Folder != j.plan.Folders[i] || agreed[i] == nil {
			continue // its sandbox is gone
		}
		if err := (&held{Capture: c}).agree(agreed[i]); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// refresh tells the other journals of a folder which files have come back to what they left there: by an undo,
// which moves the file itself, and so gives it a new ctime.
func (j Journals) refresh(jr *journal) {
	var d done
	if readJSON(jr.dir, doneFile, &d) != nil {
		return
	}
	now := map[string]*node{}
	for i, o := range jr.plan.Ops {
		now[filepath.Join(jr.plan.Folders[o.Folder], string(o.Path))] = d.Now[i]
	}
	names, _ := j.names()
	for _, name := range names {
		var d done
		other, err := j.read(name)
		if err != nil || name == jr.name || readJSON(other.dir, doneFile, &d) != nil || len(d.Now) != len(other.plan.Ops) {
			continue
		}
		fresh := false
		for i, o := range other.plan.Ops {
			n, was := now[filepath.Join(other.plan.Folders[o.Folder], string(o.Path))], d.Now[i]
			if n != nil && was != nil && was.alike(n) && !was.same(n) {
				d.Now[i], fresh = n, true
			}
		}
		if fresh {
			writeJSON(other.dir, doneFile, &d)
		}
	}
}
