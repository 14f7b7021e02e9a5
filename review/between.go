package review

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is a path that is another one in what a second set holds back than in a first.
type Difference struct {
	Folder, Path string
	Kind         Kind
	// Later is why the host would run it later, as the second set has it.
	Later         string
	before, after *Change
}

// Between tells in what the second of two sets differs from the first: two points of one sandbox, or two
// sandboxes. What both change alike is no difference. Folders that only one of them captures count.
func Between(first, second *Set) ([]*Difference, error) {
	before, err := changesByPlace(first)
	if err != nil {
		return nil, err
	}
	after, err := changesByPlace(second)
	if err != nil {
		return nil, err
	}
	var list []*Difference
	for place, c := range after {
		d := &Difference{Folder: c.held.Folder, Path: c.Listed(), Later: c.Later, Kind: c.Kind, before: before[place], after: c}
		if d.before != nil {
			same, err := d.compare()
			if err != nil {
				return nil, err
			}
			if same {
				continue
			}
		}
		list = append(list, d)
	}
	for place, c := range before {
		if after[place] == nil {
			list = append(list, &Difference{Folder: c.held.Folder, Path: c.Listed(), Kind: reverse(c), before: c})
		}
	}
	slices.SortFunc(list, func(a, b *Difference) int {
		return strings.Compare(a.Folder+"\x00"+a.Path, b.Folder+"\x00"+b.Path)
	})
	return list, nil
}

func changesByPlace(s *Set) (map[string]*Change, error) {
	s.Unfolded = true
	all, err := s.Changes()
	if err != nil {
		return nil, err
	}
	places := map[string]*Change{}
	for _, c := range all {
		if c.Kind == Renamed { // as what it is at both places
			gone, came := *c, *c
			gone.Path, gone.Kind, gone.new = c.From, Deleted, nil
			came.Kind, came.old = Created, nil
			places[gone.Where()], places[came.Where()] = &gone, &came
			continue
		}
		places[c.Where()] = c
	}
	return places, nil
}

// reverse is what it looks like when a change is not there any more.
func reverse(c *Change) Kind {
	switch c.Kind {
	case Created:
		return Deleted
	case Deleted:
		return Created
	}
	return c.Kind
}

// compare tells whether both sides hold the same, and else in what they differ.
func (d *Difference) compare() (same bool, err error) {
	a, b := d.before.new, d.after.new
	switch {
	case a == nil && b == nil:
		return true, nil
	case b == nil:
		d.Kind = Deleted
		return false, nil
	case a == nil:
		d.Kind = Created
		return false, nil
	case a.kind() != b.kind():
		d.Kind = Replaced
		return false, nil
	}
	if same, err = d.sameContent(); err != nil || !same {
		d.Kind = Changed
		return false, err
	}
	d.Kind = Mode
	return a.shown() == b.shown(), nil
}

func (d *Difference) sameContent() (bool, error) {
	a, b := d.before, d.after
	switch {
	case a.new.link():
		one, err1 := a.held.upper.readlink(a.Path)
		two, err2 := b.held.upper.readlink(b.Path)
		if err1 != nil {
			return false, err1
		}
		return one == two, err2
	case !a.new.regular():
		return true, nil
	case a.new.Size != b.new.Size:
		return false, nil
	}
	one, _, err := a.held.upper.open(a.Path)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", a.Path, err)
	}
	defer one.Close()
	two, _, err := b.held.upper.open(b.Path)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", b.Path, err)
	}
	defer two.Close()
	return sameContent(one, two, a.new.Size)
}

// Where is the path of the host that it is about.
func (d *Difference) Where() string {
	if d.after != nil {
		return d.after.Where()
	}
	return d.before.Where()
}

// Patch compares both sides line by line: what each holds back, or the host's file where one holds nothing.
func (d *Difference) Patch() (*Patch, error) {
	var texts [2]string
	for i, c := range []*Change{d.before, d.after} {
		held := c != nil
		if !held {
			c = []*Change{d.after, d.before}[i]
		}
		host, changed, ok, err := c.sides()
		if err != nil || !ok {
			return &Patch{Binary: err == nil}, err
		}
		texts[i] = string(host)
		if held {
			texts[i] = string(changed)
		}
	}
	return compareText(texts[0], texts[1]), nil
}
