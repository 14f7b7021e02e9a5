package profiles

import (
	"path/filepath"
	"strings"
)

// base is what paths are relative to.
type base struct {
	dir     string // the folder of the file, or the one the command was typed in
	home    string // ~
	project string // for the paths of `hide`
	flag    bool   // values come from the command line, where all are strings
}

// parsePath reads a host path: absolute, below ~/, or relative to the file's
// folder. Nothing else is expanded.
func parsePath(b base, raw any) (string, error) {
	s, err := text(raw, "~/.config/pnpm")
	if err != nil {
		return "", err
	}
	return b.expand(s)
}

func (b base) expand(s string) (string, error) {
	if err := checkPath(s); err != nil {
		return "", err
	}
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		if b.home == "" {
			return "", faultf("write the path in full", "~ stands for the home folder, and there is none: %q", s)
		}
		return filepath.Join(b.home, s[1:]), nil
	case strings.HasPrefix(s, "~"):
		return "", faultf("only ~/ stands for a home folder, your own; write the path in full", "the home of another user is not expanded: %q", s)
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	}
	return filepath.Join(b.dir, s), nil
}

func checkPath(s string) error {
	switch {
	case s == "":
		return faultf("", "an empty path")
	case strings.ContainsRune(s, 0):
		return faultf("", "a path has no NUL byte: %q", s)
	case hasVariable(s):
		return faultf("only ~/ is expanded; write the path in full", "variables are not expanded in paths: %q", s)
	}
	return nil
}

// hasVariable finds what a shell would take for a variable. A path that really
// has such a name cannot be written here; it would be misread too easily.
func hasVariable(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		c := s[i+1]
		if s[i] == '$' && (c == '{' || c == '(' || c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z') {
			return true
		}
	}
	return false
}

// inside reads a path inside the sandbox: absolute or below the home folder,
// and not where the sandbox's own file systems are.
func (b base) inside(s string) (string, error) {
	if !filepath.IsAbs(s) && s != "~" && !strings.HasPrefix(s, "~/") {
		if err := checkPath(s); err != nil {
			return "", err
		}
		return "", faultf("start it with /", "a path inside the sandbox is absolute: %q", s)
	}
	p, err := b.expand(s)
	if err != nil {
		return "", err
	}
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if within(p, own) {
			return "", faultf("", "the sandbox has a %s of its own, which cannot be covered: %q", own, s)
		}
	}
	if p == "/" {
		return "", faultf("", "the root of the sandbox cannot be covered")
	}
	return p, nil
}

func parseTmpfs(b base, raw any) (string, error) {
	s, err := text(raw, "/scratch")
	if err != nil {
		return "", err
	}
	return b.inside(s)
}

const mountHint = `write it as SRC, SRC:DST, SRC:ro or SRC:DST:ro, as in "~/data:/data:ro"`

// parseMount reads SRC[:DST][:ro|rw]; without a DST it is that of SRC, and
// without a mode the mount is writable. A path with a colon cannot be written.
func parseMount(b base, raw any) (Mount, error) {
	s, err := text(raw, "~/data:/data:ro")
	if err != nil {
		return Mount{}, err
	}
	src, dst, ro, err := splitMount(s)
	if err != nil {
		return Mount{}, err
	}
	if isVolume(src) {
		return Mount{}, faultf("for a folder write \"./"+src+"\"; volumes have a list of their own, [files] volumes", "a source without a slash names a volume: %q", s)
	}
	m := Mount{ReadOnly: ro}
	if m.Src, err = b.expand(src); err != nil {
		return Mount{}, err
	}
	if dst == "" {
		dst = m.Src
	}
	m.Dst, err = b.inside(dst)
	return m, err
}

func isVolume(src string) bool {
	return src != "." && src != ".." && !strings.HasPrefix(src, "~") && !strings.Contains(src, "/")
}

func splitMount(s string) (src, dst string, readOnly bool, err error) {
	parts := strings.Split(s, ":")
	if last := parts[len(parts)-1]; len(parts) > 1 && (last == "ro" || last == "rw") {
		readOnly = last == "ro"
		parts = parts[:len(parts)-1]
	}
	switch {
	case len(parts) > 2 || parts[0] == "":
		return "", "", false, faultf(mountHint, "no such mount %q", s)
	case len(parts) == 1:
		return parts[0], "", readOnly, nil
	case !strings.ContainsRune(parts[1], '/') && parts[1] != "~":
		return "", "", false, faultf(mountHint, "neither a path inside nor ro or rw: %q", parts[1])
	}
	return parts[0], parts[1], readOnly, nil
}

// parseVolume reads NAME:DST[:ro|rw].
func parseVolume(b base, raw any) (Volume, error) {
	const hint = `write it as in "cache:/var/cache/x"; a folder has a slash, as in "./cache"`
	s, err := text(raw, "cache:/var/cache/x")
	if err != nil {
		return Volume{}, err
	}
	name, dst, ro, err := splitMount(s)
	if err != nil || !isName(name) || dst == "" {
		return Volume{}, faultf(hint, "no such volume %q", s)
	}
	v := Volume{Name: name, ReadOnly: ro}
	v.Dst, err = b.inside(dst)
	return v, err
}

// parseHide reads a path of the project, in any file relative to the project.
func parseHide(b base, raw any) (string, error) {
	const hint = "hide names paths of the project, relative to it"
	s, err := text(raw, "secrets/")
	if err != nil {
		return "", err
	}
	p, err := base{dir: b.project, home: b.home}.expand(s)
	if err != nil {
		return "", err
	}
	if p == b.project {
		return "", faultf(`write project = "none" to hide all of it`, "hides the whole project: %q", s)
	}
	if !within(p, b.project) {
		return "", faultf(hint, "lies outside the project: %q", s)
	}
	return p, nil
}

// parseDevice reads gpu, or the path of a device.
func parseDevice(s string) (string, error) {
	if s == "gpu" {
		return s, nil
	}
	if p := filepath.Clean(s); within(p, "/dev") && p != "/dev" && !strings.ContainsRune(s, 0) {
		return p, nil
	}
	return "", faultf(`write "gpu", or a path as in "/dev/kvm"`, "no such device %q", s)
}

// within reports whether path is dir or lies below it; both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// overlap reports whether one of two paths lies in the other.
func overlap(a, b string) bool { return within(a, b) || within(b, a) }
