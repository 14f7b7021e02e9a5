package review

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// What an operation does to one path of the host.
const (
	opPut    = "put"    // a file or link comes, in the place of another or of nothing
	opRemove = "remove" // a file of any kind goes
	opMkdir  = "mkdir"
	opRmdir  = "rmdir"
	opChmod  = "chmod"
)

// op is one step of a plan. Each is one system call that takes effect wholly or not at all, and whether it
// was done can be seen, so a plan that was interrupted can be gone on with or taken back.
type op struct {
	Do     string `json:"do"`
	Folder int    `json:"folder"` // of plan.Folders
	Path   raw    `json:"path"`
	// Old is what the host has; nil is nothing. New is what comes: what is staged, once it is.
	Old *node `json:"old,omitempty"`
	New *node `json:"new,omitempty"`
	// Target is that of a symlink that comes.
	Target raw `json:"target,omitempty"`
	// Link is the number of the operation, plus one, whose new file this is another name of.
	Link int `json:"link,omitempty"`
	// Kept is the number of the operation of an earlier journal that keeps what comes.
	Kept int `json:"kept,omitempty"`
	// Loose operations may find that they are not needed: a folder that is in use, or there already.
	Loose bool `json:"loose,omitempty"`

	// Merged is the sandbox's file that was merged into what comes.
	Merged *node `json:"merged,omitempty"`

	change *Change // what to stage from
}

// plan is all that one apply, or undo, does.
type plan struct {
	Version int      `json:"version"`
	Sandbox string   `json:"sandbox"`
	Folders []string `json:"folders"`
	// Captures are the folders of the captures of these, which may be gone by now.
	Captures []string `json:"captures"`
	// Projects are those of the sandboxes, where one asks for it as in the folders.
	Projects []string `json:"projects,omitempty"`
	// Undoes is the journal that this plan takes back.
	Undoes string `json:"undoes,omitempty"`
	// Back says that it takes back what was applied; else it brings it, or brings it again.
	Back bool `json:"back,omitempty"`
	Ops  []op `json:"ops"`
}

// ConflictError is what stands against an apply or an undo: the paths, with what the host did.
type ConflictError struct {
	Conflicts []Conflict
	Undo      bool
}

// Conflict is one path of the host and what happened to it.
type Conflict struct{ Path, Why string }

func (e *ConflictError) Error() string {
	what := "applying"
	if e.Undo {
		what = "undoing"
	}
	text := fmt.Sprintf("%s nothing: %s: %s", what, e.Conflicts[0].Path, e.Conflicts[0].Why)
	if n := len(e.Conflicts) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// planner makes a plan of changes.
type planner struct {
	plan      plan
	index     map[*held]int
	made      map[string]bool // folders that the plan makes, by folder and path
	links     map[[2]uint64]int
	removing  map[string]bool
	conflicts []Conflict
	// overwrite takes conflicts for settled.
	overwrite bool
}

// planOf orders what changes do: what goes before what comes in its place, folders before what is in them.
func (s *Set) planOf(changes []*Change, overwrite bool) (*plan, error) {
	p := &planner{index: map[*held]int{}, made: map[string]bool{}, links: map[[2]uint64]int{}, removing: map[string]bool{}, overwrite: overwrite}
	for i, h := range s.captures {
		p.index[h] = i
		p.plan.Folders = append(p.plan.Folders, h.Folder)
		p.plan.Captures = append(p.plan.Captures, h.Dir)
		if h.Project != "" && !slices.Contains(p.plan.Projects, h.Project) {
			p.plan.Projects = append(p.plan.Projects, h.Project)
		}
	}
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b *Change) int { return strings.Compare(a.Path, b.Path) })
	for _, c := range changes {
		if c.Refused != "" {
			p.conflict(c, c.Refused)
		} else if c.Conflict != "" && !overwrite {
			p.conflict(c, c.Conflict)
		}
	}
	if len(p.conflicts) > 0 {
		return nil, &ConflictError{Conflicts: p.conflicts}
	}
	steps := []func(*Change) error{p.goes, p.comes, p.modes}
	for _, step := range steps {
		for _, c := range changes {
			if err := step(c); err != nil {
				return nil, err
			}
		}
	}
	if len(p.conflicts) > 0 {
		return nil, &ConflictError{Conflicts: p.conflicts}
	}
	return &p.plan, nil
}

func (p *planner) conflict(c *Change, why string) {
	p.conflicts = append(p.conflicts, Conflict{c.Where(), why})
}

func (p *planner) add(c *Change, o op) {
	o.Folder = p.index[c.held]
	o.change = c
	p.plan.Ops = append(p.plan.Ops, o)
}

