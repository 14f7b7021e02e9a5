package profiles

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options says where to load from.
type Options struct {
	ConfigHome string  // $XDG_CONFIG_HOME/sbx; empty or absent: no configuration of the user's
	Home       string  // what ~ stands for
	Project    Project // from FindProject
	Name       string  // of -p; empty: none
	Task       string  // the task to run; empty: none
	// Suggest also brings the tasks of the built-in profile that fits a project without a file of its own, as
	// the name of a task does that nothing else has.
	Suggest bool
	Flags   *Profile // from FromFlags; may be nil
	// Protected names places of the project, relative to it, that the host
	// executes later and that are therefore read-only inside. A `write` of the
	// project's own file in, at or above one is a grant.
	Protected []string
}

// Layers are the files that a run hangs on, each read once: what is shown to a
// person, agreed to and run are the same bytes.
type Layers struct {
	Config   Config
	o        Options
	defaults *Profile
	user     *Profile // the defaults and the user's own layers
	project  *Profile // the project's files, without the variant and the task
	named    bool     // -p names one of the user's
	kind     Kind     // by which a built-in profile stands in for a project's file; mostly none
}

// Loaded is a merged profile.
type Loaded struct {
	Profile Profile // with every default filled in; of the tasks only the one to run has a say in it
	Config  Config
	Grants  []Grant // what the merged profile asks for beyond the default sandbox
	Task    Task    // the one to run
}

// Entries lists every value of the merged profile with its origin, in the
// order of the schema.
func (l *Loaded) Entries() []Entry { return entriesOf(profileKeys, &l.Profile) }

//go:embed builtin/*.toml
var builtins embed.FS

const hostProfile = "host"

// loader carries what stays the same while the layers are read.
type loader struct{ Options }

// Read reads all layers and checks them. The layers, from the bottom: the
// built-in profile host; the user's default profile (config.toml says which);
// the profile of -p; the project's sbx.toml on top of those in the folders
// above it, with its variant of the name of -p; the flags. A task's own table
// lies on the layer that brought the task.
//
// A name that both the user and the project know means both: the user's
// profile in the user's layer, and the project's variant on top, which may
// only tighten. So no project can take a name away from the user.
//
// Paths of the project's read, write and mounts come back with their symlinks
// resolved: what was compared is what is to be mounted, following none.
//
// Its errors are Errors (places in files), *TaskError or plain.
func Read(o Options) (*Layers, error) {
	r := &loader{o}
	l := &Layers{o: o}
	var err error
	if l.Config, err = r.config(); err != nil {
		return nil, err
	}
	if l.defaults, err = r.defaults(l.Config); err != nil {
		return nil, err
	}
	if l.user, l.named, err = r.userLayer(l.defaults, l.Config); err != nil {
		return nil, err
	}
	if l.project, err = r.projectLayer(); err != nil {
		return nil, err
	}
	if err = l.suggest(r); err != nil {
		return nil, err
	}
	pin(l.project)
	return l, l.checkNames(r)
}

// Load is Read and Merge for who asks nobody: a project that asks for more
// than the user's own layers give is a *GrantError.
func Load(o Options) (*Loaded, error) {
	l, err := Read(o)
	if err != nil {
		return nil, err
	}
	if asked := l.Asked(); len(asked) > 0 {
		return nil, &GrantError{File: l.File(), Grants: asked, StandsIn: l.StandsIn()}
	}
	return l.Merge(), nil
}

// checkNames holds the names of -p and of the task against what there is.
func (l *Layers) checkNames(r *loader) error {
	_, isVariant := l.project.Variants[l.o.Name]
	if l.o.Name != "" && !isVariant && !l.named {
		return r.unknown(flagP, l.o.Name, l.project)
	}
	tasks := l.Tasks()
	if _, ok := tasks[l.o.Task]; l.o.Task != "" && !ok {
		return &TaskError{Name: l.o.Task, Known: sortedNames(tasks)}
	}
	return nil
}

// mine is the project's layer with the variant of -p, and with the table of
// the task where that is the project's.
func (l *Layers) mine(withTask bool) *Profile {
	p := laid(l.project)
	if v, ok := l.project.Variants[l.o.Name]; ok {
		merge(p, v)
	}
	if t, ok := p.Tasks[l.o.Task]; ok && withTask {
		merge(p, &t.Profile)
	}
	return p
}

