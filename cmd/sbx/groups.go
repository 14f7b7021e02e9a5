package main

import (
	"fmt"
	"path"
	"strings"

	"sbx/review"
)

// This file counts changes that are held back, and gathers them in groups, so that a crowd hides nothing.

// tally counts changes.
type tally struct{ changed, created, deleted, renamed, later, conflicts, refused int }

func count(list []*review.Change) tally {
	var t tally
	for _, c := range list {
		if c.Inner {
			continue
		}
		switch c.Kind {
		case review.Created:
			t.created++
		case review.Deleted:
			t.deleted++
		case review.Renamed:
			t.renamed++
		default:
			t.changed++
		}
		for n, is := range map[*int]bool{&t.later: c.Later != "", &t.conflicts: c.Conflict != "", &t.refused: c.Refused != ""} {
			if is {
				*n++
			}
		}
	}
	return t
}

// words are a tally as people read it: 12 changed, 3 new, 1 runs later.
func (t tally) words() string {
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{t.changed, "changed"}, {t.created, "new"}, {t.deleted, "deleted"}, {t.renamed, "renamed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	if t.later > 0 {
		parts = append(parts, several(uint64(t.later), "runs later", "run later"))
	}
	if t.conflicts > 0 {
		parts = append(parts, several(uint64(t.conflicts), "is in conflict", "are in conflict"))
	}
	if t.refused > 0 {
		parts = append(parts, fmt.Sprintf("%d cannot be applied", t.refused))
	}
	if len(parts) == 0 {
		return "nothing is changed"
	}
	return strings.Join(parts, ", ")
}

// row is a line of the list: one change, or some that belong together.
type row struct {
	name    string
	changes []*review.Change
}

// rows gathers changes: packages of node_modules, new folders with many files, and many that run later for
// one reason in one folder.
func rows(list []*review.Change, all bool) (later, rest []row) {
	made := map[string]bool{}
	for _, c := range list {
		if c.Inner {
			made[c.Where()] = true
		}
	}
	index := map[string]int{}
	for _, c := range list {
		if c.Inner {
			continue
		}
		if c.Later != "" {
			later = append(later, row{shownPath(c), []*review.Change{c}})
			continue
		}
		key := groupOf(c, made)
		if at, ok := index[key]; ok && key != "" && !all {
			rest[at].changes = append(rest[at].changes, c)
			continue
		}
		index[key] = len(rest)
		rest = append(rest, row{key, []*review.Change{c}})
	}
	return crowded(later, all), spread(rest)
}

// few is how many changes of one group are still told one by one.
const few = 12

// spread tells small groups that are no packages one by one.
func spread(list []row) []row {
	var out []row
	for _, r := range list {
		if strings.Contains(r.name, "node_modules/") && len(r.changes) > 1 || len(r.changes) > few {
			out = append(out, r)
			continue
		}
		for _, c := range r.changes {
			out = append(out, row{shownPath(c), []*review.Change{c}})
		}
	}
	return out
}

// groupOf names the group of a change: its package, or the topmost folder that is new with it.
func groupOf(c *review.Change, made map[string]bool) string {
	if c.Kind == review.Renamed && c.Type() == "folder" {
		return ""
	}
	if before, after, ok := strings.Cut("/"+c.Shown(), "/node_modules/"); ok {
		steps := strings.SplitN(after, "/", 3)
		n := 1
		if strings.HasPrefix(steps[0], "@") { // a scope
			n = 2
		}
		if len(steps) > n {
			return strings.TrimPrefix(before+"/node_modules/"+strings.Join(steps[:n], "/")+"/", "/")
		}
		return ""
	}
	top := ""
	for dir := path.Dir(c.Where()); made[dir]; dir = path.Dir(dir) {
		top = dir
	}
	if top == "" {
		return ""
	}
	steps := strings.Count(strings.TrimPrefix(c.Where(), top), "/")
	name := c.Shown()
	for range steps {
		name = path.Dir(name)
	}
	return name + "/"
}

// crowded gathers those that run later where they are many of one kind in one folder: the few others would
// be hidden.
func crowded(list []row, all bool) []row {
	if all {
		return list
	}
	type key struct{ folder, top, why string }
	groups := map[key][]*review.Change{}
	keyOf := func(c *review.Change) key {
		top, _, nested := strings.Cut(c.Listed(), "/")
		if !nested {
			top = "."
		}
		return key{strings.TrimSuffix(c.Shown(), c.Listed()), top, c.Later}
	}
	for _, r := range list {
		k := keyOf(r.changes[0])
		groups[k] = append(groups[k], r.changes[0])
	}
	var out []row
	told := map[key]bool{}
	for _, r := range list {
		k := keyOf(r.changes[0])
		switch {
		case len(groups[k]) <= few || k.top == "." || k.top == ".git":
			out = append(out, r)
		case !told[k]:
			told[k] = true
			out = append(out, row{k.folder + k.top + "/", groups[k]})
		}
	}
	return out
}
