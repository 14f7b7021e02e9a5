package profiles

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Named is a profile that -p and extends can name, or a variant of the
// project's file, which -p can.
type Named struct {
	Name    string
	From    string // path of the file, or "built-in"
	Variant bool
	Default bool   // every run starts from it
	About   string // the first sentence of its comment
}

// Names lists the profiles: the user's own, the built-in ones that none of
// those hides, and the variants of the user's default profile and of the
// project.
func (l *Layers) Names() []Named {
	var out []Named
	for _, name := range userNames(l.o.ConfigHome) {
		path := filepath.Join(l.o.ConfigHome, "profiles", name+".toml")
		text, _ := readOwn(path)
		out = append(out, Named{Name: name, From: path, About: about(text)})
	}
	for _, name := range builtinNames() {
		if !slices.ContainsFunc(out, func(n Named) bool { return n.Name == name }) {
			text, _ := builtins.ReadFile("builtin/" + name + ".toml")
			out = append(out, Named{Name: name, From: "built-in", About: about(string(text))})
		}
	}
	slices.SortFunc(out, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	start := hostProfile
	if l.Config.Profile.Set {
		start = l.Config.Profile.V
	}
	for i := range out {
		out[i].Default = out[i].Name == start
	}
	for _, name := range sortedNames(l.user.Variants) {
		out = append(out, Named{Name: name, From: start, Variant: true})
	}
	for _, name := range sortedNames(l.project.Variants) {
		out = append(out, Named{Name: name, From: l.o.Project.File(), Variant: true})
	}
	return out
}

// Tasks returns the tasks that can be run, those of the project in front of
// those of the user's of the same name.
func (l *Layers) Tasks() map[string]Task { return mergeNamed(l.user.Tasks, l.mine(false).Tasks) }

// BuiltinNames are the names of the built-in profiles, sorted.
func BuiltinNames() []string { return builtinNames() }

func builtinNames() []string { return tomlFiles(builtins, "builtin") }

func userNames(configHome string) []string {
	if configHome == "" {
		return nil
	}
	return tomlFiles(os.DirFS(configHome), "profiles")
}

func tomlFiles(fsys fs.FS, dir string) []string {
	var names []string
	files, _ := fs.Glob(fsys, dir+"/*.toml")
	for _, f := range files {
		if name, _ := cutTOML(filepath.Base(f)); isName(name) {
			names = append(names, name)
		}
	}
	return names
}

func cutTOML(file string) (name string, ok bool) { return strings.CutSuffix(file, ".toml") }

// about is the first sentence of the comment that a file begins with.
func about(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok || strings.HasPrefix(comment, ":") {
			break
		}
		words = append(words, strings.Fields(comment)...)
	}
	first, _, _ := strings.Cut(strings.Join(words, " "), ". ")
	return strings.TrimSuffix(first, ".")
}