// own is the user's layer, with the table of the task where that is the user's.
func (l *Layers) own() *Profile {
	t, ok := l.user.Tasks[l.o.Task]
	if _, theirs := l.mine(false).Tasks[l.o.Task]; !ok || theirs || l.o.Task == "" {
		return l.user
	}
	return laid(l.user, &t.Profile)
}

// Merge lays the project's layer, whatever it asks for, and the flags over the
// user's.
func (l *Layers) Merge() *Loaded { return l.merged(l.mine(true)) }

func (l *Layers) merged(mine *Profile) *Loaded {
	p := laid(l.own(), mine)
	if l.o.Flags != nil {
		merge(p, l.o.Flags)
	}
	grants := Wider(l.defaults, p, l.o.Home, l.o.Project.Dir, l.o.Protected)
	return &Loaded{Profile: *p, Config: l.Config, Grants: grants, Task: p.Tasks[l.o.Task]}
}

// Defaults returns the default sandbox.
func Defaults() (*Profile, error) {
	text, err := builtins.ReadFile("builtin/" + hostProfile + ".toml")
	if err != nil {
		return nil, fmt.Errorf("reading the built-in profile %q: %w", hostProfile, err)
	}
	o := Origin{Layer: LayerDefault, File: "built-in " + hostProfile}
	return parseProfile(string(text), o, base{})
}

func (l *loader) defaults(c Config) (*Profile, error) {
	p, err := Defaults()
	if err == nil && c.Limits.Enforce.Set {
		p.Limits.Enforce = c.Limits.Enforce
	}
	return p, err
}

// ConfigHome is $XDG_CONFIG_HOME/sbx; the specification says that a relative one is ignored.
func ConfigHome(home string) string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sbx")
	}
	return filepath.Join(home, ".config", "sbx")
}

// ImageAliases are the short names of images.
func (c *Config) ImageAliases() map[string]string {
	names := make(map[string]string, len(c.Aliases))
	for name, v := range c.Aliases {
		names[name] = v.V
	}
	return names
}

// LoadConfig reads the user's own configuration alone, for what needs no profile.
func LoadConfig(configHome, home string) (Config, error) {
	l := &loader{Options{ConfigHome: configHome, Home: home}}
	return l.config()
}

