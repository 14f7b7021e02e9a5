package profiles

import (
	"maps"
	"slices"
	"strings"
)

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// parseProfile reads the text of a profile and checks all of it: syntax, keys,
// types and values.
func parseProfile(text string, o Origin, b base) (*Profile, error) {
	src := &source{origin: o, base: b}
	p := &Profile{}
	if n, ok := src.document(text); ok {
		readProfile(n, p, wholeFile)
	}
	return p, src.errs.orNil()
}

// part says how much of a profile a table may hold.
type part int

const (
	wholeFile part = iota
	variant        // of a file: all but extends and further variants
	task           // all but extends, variants and tasks, and with run
)

func readProfile(n node, p *Profile, which part) {
	special := map[string]func(node){}
	if which == wholeFile {
		special["extends"] = func(n node) { readExtends(n, p) }
		special["profiles"] = func(n node) { readVariants(n, p) }
	}
	if which == task {
		special["run"] = func(node) {} // read by readTask
	} else {
		special["tasks"] = func(n node) { readTasks(n, p) }
	}
	readTable(n, "", profileKeys, p, special)
}

// readTable reads the entries of a table whose keys are in the schema: in
// keys, by their path, or in special.
func readTable[R any](n node, prefix string, keys []key[R], dst *R, special map[string]func(node)) {
	t, ok := n.table(what(prefix))
	if !ok {
		return
	}
	for _, name := range sortedNames(t) {
		if n.src.full() {
			return
		}
		child := n.sub(name, t[name])
		if read, ok := special[name]; ok {
			read(child)
			continue
		}
		readKey(child, prefix, name, keys, dst, special)
	}
}

func readKey[R any](n node, prefix, name string, keys []key[R], dst *R, special map[string]func(node)) {
	full := prefix + name
	if strings.Contains(name, ".") { // a quoted key, which must not pass for a path of the schema
		n.failKey(unknownKey(prefix, name, keys, special))
		return
	}
	if i := slices.IndexFunc(keys, func(k key[R]) bool { return k.path() == full }); i >= 0 {
		keys[i].read(n, dst)
		return
	}
	if slices.ContainsFunc(keys, func(k key[R]) bool { return strings.HasPrefix(k.path(), full+".") }) {
		readTable(n, full+".", keys, dst, nil)
		return
	}
	n.failKey(unknownKey(prefix, name, keys, special))
}

func what(prefix string) string {
	if prefix == "" {
		return "this"
	}
	return "[" + strings.TrimSuffix(prefix, ".") + "]"
}

// unknownKey names the nearest key of the same table, or else the table that
// the key would belong to.
func unknownKey[R any](prefix, name string, keys []key[R], special map[string]func(node)) error {
	here := sortedNames(special)
	elsewhere := ""
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k.path(), prefix)
		if first, _, _ := strings.Cut(rest, "."); ok && !slices.Contains(here, first) {
			here = append(here, first)
		}
		if strings.HasSuffix(k.path(), "."+name) {
			elsewhere = strings.TrimSuffix(k.path(), "."+name)
		}
	}
	hint := didYouMean(name, here)
	if elsewhere != "" {
		hint = "it belongs to [" + elsewhere + "]"
	}
	if prefix != "" {
		return faultf(hint, "unknown key %q in %s", name, what(prefix))
	}
	return faultf(hint, "unknown key %q", name)
}

func readExtends(n node, p *Profile) {
	name, err := word("host", parseName)(n.src.base, n.raw)
	if err != nil {
		n.fail(named("extends", err))
		return
	}
	p.Extends = Val[string]{V: name, Set: true, From: n.from()}
}

func readVariants(n node, p *Profile) {
	p.Variants = map[string]*Profile{}
	eachNamed(n, "profiles", func(name string, child node) {
		v := &Profile{}
		p.Variants[name] = v
		readProfile(child, v, variant)
	})
}

func readTasks(n node, p *Profile) {
	p.Tasks = map[string]Task{}
	eachNamed(n, "tasks", func(name string, child node) {
		p.Tasks[name] = readTask(name, child)
	})
}

// maxNamed is how many tasks, and how many variants, a file may have: each is
// held against the user's profiles for itself, in all combinations.
const maxNamed = 50

func eachNamed(n node, what string, read func(string, node)) {
	t, ok := n.table("[" + what + "]")
	if !ok {
		return
	}
	if len(t) > maxNamed {
		n.failKey(faultf("", "[%s] has more than %d entries", what, maxNamed))
		return
	}
	for _, name := range sortedNames(t) {
		child := n.sub(name, t[name])
		if !isName(name) {
			child.failKey(faultf(nameHint, "no name for an entry of [%s]: %q", what, name))
			continue
		}
		read(name, child)
	}
}

// readTask reads `name = "command"` or `name = { run = "command", ... }`.
func readTask(name string, n node) Task {
	var t Task
	key, run := "tasks."+name, n
	if table, ok := n.raw.(map[string]any); ok {
		readProfile(n, &t.Profile, task)
		raw, has := table["run"]
		if !has {
			n.failKey(faultf(`write run = "npm test"`, "task %q has no run", name))
			return t
		}
		key, run = key+".run", n.sub("run", raw)
	}
	cmd, err := word("npm test", parseLine)(n.src.base, run.raw)
	if err != nil {
		run.fail(named(key, err))
		return t
	}
	t.Run = Val[string]{V: cmd, Set: true, From: run.from()}
	return t
}

// parseConfig reads the text of config.toml.
func parseConfig(text string, o Origin, b base) (Config, error) {
	src := &source{origin: o, base: b}
	var c Config
	if n, ok := src.document(text); ok {
		readTable(n, "", configKeys, &c, map[string]func(node){
			"registries": func(n node) { readRegistries(n, &c) },
		})
	}
	return c, src.errs.orNil()
}

func readRegistries(n node, c *Config) {
	t, ok := n.table("[registries]")
	if !ok {
		return
	}
	c.Registries = map[string]Registry{}
	for _, name := range sortedNames(t) {
		child := n.sub(name, t[name])
		if _, err := parseReference(name); err != nil {
			child.failKey(named("registries", err))
			continue
		}
		var r Registry
		readTable(child, "", registryKeys, &r, nil)
		c.Registries[name] = r
	}
}

func entriesOf[R any](keys []key[R], r *R) []Entry {
	var out []Entry
	for _, k := range keys {
		out = append(out, k.entries(r)...)
	}
	return out
}
