package sandbox

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sbx/profiles"
)

func absolute(list []string) []string {
	var out []string
	for _, dir := range list {
		if path.IsAbs(dir) && !slices.Contains(out, path.Clean(dir)) {
			out = append(out, path.Clean(dir))
		}
	}
	return out
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// resolveWorkdir is the folder asked for, else the caller's where it is shown, else the home.
func (l *layout) resolveWorkdir(s *Spec, r *Request, home string) error {
	if r.Workdir != "" {
		if !path.IsAbs(r.Workdir) {
			return &UsageError{fmt.Sprintf("the working folder %q is not absolute", r.Workdir), "give its path inside the sandbox"}
		}
		s.Workdir = r.Workdir
		return nil
	}
	s.Workdir = home
	if source, _ := l.shows(r.Cwd); source != "" {
		s.Workdir = r.Cwd
	}
	return nil
}

// standardPath is searched after the caller's own folders.
var standardPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func resolveCommand(s *Spec, r *Request, home string, folders, variables []string) {
	for _, dir := range standardPath {
		if !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	name := nameInside(s.IDs.UID, r.Account)
	env := s.buildEnv(r, map[string]string{
		"HOME": home, "USER": name, "LOGNAME": name, "SHELL": r.Account.Shell,
		"PATH": strings.Join(folders, ":"), "SBX": "1",
	}, variables)
	if r.Shell {
		s.Command = []string{r.Account.Shell}
	}
	if len(s.Command) > 0 {
		s.Attempts = attempts(s.Command[0], env["PATH"])
	}
}

// buildEnv makes the environment of base, of the caller's variables that may pass, pass among them, and of what
// profiles and flags set.
func (s *Spec) buildEnv(r *Request, base map[string]string, pass []string) map[string]string {
	s.Env = profiles.BuildEnv(profiles.EnvInput{
		Caller: r.Environ,
		Base:   base,
		Pass:   append(pass, r.Loaded.Profile.Env.Pass.Values()...),
		Set:    s.withServices(r.Loaded.Profile.Env.SetValues()),
		Flags:  r.EnvFlags,
	})
	s.Env = overlay(s.Env, activation(environment(r.Environ), len(s.Descriptors)))
	env := environment(s.Env)
	s.EnvNames = slices.Sorted(maps.Keys(env))
	return env
}

// attempts are the paths of a command, in the order in which execvp(3) tries them.
func attempts(command, pathList string) []string {
	if command == "" || strings.Contains(command, "/") {
		return []string{command}
	}
	var list []string
	for _, dir := range absolute(filepath.SplitList(pathList)) {
		list = append(list, path.Join(dir, command))
	}
	return list
}

// withServices adds the variables that give tools their addresses, where the profile sets none.
func (s *Spec) withServices(set map[string]string) map[string]string {
	for name, value := range s.Egress.set {
		if _, own := set[name]; !own {
			set[name] = value
		}
	}
	return set
}
