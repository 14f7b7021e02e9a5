package profiles

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is a kind of project that a built-in profile is for.
type Kind struct {
	Name string // of the built-in profile
	File string // by which the project shows it
	// Tasks are those that differ from the built-in profile's.
	Tasks []KindTask
}

// KindTask is a line of [tasks].
type KindTask struct{ Name, Run string }

// marks are the files by which a project shows its kind, the more telling
// first: a Makefile says least, for any project may have one.
var marks = []Kind{
	{"debian-package", "debian/control", nil},
	{"node", "package.json", nil},
	{"go", "go.mod", nil},
	{"rust", "Cargo.toml", nil},
	{"python", "pyproject.toml", nil},
	{"python", "setup.py", nil},
	{"java", "pom.xml", nil},
	{"java", "build.gradle", []KindTask{{"build", "gradle --offline build"}, {"test", "gradle --offline test"}}},
	{"java", "build.gradle.kts", []KindTask{{"build", "gradle --offline build"}, {"test", "gradle --offline test"}}},
	{"ruby", "Gemfile", nil},
	{"ruby", "Rakefile", nil},
	{"c", "Makefile", nil},
	{"c", "CMakeLists.txt", []KindTask{{"build", "cmake -B build && cmake --build build"}, {"test", "ctest --test-dir build"}}},
	{"c", "meson.build", []KindTask{{"build", "meson setup --reconfigure build && meson compile -C build"}, {"test", "meson test -C build"}}},
	{"c", "configure", []KindTask{{"build", "./configure && make"}}},
}

// Detect lists the kinds of project that a folder is, the most telling first,
// each once. It looks at names alone: what such a file says is not trusted.
func Detect(dir string) []Kind {
	var list []Kind
	for _, m := range marks {
		known := slices.ContainsFunc(list, func(k Kind) bool { return k.Name == m.Name })
		if fi, err := os.Lstat(filepath.Join(dir, m.File)); err == nil && fi.Mode().IsRegular() && !known {
			list = append(list, m)
		}
	}
	return list
}

// suggest has the built-in profile that fits a project without a file of its own stand in for that, where a task of it is
// asked for that the user's own profiles do not have. It counts as the project's: the names of a project's files say
// which it is, so what it asks for is a grant.
func (l *Layers) suggest(r *loader) error {
	p := l.o.Project
	_, own := l.user.Tasks[l.o.Task]
	wanted := l.o.Suggest || l.o.Task != "" && !own
	if !wanted || p.HasFile || p.Dir == "" || p.HoldsHome || p.System || p.Kernel {
		return nil
	}
	kinds := Detect(p.Dir)
	if len(kinds) == 0 {
		return nil
	}
	l.kind = kinds[0]
	at := Origin{Layer: LayerProject, File: filepath.Join(p.Dir, l.kind.File)}
	ext, err := r.extended(Val[string]{V: l.kind.Name, Set: true, From: at}, nil)
	if err != nil {
		return err
	}
	ext.Variants = nil
	for _, t := range l.kind.Tasks {
		ext.Tasks[t.Name] = Task{Run: Val[string]{V: t.Run, Set: true}}
	}
	for name := range l.user.Tasks {
		delete(ext.Tasks, name)
	}
	stamp(ext, func(o *Origin) {
		optional := o.Optional
		*o = at
		o.Via, o.Optional = l.kind.Name, optional
	})
	l.project = ext
	return nil
}

// File is the project's profile, or the file by which a built-in one stands in for it.
func (l *Layers) File() string {
	if l.kind.Name != "" {
		return filepath.Join(l.o.Project.Dir, l.kind.File)
	}
	return l.o.Project.File()
}

// StandsIn names the built-in profile that stands in for a project's file; empty where none does.
func (l *Layers) StandsIn() string { return l.kind.Name }

// Draft is the text of an sbx.toml to begin with: minimal, with comments on
// what people change first.
type Draft struct {
	Schema string // path of the schema for editors; empty: none
	Kind   Kind   // the zero Kind: of no kind that is known
	Others []Kind
	// Lines are further lines below the table that each begins with, and
	// LeftOut what could not be said in a profile. Both come from elsewhere.
	Tables  map[string][]string
	LeftOut []string
}

// Text is the draft as TOML.
func (d Draft) Text() string {
	var b strings.Builder
	if d.Schema != "" {
		fmt.Fprintf(&b, "#:schema file://%s\n", d.Schema)
	}
	b.WriteString("# The sandbox of this project, for `sbx run`. It stands on the default one: the\n# project writable, no home folder, no network, no variables of yours.\n")
	if d.Kind.Name != "" {
		fmt.Fprintf(&b, "\nextends = %q%s\n", d.Kind.Name, comment(d.Kind.File, d.Others))
	}
	d.table(&b, "root", nil)
	d.table(&b, "files", []string{`# hide = ["secrets/"]       # paths of the project that are not shown`, `# project = "read"          # read-only`})
	d.table(&b, "network", nil)
	d.table(&b, "limits", []string{`# time = "30m"`})
	d.table(&b, "env", nil)
	d.table(&b, "env.set", nil)
	d.table(&b, "tasks", d.tasks())
	for _, s := range d.LeftOut {
		fmt.Fprintf(&b, "# left out: %s\n", printable(s))
	}
	return b.String()
}

func comment(file string, others []Kind) string {
	s := "  # for " + file
	for i, o := range others {
		if i == 0 {
			s += "; there is also "
		} else {
			s += ", "
		}
		s += fmt.Sprintf("%s (%q)", o.File, o.Name)
	}
	return s
}

func (d Draft) table(b *strings.Builder, name string, lines []string) {
	lines = append(slices.Clone(d.Tables[name]), lines...)
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n[%s]\n%s\n", name, strings.Join(lines, "\n"))
}

func (d Draft) tasks() []string {
	if d.Kind.Name == "" {
		return []string{`# build = "make"            # sbx run :build`}
	}
	if len(d.Kind.Tasks) == 0 {
		return []string{fmt.Sprintf("# build and test are those of the profile %q: sbx tasks", d.Kind.Name)}
	}
	var lines []string
	for _, t := range d.Kind.Tasks {
		lines = append(lines, t.Name+" = "+tomlString(t.Run))
	}
	return lines
}