// meanwhile finds what the host did to a path that goes after the changes were listed.
func (p *planner) meanwhile(c *Change, rel string, n *node) {
	if p.overwrite {
		return
	}
	if why := c.held.hostChanged(rel, n); why != "" {
		p.conflict(c, why+": "+rel)
	}
}

// goes plans what is removed.
func (p *planner) goes(c *Change) error {
	switch {
	case c.Kind == Renamed:
		n, err := c.held.host.lookup(c.From)
		if err != nil || n == nil {
			return err
		}
		if c.inside != nil {
			return p.folderGoes(c, c.From, n)
		}
		p.meanwhile(c, c.From, n)
		p.add(c, op{Do: opRemove, Path: raw(c.From), Old: n})
	case c.old == nil || c.Kind != Deleted && c.Kind != Replaced:
	case c.old.folder():
		if err := p.folderGoes(c, c.Path, c.old); err != nil {
			return err
		}
	case c.Kind == Deleted || c.new.folder():
		p.add(c, op{Do: opRemove, Path: raw(c.Path), Old: c.old})
	}
	if c.Kind == Replaced {
		p.removing[c.held.Folder+"\x00"+c.Path] = true
	}
	return nil
}

// folderGoes plans the removal of a folder with all that is in it.
func (p *planner) folderGoes(c *Change, rel string, n *node) error {
	err := c.held.each(rel, func(rel string, n *node) error {
		do := opRemove
		if n.folder() {
			do = opRmdir
		} else if n.Nlink == 1 || n.Mtime > c.held.Began.UnixNano() { // as count has it
			p.meanwhile(c, rel, n)
		}
		p.add(c, op{Do: do, Path: raw(rel), Old: n})
		return nil
	})
	if err != nil {
		return err
	}
	p.add(c, op{Do: opRmdir, Path: raw(rel), Old: n})
	return nil
}

// comes plans what is made, with the folders above it.
func (p *planner) comes(c *Change) error {
	if c.new == nil || c.Kind == Mode {
		return nil
	}
	if err := p.above(c, path.Dir(c.Path)); err != nil {
		return err
	}
	if c.new.folder() {
		if err := p.mkdir(c, c.Path, c.new); err != nil {
			return err
		}
		for _, inner := range c.inside {
			if err := p.comes(inner); err != nil {
				return err
			}
		}
		return nil
	}
	o := op{Do: opPut, Path: raw(c.Path), New: c.new, Target: raw(c.Target), Old: c.old}
	if c.Kind == Replaced && c.old.folder() {
		o.Old = nil // it has gone by then
	}
	if c.text != nil && !c.part {
		o.Merged = c.new
	}
	if c.new.Nlink > 1 && c.new.regular() && c.text == nil {
		key := [2]uint64{c.new.Dev, c.new.Ino}
		if first, ok := p.links[key]; ok {
			o.Link = first
		} else {
			p.links[key] = len(p.plan.Ops) + 1
		}
	}
	p.add(c, o)
	return nil
}

// mkdir plans a folder.
func (p *planner) mkdir(c *Change, rel string, n *node) error {
	key := c.held.Folder + "\x00" + rel
	if !p.made[key] {
		p.made[key] = true
		p.add(c, op{Do: opMkdir, Path: raw(rel), New: n})
	}
	return nil
}

// above plans the folders that a change needs and the host does not have.
func (p *planner) above(c *Change, dir string) error {
	if dir == "." || p.made[c.held.Folder+"\x00"+dir] {
		return nil
	}
	n, err := c.held.host.lookup(dir)
	switch {
	case err != nil:
		return err
	case n != nil && n.folder():
		p.made[c.held.Folder+"\x00"+dir] = true
		return nil
	case n != nil && !p.removing[c.held.Folder+"\x00"+dir]:
		p.conflict(c, "the host has a "+typeOf(n)+" where its folder is to be: choose "+path.Join(c.held.Folder, dir)+" too")
		return nil
	}
	if err := p.above(c, path.Dir(dir)); err != nil {
		return err
	}
	up, err := c.held.upper.stat(dir)
	if err != nil {
		return err
	}
	up.Mode &^= 0o022 // that others may write to it is a change of its own
	return p.mkdir(c, dir, &up)
}

// modes plans permission bits: those of folders that could not be filled with them, from the inside out.
func (p *planner) modes(c *Change) error {
	if c.Kind != Mode {
		return nil
	}
	p.add(c, op{Do: opChmod, Path: raw(c.Path), Old: c.old, New: c.new})
	return nil
}
