package review

import (
	"errors"
	"fmt"
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
	// far says that the journal is on another file system than the folder: what goes is copied there first.
	far []bool
}

// staged is one file that lies ready.
type staged struct {
	Ino   uint64 `json:"i"`
	Size  int64  `json:"s"`
	Mtime int64  `json:"t"`
	Mode  uint32 `json:"m"`
}

const (
	planFile    = "plan.json"
	stagedFile  = "staged.json"
	backFile    = "back"
	appliedFile = "applied"
	doneFile    = "done.json"
	oldFolder   = "old"
	planVersion = 1
	// stagePrefix begins the name of the staging folder, which the name of the journal ends.
	stagePrefix = ".sbx-apply-"
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
	if err := replaceFile(j.dir, name, nil, true); err != nil {
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

// stageName is the staging folder's.
func (j *journal) stageName() string { return stagePrefix + j.name }

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
		entries, err := s.list("")
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := unix.Unlinkat(int(s.root.Fd()), string(e.Name), 0); err != nil && err != unix.ENOENT {
				return &os.PathError{Op: "removing", Path: filepath.Join(s.path, string(e.Name)), Err: err}
			}
			step()
		}
		err = unix.Unlinkat(int(j.trees[i].root.Fd()), j.stageName(), unix.AT_REMOVEDIR)
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "removing", Path: s.path, Err: err}
		}
		step()
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
}

// Recover finishes or takes back what was interrupted: what was wholly laid ready is finished. The caller
// holds the lock.
func (j Journals) Recover() ([]Recovered, error) {
	names, err := j.names()
	if err != nil {
		return nil, err
	}
	var list []Recovered
	for _, name := range names {
		if _, err := strconv.ParseInt(name, 10, 64); err != nil {
			continue
		}
		jr, err := j.read(name)
		if errors.Is(err, fs.ErrNotExist) { // it had not even been planned
			jr.remove()
			continue
		}
		if err != nil || jr.has(doneFile) {
			continue
		}
		r, err := j.recover(jr)
		if err != nil {
			return list, fmt.Errorf("going on with what was interrupted in %s: %w", strings.Join(jr.plan.Folders, ", "), err)
		}
		list = append(list, r)
	}
	return list, nil
}

func (j Journals) recover(jr *journal) (r Recovered, err error) {
	r = Recovered{Sandbox: jr.plan.Sandbox, Undo: jr.plan.Back}
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
		return r, jr.takeBack()
	}
	if !jr.has(appliedFile) {
		if err := jr.forward(); err != nil {
			return r, jr.takeBack()
		}
	}
	r.Finished = true
	return r, j.finish(jr)
}
