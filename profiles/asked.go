package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// Asked lists what the project's layer asks for beyond the user's own, as it
// is chosen: with the variant of -p and the task that is to run. A part is
// named where only that part asks.
func (l *Layers) Asked() []Grant {
	all := l.asked(l.own(), l.mine(true))
	if len(all) == 0 || l.o.Name == "" && l.o.Task == "" {
		return all
	}
	var known []Grant
	for _, part := range l.parts(l.o.Name, l.o.Task) {
		known = append(known, l.beyond(known, part)...)
	}
	return slices.DeleteFunc(known, func(g Grant) bool {
		return !slices.ContainsFunc(all, func(a Grant) bool { return a.Key == g.Key && a.Value == g.Value })
	})
}

// AskedByAll lists what any part of the project's layer asks for: the file
// itself, each of its variants, each of its tasks. Neither flags nor the task
// that is to run count.
func (l *Layers) AskedByAll() []Grant {
	bare := *l
	bare.o.Flags, bare.o.Task = nil, ""
	l = &bare
	var known []Grant
	add := func(variant, task string) {
		for _, part := range l.parts(variant, task) {
			known = append(known, l.beyond(known, part)...)
		}
	}
	add("", "")
	for _, task := range sortedNames(l.project.Tasks) {
		add("", task)
	}
	for _, name := range sortedNames(l.project.Variants) {
		add(name, "")
		for _, task := range sortedNames(l.project.Variants[name].Tasks) {
			add(name, task)
		}
	}
	return known
}

// projectPart is the project's layer up to one part of its file.
type projectPart struct {
	name    string // as in Grant.Part
	profile *Profile
}

// parts are the file itself, it with a variant, and either with a task.
func (l *Layers) parts(variant, task string) []projectPart {
	list := []projectPart{{"", l.project}}
	v, hasVariant := l.project.Variants[variant]
	if hasVariant {
		list = append(list, projectPart{fmt.Sprintf("variant %q", variant), laid(l.project, v)})
		if t, ok := v.Tasks[task]; ok {
			name := fmt.Sprintf("variant %q, task %q", variant, task)
			return append(list, projectPart{name, laid(l.project, v, &t.Profile)})
		}
	}
	if t, ok := l.project.Tasks[task]; ok {
		list = append(list, projectPart{fmt.Sprintf("task %q", task), laid(l.project, &t.Profile)})
	}
	return list
}

// laid is profiles laid over each other.
func laid(profiles ...*Profile) *Profile {
	p := &Profile{}
	for _, over := range profiles {
		merge(p, over)
	}
	return p
}

// beyond lists what a part asks for that the parts before it do not.
func (l *Layers) beyond(known []Grant, part projectPart) []Grant {
	var out []Grant
	for _, g := range l.asked(l.own(), part.profile) {
		g.Part = part.name
		if !slices.ContainsFunc(known, func(k Grant) bool { return k.covers(g) }) {
			out = append(out, g)
		}
	}
	return out
}

// asked leaves out what the flags give: they are the user's own as well.
func (l *Layers) asked(user, mine *Profile) []Grant {
	out := newComparison(user, l.o.Home, l.o.Project.Dir, l.o.Protected).grants(mine)
	if len(out) == 0 || l.o.Flags == nil {
		return out
	}
	besides := newComparison(laid(user, l.o.Flags), l.o.Home, l.o.Project.Dir, l.o.Protected).grants(mine)
	return slices.DeleteFunc(out, func(g Grant) bool { return !slices.ContainsFunc(besides, g.covers) })
}

// covers tells whether who has g has o as well: the same, asked for by the
// same part, by one that holds it, or by the whole file.
func (g Grant) covers(o Grant) bool {
	inPart := g.Part == "" || g.Part == o.Part || strings.HasPrefix(o.Part, g.Part+", ")
	return g.Key == o.Key && g.Value == o.Value && inPart
}
