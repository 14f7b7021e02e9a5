package review

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Applied is an apply that can be undone, or an undo that can be redone.
type Applied struct {
	Sandbox string
	// Folders are those of the host that it is about, and Projects those from where one may mean it, too.
	Folders  []string
	Projects []string
	// Undone says that it was taken back.
	Undone bool
	// Paths are those that it changed.
	Paths []string

	name string
}

// Last finds the last apply, or undo, that matches. nil is none.
func (j Journals) Last(match func(a *Applied) bool) (*Applied, error) {
	names, err := j.names()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		jr, err := j.read(name)
		if err != nil || !jr.has(doneFile) || len(jr.plan.Folders) == 0 {
			continue
		}
		var d done
		if err := readJSON(jr.dir, doneFile, &d); err != nil {
			return nil, fmt.Errorf("reading the journal %s: %w", name, err)
		}
		a := &Applied{Sandbox: jr.plan.Sandbox, Folders: jr.plan.Folders, Projects: jr.plan.Projects, Undone: jr.plan.Back, name: name}
		for _, o := range jr.plan.Ops {
			a.Paths = append(a.Paths, filepath.Join(jr.plan.Folders[o.Folder], string(o.Path)))
		}
		if match(a) {
			return a, nil
		}
	}
	return nil, nil
}

// Undo takes an apply back, or does it again where it was taken back: all of it or, where the host has changed
// any of it since, nothing, with a *ConflictError. The caller holds the lock, and has called Recover.
func (j Journals) Undo(a *Applied) error {
	jr, err := j.read(a.name)
	if err != nil {
		return err
	}
	var d done
	if err := readJSON(jr.dir, doneFile, &d); err != nil {
		return fmt.Errorf("reading the journal %s: %w", a.name, err)
	}
	if len(d.Now) != len(jr.plan.Ops) {
		return fmt.Errorf("reading the journal %s: it is damaged", a.name)
	}
	if err := jr.open(); err != nil {
		return err
	}
	defer jr.close()
	if err := jr.unchanged(&d); err != nil {
		return err
	}
	p := &plan{Sandbox: jr.plan.Sandbox, Folders: jr.plan.Folders, Captures: jr.plan.Captures, Projects: jr.plan.Projects, Undoes: a.name, Back: !jr.plan.Back}
	for i := range slices.Backward(jr.plan.Ops) {
		if back, ok := jr.plan.Ops[i].reverse(i, d.Now[i]); ok {
			p.Ops = append(p.Ops, back)
		}
	}
	return j.run(p, &Set{}, jr)
}

// unchanged holds the host against what was left there.
func (j *journal) unchanged(d *done) error {
	var list []Conflict
	last := map[string]int{} // an operation may have made room for another one
	for i, o := range j.plan.Ops {
		last[fmt.Sprint(o.Folder, "\x00", o.Path)] = i
	}
	for i, o := range j.plan.Ops {
		if last[fmt.Sprint(o.Folder, "\x00", o.Path)] != i {
			continue
		}
		now, err := j.trees[o.Folder].lookup(string(o.Path))
		if err != nil {
			return err
		}
		was := d.Now[i]
		same := was == nil && now == nil || was != nil && now != nil &&
			(was.same(now) || now.folder() && was.folder() && now.perm() == was.perm())
		if !same && !(o.Do == opMkdir && now == nil) {
			list = append(list, Conflict{filepath.Join(j.plan.Folders[o.Folder], string(o.Path)), "it was changed after it was applied"})
		}
	}
	if len(list) > 0 {
		return &ConflictError{list, true}
	}
	return nil
}

// reverse is the operation that takes this one back. now is what it left.
func (o *op) reverse(i int, now *node) (op, bool) {
	back := op{Folder: o.Folder, Path: o.Path}
	switch o.Do {
	case opPut:
		if now == nil { // removed again by a later operation of the same plan
			return back, false
		}
		back.Do, back.Old = opRemove, now
		if o.Old != nil {
			back.Do, back.New, back.Kept = opPut, o.Old, i+1
		}
	case opRemove:
		back.Do, back.New, back.Kept = opPut, o.Old, i+1
	case opMkdir:
		back.Do, back.Old, back.Loose = opRmdir, o.New, true
	case opRmdir:
		back.Do, back.New = opMkdir, o.Old
	case opChmod:
		back.Do, back.Old, back.New = opChmod, now, o.Old
	}
	return back, true
}
