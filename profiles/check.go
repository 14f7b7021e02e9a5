package profiles

import "path/filepath"

// CheckProject reads the project's file, and all that it hangs on, as it is on
// a machine without configuration: what holds there holds in CI. It returns
// what any part of the file asks for beyond the default sandbox.
func CheckProject(o Options) ([]Grant, error) {
	l, err := Read(Options{Home: o.Home, Project: o.Project, Protected: o.Protected})
	if err != nil {
		return nil, err
	}
	return l.AskedByAll(), nil
}

// CheckFile reads one profile, or the user's configuration, and what it
// extends.
func CheckFile(path string, o Options) error {
	dir := filepath.Dir(path)
	origin := Origin{Layer: LayerUser, File: path}
	text, err := readOwn(path)
	if err != nil {
		return fileError(origin, err)
	}
	if path == filepath.Join(o.ConfigHome, "config.toml") {
		_, err = parseConfig(text, origin, base{dir: dir, home: o.Home})
		return err
	}
	l := &loader{o}
	l.Project = Project{Dir: dir}
	p, err := parseProfile(text, origin, base{dir: dir, home: o.Home, project: dir})
	if err != nil || !p.Extends.Set {
		return err
	}
	_, err = l.extended(p.Extends, chainOf(path, o.ConfigHome))
	return err
}

// chainOf begins a chain of extends with the name that a file has as a profile
// of the user's; a file elsewhere has none.
func chainOf(path, configHome string) []string {
	name, ok := cutTOML(filepath.Base(path))
	if configHome == "" || !ok || filepath.Dir(path) != filepath.Join(configHome, "profiles") {
		return nil
	}
	return []string{name}
}
