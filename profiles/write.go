package profiles

import (
	"fmt"
	"strings"
)

// Lines is a merged profile as TOML, line by line, with the place that each
// value came from. A line without a value has none.
func (l *Loaded) Lines() []Line {
	w := &writer{}
	w.table("", &l.Profile)
	for _, name := range sortedNames(l.Profile.Tasks) {
		t := l.Profile.Tasks[name]
		w.header("tasks." + tomlKey(name))
		w.add("run = "+tomlString(t.Run.V), t.Run.From)
		w.table("tasks."+tomlKey(name)+".", &t.Profile)
	}
	return w.lines
}

// Line is a line of a profile.
type Line struct {
	Text string
	From Origin // of a value; else the zero Origin
}

type writer struct {
	lines   []Line
	current string // the table
}

func (w *writer) add(text string, from Origin) { w.lines = append(w.lines, Line{text, from}) }

func (w *writer) header(table string) {
	if len(w.lines) > 0 {
		w.add("", Origin{})
	}
	w.add("["+table+"]", Origin{})
	w.current = table
}

// table writes the values of a profile as tables below prefix.
func (w *writer) table(prefix string, p *Profile) {
	for _, k := range profileKeys {
		entries := k.entries(p)
		if len(entries) == 0 {
			continue
		}
		table, name, _ := strings.Cut(k.path(), ".")
		if _, isDict := k.(dict[Profile]); isDict {
			table, name = k.path(), ""
		}
		if w.current != prefix+table {
			w.header(prefix + table)
		}
		w.entries(k, name, entries)
	}
}

func (w *writer) entries(k key[Profile], name string, entries []Entry) {
	switch {
	case name == "":
		for _, e := range entries {
			w.add(tomlKey(strings.TrimPrefix(e.Key, k.path()+"."))+" = "+tomlString(e.Value), e.From)
		}
	case !k.many():
		w.add(name+" = "+tomlValue(entries[0]), entries[0].From)
	case len(entries) == 1 && entries[0].Value == "":
		w.add(name+" = []", entries[0].From)
	default:
		w.add(name+" = [", Origin{})
		for _, e := range entries {
			w.add("  "+tomlValue(e)+",", e.From)
		}
		w.add("]", Origin{})
	}
}

func tomlValue(e Entry) string {
	if e.Bare {
		return e.Value
	}
	return tomlString(e.Value)
}

// tomlKey is a name as a key: bare where it can be.
func tomlKey(name string) string {
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-') {
			return tomlString(name)
		}
	}
	return name
}

// tomlString is a basic string of TOML. What a terminal would not show as it
// is comes as an escape, which Go writes in part in a way of its own.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case printable(string(r)) == string(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
