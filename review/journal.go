package review

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A journal is a folder with what an apply, or an undo, is about to do, how far it is, and the files that it
// took away:
//
//	plan.json    what is to be done
//	staged.json  all that comes lies ready on the host: from here on the plan is gone on with
//	back         it could not be done after all: from here on it is taken back
//	applied      all is done; what remains is to put away what was taken away
//	old/N        what operation N took away
//	done.json    how the host's files are since
//
// What comes is first staged in a folder of the host's, beside what is in it, so that each file then takes
// its place by one rename(2).
type journal struct {
	dir  string
	name string
	plan plan
	// staged is what lies ready, by operation.
	staged []staged
	trees  []*tree // the folders of the host
	stages []*tree // the staging folder in each
	// moved are the ctimes of files with several names that lie ready, since one of the names took its place.
	moved map[uint64]int64
	// far says that the journal is on another file system than the folder: what goes is copied there first.
	far []bool
	// lost are files that cannot be brought back.
	lost []string
}

// staged is one file that lies ready. Its ctime, which no user can set, tells whether somebody wrote to it since: a
// sandbox that may write to the project reaches what lies ready in it.
type staged struct {
	Ino   uint64 `json:"i"`
	Size  int64  `json:"s"`
	Mtime int64  `json:"t"`
	Mode  uint32 `json:"m"`
	Ctime int64  `json:"c"`
	Nlink uint64 `json:"l"`
}

const (
	planFile    = "plan.json"
	stagedFile  = "staged.json"
	backFile    = "back"
	appliedFile = "applied"
	doneFile    = "done.json"
	oldFolder   = "old"
	planVersion = 1
	// StagePrefix begins the name of the staging folder, which the name of the journal ends.
	StagePrefix = ".sbx-apply-"
	// keptJournals is how many applies can be undone, of one folder, newest first.
	keptJournals = 5
)

// done is how it ended.
type done struct {
	When time.Time `json:"when"`
	// Now is what each operation left at its path; nil is nothing.
	Now []*node `json:"now"`
}

// step is called between any two of the journal's actions. Tests end the process there.
var step = func() {}

// Journals is the folder with the journals of one user.
type Journals string

// Lock keeps other applies and undos of the same user away until the file is closed.
func (j Journals) Lock() (*os.File, error) {
	if err := os.MkdirAll(string(j), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of journals: %w", err)
	}
	f, err := os.Open(string(j))
	if err != nil {
		return nil, fmt.Errorf("locking the journals: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the journals: %w", err)
	}
	return f, nil
}