func (l *loader) config() (Config, error) {
	if l.ConfigHome == "" {
		return Config{}, nil
	}
	path := filepath.Join(l.ConfigHome, "config.toml")
	text, err := readOwn(path)
	if absent(err) {
		return Config{}, nil
	}
	o := Origin{Layer: LayerUser, File: path}
	if err != nil {
		return Config{}, fileError(o, err)
	}
	return parseConfig(text, o, base{dir: l.ConfigHome, home: l.Home})
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// fileError gives what is wrong with a whole file its place.
func fileError(o Origin, err error) error {
	var f *fault
	if errors.As(err, &f) {
		return Errors{errorAt(o, f)}
	}
	return fmt.Errorf("reading %s: %w", o, err)
}

// userLayer lays the user's default profile and that of -p over the defaults;
// named reports whether -p named one of the user's.
func (l *loader) userLayer(defaults *Profile, c Config) (user *Profile, named bool, err error) {
	name, at := hostProfile, Origin{}
	if c.Profile.Set {
		name, at = c.Profile.V, c.Profile.From
	}
	own, found, err := l.profile(name, nil)
	if err != nil {
		return nil, false, err
	}
	if !found {
		return nil, false, l.unknown(at, name, nil)
	}
	user = &Profile{}
	merge(user, defaults)
	merge(user, own)
	if l.Name == "" {
		return user, false, nil
	}
	named, err = l.layNamed(user, own)
	return user, named, err
}

// layNamed lays what -p names over the user's layer: a profile of that name,
// then a variant of it in the default profile.
func (l *loader) layNamed(user, own *Profile) (bool, error) {
	if !isName(l.Name) {
		return false, Errors{errorAt(flagP, faultf(nameHint, "no name of a profile: %q", l.Name))}
	}
	p, found, err := l.profile(l.Name, nil)
	if err != nil {
		return false, err
	}
	if found {
		merge(user, p)
	}
	if v, ok := own.Variants[l.Name]; ok {
		merge(user, v)
		found = true
	}
	return found, nil
}

var flagP = Origin{Layer: LayerFlag, Flag: "-p"}

const maxChain = 32

// profile reads a profile of the user's, or a built-in one, on top of what it
// extends. The built-in host adds nothing: it lies beneath everything.
func (l *loader) profile(name string, chain []string) (p *Profile, found bool, err error) {
	if slices.Contains(chain, name) && chain[len(chain)-1] != name {
		return nil, false, faultf("", "extends itself: %s", strings.Join(append(chain, name), " -> "))
	}
	if len(chain) >= maxChain {
		return nil, false, faultf("", "extends more than %d profiles, one through the other", maxChain)
	}
	p, found, err = l.read(name, chain)
	if err != nil || !found || !p.Extends.Set {
		return p, found, err
	}
	base, err := l.extended(p.Extends, append(slices.Clone(chain), name))
	if err != nil {
		return nil, false, err
	}
	merge(base, p)
	return base, true, nil
}

// extended reads what `extends` names, and places what is wrong at it.
func (l *loader) extended(name Val[string], chain []string) (*Profile, error) {
	p, found, err := l.profile(name.V, chain)
	var f *fault
	switch {
	case errors.As(err, &f):
		return nil, Errors{errorAt(name.From, f)}
	case err != nil:
		return nil, err
	case !found && len(chain) > 0 && chain[len(chain)-1] == name.V:
		return nil, Errors{errorAt(name.From, faultf("", "extends itself, and there is no built-in profile of the name %q", name.V))}
	case !found:
		return nil, l.unknown(name.From, name.V, nil)
	}
	return p, nil
}

// read reads one profile. One that extends its own name means the built-in.
func (l *loader) read(name string, chain []string) (*Profile, bool, error) {
	own := len(chain) > 0 && chain[len(chain)-1] == name
	if l.ConfigHome != "" && !own {
		path := filepath.Join(l.ConfigHome, "profiles", name+".toml")
		text, err := readOwn(path)
		if !absent(err) {
			p, err := l.parseOwn(path, text, err)
			return p, true, err
		}
	}
	if name == hostProfile {
		return &Profile{}, true, nil
	}
	text, err := builtins.ReadFile("builtin/" + name + ".toml")
	if err != nil {
		return nil, false, nil
	}
	p, err := parseProfile(string(text), Origin{Layer: LayerUser, File: "built-in " + name, Optional: true}, base{home: l.Home, project: l.Project.Dir})
	return p, true, err
}

func (l *loader) parseOwn(path, text string, err error) (*Profile, error) {
	o := Origin{Layer: LayerUser, File: path}
	if err != nil {
		return nil, fileError(o, err)
	}
	return parseProfile(text, o, base{dir: filepath.Dir(path), home: l.Home, project: l.Project.Dir})
}

// unknown says that there is no profile of a name, and which is near.
func (l *loader) unknown(at Origin, name string, project *Profile) error {
	names := append(builtinNames(), userNames(l.ConfigHome)...)
	if project != nil {
		names = append(names, sortedNames(project.Variants)...)
	}
	slices.Sort(names)
	return Errors{errorAt(at, faultf(didYouMean(name, slices.Compact(names)), "no profile of the name %q", name))}
}

// projectLayer reads the project's file, and lays it over those of the folders
// above. What comes by `extends` counts as the project's own wish, even from a
// profile of the user's: the user did not choose it for this project.
func (l *loader) projectLayer() (*Profile, error) {
	all := &Profile{}
	if !l.Project.HasFile {
		return all, nil
	}
	for _, dir := range slices.Backward(append([]string{l.Project.Dir}, l.Project.Outer...)) {
		p, err := l.projectFile(dir)
		if err != nil {
			return nil, err
		}
		merge(all, p)
	}
	return all, nil
}

func (l *loader) projectFile(dir string) (*Profile, error) {
	o := Origin{Layer: LayerProject, File: filepath.Join(dir, ProjectFile)}
	text, err := readProject(dir, ProjectFile)
	if err != nil {
		return nil, fileError(o, err)
	}
	p, err := parseProfile(text, o, base{dir: dir, home: l.Home, project: dir})
	if err != nil || !p.Extends.Set {
		return p, err
	}
	ext, err := l.extended(p.Extends, nil)
	if err != nil {
		return nil, err
	}
	ext.Variants = nil
	stamp(ext, func(o *Origin) {
		optional := o.Optional
		*o = p.Extends.From
		o.Via, o.Optional = p.Extends.V, optional
	})
	merge(ext, p)
	return ext, nil
}

// pin resolves the symlinks of the paths that a project names, so that none
// can be swapped between the comparison and the mount.
func pin(p *Profile) {
	pinPaths(p.Files.Read.Items)
	pinPaths(p.Files.Write.Items)
	pinPaths(p.Files.Capture.Items)
	pinPaths(p.Files.Caches.Items)
	if r, ok := resolve(p.Root.Dir.V); ok && p.Root.Dir.Set {
		p.Root.Dir.V = r.path
	}
	for i, m := range p.Files.Mounts.Items {
		if r, ok := resolve(m.V.Src); ok {
			p.Files.Mounts.Items[i].V.Src = r.path
		}
	}
	for name, t := range p.Tasks {
		pin(&t.Profile)
		p.Tasks[name] = t
	}
	for _, v := range p.Variants {
		pin(v)
	}
}

func pinPaths(items []Val[string]) {
	for i, item := range items {
		if r, ok := resolve(item.V); ok {
			items[i].V = r.path
		}
	}
}

// stamp changes every origin of a profile, those of tasks included.
func stamp(p *Profile, change func(*Origin)) {
	for _, k := range profileKeys {
		k.stamp(p, change)
	}
	for name, t := range p.Tasks {
		change(&t.Run.From)
		stamp(&t.Profile, change)
		p.Tasks[name] = t
	}
}

// merge lays src over dst by the rule of each key; tasks and variants go by
// name, as a whole.
func merge(dst, src *Profile) {
	for _, k := range profileKeys {
		k.merge(dst, src)
	}
	if src.Extends.Set {
		dst.Extends = src.Extends
	}
	dst.Tasks = mergeNamed(dst.Tasks, src.Tasks)
	dst.Variants = mergeNamed(dst.Variants, src.Variants)
}

func mergeNamed[T any](dst, src map[string]T) map[string]T {
	if src == nil {
		return dst
	}
	out := maps.Clone(dst)
	if out == nil {
		out = map[string]T{}
	}
	maps.Copy(out, src)
	return out
}

// Flag is one flag of the command line that speaks for a key of the profile.
type Flag struct {
	Name   string   // as typed: "--net", "-v"
	Key    string   // as in "network.mode"
	Values []string // of a scalar the last one counts
}

// FromFlags checks flags as the keys of a profile are checked. Relative paths
// are relative to dir, the folder that the command was typed in. A mount whose
// source has no slash is a volume.
func FromFlags(flags []Flag, dir, home string) (*Profile, error) {
	p := &Profile{}
	var errs Errors
	for _, f := range flags {
		src := &source{origin: Origin{Layer: LayerFlag, Flag: f.Name}, base: base{dir: dir, home: home, project: dir, flag: true}}
		one := &Profile{}
		for _, part := range f.split() {
			part.read(src, one)
		}
		merge(p, one)
		errs = append(errs, src.errs...)
	}
	return p, errs.orNil()
}

// split parts the volumes from the mounts.
func (f Flag) split() []Flag {
	if f.Key != "files.mounts" {
		return []Flag{f}
	}
	volumes := Flag{Name: f.Name, Key: "files.volumes"}
	mounts := Flag{Name: f.Name, Key: f.Key}
	for _, v := range f.Values {
		if src, _, _ := strings.Cut(v, ":"); src != "" && isVolume(src) {
			volumes.Values = append(volumes.Values, v)
		} else {
			mounts.Values = append(mounts.Values, v)
		}
	}
	return []Flag{mounts, volumes}
}

func (f Flag) read(src *source, dst *Profile) {
	if len(f.Values) == 0 {
		return
	}
	i := slices.IndexFunc(profileKeys, func(k key[Profile]) bool { return k.path() == f.Key })
	if i < 0 {
		src.fail(pos{}, faultf("", "no such key of a profile %q", f.Key))
		return
	}
	var raw any = f.Values[len(f.Values)-1]
	if profileKeys[i].many() {
		list := make([]any, len(f.Values))
		for j, v := range f.Values {
			list[j] = v
		}
		raw = list
	}
	profileKeys[i].read(node{raw: raw, at: &place{}, src: src}, dst)
}