// names lists the journals, the oldest first.
func (j Journals) names() ([]string, error) {
	entries, err := os.ReadDir(string(j))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// create makes a journal for a plan. Its name sorts by time.
func (j Journals) create(p *plan) (*journal, error) {
	p.Version = planVersion
	names, err := j.names()
	if err != nil {
		return nil, err
	}
	name := strconv.FormatInt(time.Now().UnixNano(), 10)
	if len(names) > 0 && names[len(names)-1] >= name { // the clock was set back
		last, err := strconv.ParseInt(names[len(names)-1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("making a journal after %s: %w", names[len(names)-1], err)
		}
		name = strconv.FormatInt(last+1, 10)
	}
	jr := &journal{dir: filepath.Join(string(j), name), name: name, plan: *p}
	if err := os.Mkdir(jr.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a journal: %w", err)
	}
	step()
	if err := os.Mkdir(filepath.Join(jr.dir, oldFolder), 0o700); err != nil {
		return nil, fmt.Errorf("making a journal: %w", err)
	}
	step()
	if err := writeJSON(jr.dir, planFile, &jr.plan); err != nil {
		return nil, fmt.Errorf("writing a journal: %w", err)
	}
	step()
	return jr, jr.open()
}

// open opens the folders of the host.
func (j *journal) open() error {
	for _, folder := range j.plan.Folders {
		t, err := openTree(folder)
		if err != nil {
			return err
		}
		j.trees = append(j.trees, t)
	}
	return nil
}

func (j *journal) close() {
	for _, t := range slices.Concat(j.trees, j.stages) {
		if t != nil {
			t.close()
		}
	}
	j.trees, j.stages = nil, nil
}

func (j *journal) has(name string) bool {
	_, err := os.Lstat(filepath.Join(j.dir, name))
	return err == nil
}

// mark makes an empty file in the journal.
func (j *journal) mark(name string) error {
	if err := replaceFile(j.dir, name, true, func(io.Writer) error { return nil }); err != nil {
		return fmt.Errorf("writing a journal: %w", err)
	}
	return nil
}

// read opens a journal that is there.
func (j Journals) read(name string) (*journal, error) {
	jr := &journal{dir: filepath.Join(string(j), name), name: name}
	err := readJSON(jr.dir, planFile, &jr.plan)
	if err != nil {
		return jr, err
	}
	if jr.plan.Version != planVersion {
		return jr, fmt.Errorf("reading the journal %s: another version of sbx wrote it", name)
	}
	if err := readJSON(jr.dir, stagedFile, &jr.staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return jr, fmt.Errorf("reading the journal %s: %w", name, err)
	}
	return jr, nil
}

// done tells whether a journal is one of what was done, or taken back, to the end: nothing else of it needs to be
// read then, and that is as long as what was applied.
func (j Journals) done(name string) bool {
	return (&journal{dir: filepath.Join(string(j), name)}).has(doneFile)
}

// stageName is the staging folder's.
func (j *journal) stageName() string { return StagePrefix + j.name }

// openStages opens the staging folders, which are made where they are to be.
func (j *journal) openStages(make bool) error {
	j.stages = nil
	for i, t := range j.trees {
		if !j.uses(i) {
			j.stages = append(j.stages, nil)
			continue
		}
		if make {
			err := unix.Mkdirat(int(t.root.Fd()), j.stageName(), 0o700)
			if err != nil {
				return &os.PathError{Op: "making a folder in", Path: t.path, Err: err}
			}
			step()
		}
		f, err := t.openOwn(j.stageName(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if missing(err) && !make {
			j.stages = append(j.stages, nil)
			continue
		}
		if err != nil {
			return err
		}
		j.stages = append(j.stages, &tree{root: f, path: filepath.Join(t.path, j.stageName())})
	}
	return nil
}

func (j *journal) uses(folder int) bool {
	return slices.ContainsFunc(j.plan.Ops, func(o op) bool { return o.Folder == folder })
}

// removeStages removes the staging folders with all that is in them.
func (j *journal) removeStages() error {
	for i, s := range j.stages {
		if s == nil {
			continue
		}
		err := s.empty()
		if refused(err) {
			continue // a sandbox made folders of other users in it: they stay, and hold up nothing
		}
		if err != nil {
			return err
		}
		err = unix.Unlinkat(int(j.trees[i].root.Fd()), j.stageName(), unix.AT_REMOVEDIR)
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "removing", Path: s.path, Err: err}
		}
		step()
	}
	return nil
}

// empty removes all that is in a folder, by descriptor, without going deeper than one folder: what a
// sandbox makes may be deeper than a process can have files open.
func (t *tree) empty() error {
	at, moved := int(t.root.Fd()), 0
	for {
		entries, err := t.list("")
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			if err := t.drop(at, string(e.Name), &moved); err != nil {
				return err
			}
			step()
		}
	}
}

// drop removes one name, of a folder after moving the folders in it up into this one.
func (t *tree) drop(at int, name string, moved *int) error {
	fail := func(err error) error {
		return &os.PathError{Op: "removing", Path: filepath.Join(t.path, name), Err: err}
	}
	err := unix.Unlinkat(at, name, 0)
	if err != unix.EISDIR && err != unix.EPERM {
		if err == nil || err == unix.ENOENT {
			return nil
		}
		return fail(err)
	}
	(&spot{dir: t.root, name: name}).chmod(0o700)
	sub, err := t.openOwn(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if missing(err) {
		return nil // it is another file by now, which the next look finds
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	entries, err := listFolder(sub)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := unix.Unlinkat(int(sub.Fd()), string(e.Name), 0)
		for err == unix.EISDIR || err == unix.EPERM || err == unix.EEXIST {
			*moved++
			(&spot{dir: sub, name: string(e.Name)}).chmod(0o700)
			err = unix.Renameat2(int(sub.Fd()), string(e.Name), at, "deeper-"+strconv.Itoa(*moved), unix.RENAME_NOREPLACE)
			if err != unix.EEXIST {
				break
			}
		}
		if err != nil && err != unix.ENOENT {
			return fail(err)
		}
	}
	if err := unix.Unlinkat(at, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT && err != unix.ENOTEMPTY && err != unix.EEXIST {
		return fail(err)
	}
	return nil
}

// remove removes a journal. Its plan goes last, so that what is left of one is known.
func (j *journal) remove() error {
	os.RemoveAll(filepath.Join(j.dir, oldFolder))
	step()
	return os.RemoveAll(j.dir)
}

// trim removes the oldest journals of a folder.
func (j Journals) trim(folders []string) {
	names, _ := j.names()
	seen := 0
	for _, name := range slices.Backward(names) {
		jr, err := j.read(name)
		if err != nil || !jr.has(doneFile) || len(jr.plan.Folders) == 0 || len(folders) == 0 || jr.plan.Folders[0] != folders[0] {
			continue
		}
		if seen++; seen > keptJournals {
			jr.remove()
		}
	}
}

// Recovered is what became of an apply, or undo, that was interrupted.
type Recovered struct {
	Sandbox string
	Folder  string
	// Finished says that all of it was done; else all of it was taken back.
	Finished bool
	Undo     bool
	// Lost are files that could not be brought back, where it was taken back.
	Lost []string
	// Err is why it is neither. Nothing is applied to its folders until it is.
	Err error

	folders []string
}

// Holds tells whether it stands in the way of an apply to one of some folders: one of its own, or one in or
// above it.
func (r *Recovered) Holds(folders []string) bool { return r.Err != nil && share(r.folders, folders) }

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(one string) bool {
		return slices.ContainsFunc(b, func(other string) bool {
			return strings.HasPrefix(one+"/", other+"/") || strings.HasPrefix(other+"/", one+"/")
		})
	})
}

// Recover finishes or takes back what was interrupted: what was wholly laid ready is finished. The caller
// holds the lock. Where one cannot be, the others are gone on with.
func (j Journals) Recover() ([]Recovered, error) {
	names, err := j.names()
	if err != nil {
		return nil, err
	}
	var list []Recovered
	for _, name := range names {
		if _, err := strconv.ParseInt(name, 10, 64); err != nil || j.done(name) {
			continue
		}
		jr, err := j.read(name)
		if errors.Is(err, fs.ErrNotExist) { // it had not even been planned
			jr.remove()
			continue
		}
		if err != nil {
			continue
		}
		r, err := j.recover(jr)
		if err != nil {
			r.Err = fmt.Errorf("going on with what was interrupted in %s: %w", strings.Join(jr.plan.Folders, ", "), err)
		}
		list = append(list, r)
	}
	return list, nil
}

// unfinished is an error where something that was interrupted in one of some folders is still so.
func (j Journals) unfinished(folders []string) error {
	names, err := j.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if j.done(name) {
			continue
		}
		jr, err := j.read(name)
		if err == nil && share(jr.plan.Folders, folders) {
			return fmt.Errorf("changing nothing: what was interrupted in %s is neither finished nor taken back", strings.Join(jr.plan.Folders, ", "))
		}
	}
	return nil
}

func (j Journals) recover(jr *journal) (r Recovered, err error) {
	r = Recovered{Sandbox: jr.plan.Sandbox, Undo: jr.plan.Back, folders: jr.plan.Folders}
	if len(jr.plan.Folders) > 0 {
		r.Folder = jr.plan.Folders[0]
	}
	if err := jr.open(); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // the folder is gone, and what was staged with it
			return r, jr.remove()
		}
		return r, err
	}
	defer jr.close()
	if err := jr.openStages(false); err != nil {
		return r, err
	}
	switch {
	case !jr.has(stagedFile):
		return r, jr.giveUp()
	case jr.has(backFile):
		return r.takenBack(jr)
	}
	if !jr.has(appliedFile) {
		if err := jr.forward(); err != nil {
			return r.takenBack(jr)
		}
	}
	r.Finished = true
	return r, j.finish(jr)
}

// takenBack takes a journal back. What is lost with the folder that held it is told, and holds up nothing.
func (r Recovered) takenBack(jr *journal) (Recovered, error) {
	err := jr.takeBack()
	var lost *LostError
	if errors.As(err, &lost) {
		r.Lost, err = lost.Paths, nil
	}
	return r, err
}
