package profiles

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// realPath is a path after its symlinks were resolved.
type realPath struct {
	path string
	dir  bool // it exists, and is a folder
}

func newComparison(user *Profile, home, project string, protected []string) *comparison {
	c := &comparison{user: user, home: home, project: project, real: resolve}
	for _, p := range protected {
		c.protected = append(c.protected, filepath.Join(project, p))
	}
	return c
}

// resolve follows the symlinks of the part of a path that exists. It gives no
// answer where a link dangles or loops, for then the path can come to mean
// anything.
func resolve(path string) (realPath, bool) {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		fi, err := os.Stat(r)
		return realPath{r, err == nil && fi.IsDir()}, true
	}
	if _, err := os.Lstat(path); err == nil || path == "/" || path == "." || path == "" {
		return realPath{}, false
	}
	parent, ok := resolve(filepath.Dir(path))
	if !ok || !parent.dir && exists(parent.path) {
		return realPath{}, false
	}
	return realPath{path: filepath.Join(parent.path, filepath.Base(path))}, true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func grantRead(c *comparison, _ List[string], mine string) string {
	if c.covered(mine, false) {
		return ""
	}
	return fmt.Sprintf("reads %q", mine)
}

func grantWrite(c *comparison, _ List[string], mine string) string {
	if c.covered(mine, true) {
		return ""
	}
	return fmt.Sprintf("writes %q", mine)
}

// grantMount looks at the source alone: where it appears changes only what the
// payload sees.
func grantMount(c *comparison, _ List[Mount], mine Mount) string {
	if c.covered(mine.Src, !mine.ReadOnly) {
		return ""
	}
	verb := "writes"
	if mine.ReadOnly {
		verb = "reads"
	}
	return fmt.Sprintf("%s %q, shown at %q", verb, mine.Src, mine.Dst)
}

// grantCapture: what is captured can be read, and is written only on approval. The home stands for the one inside,
// which is shown in any case.
func grantCapture(c *comparison, user List[string], mine string) string {
	if mine == c.home || c.covered(mine, false) {
		return ""
	}
	for _, u := range user.Items {
		if within(mine, u.V) {
			return ""
		}
	}
	return fmt.Sprintf("reads %q, and holds changes to it for review", mine)
}

// grantCaches: what is in a cache can be read, and what the project adds stays for its next run.
func grantCaches(c *comparison, user List[string], mine string) string {
	r, ok := c.real(mine)
	for _, u := range user.Items {
		if own, found := c.real(u.V); ok && found && own.path == r.path {
			return ""
		}
	}
	return fmt.Sprintf("reads the cache %q, and keeps for this project alone what it adds there", mine)
}

// covered reports whether the user's own profile gives the payload the path
// already.
func (c *comparison) covered(path string, write bool) bool {
	r, ok := c.real(path)
	if !ok || c.masked(r.path, write) {
		return false
	}
	if within(r.path, c.project) {
		return c.projectCovers(r, write)
	}
	return c.shown(r.path, write)
}

func (c *comparison) projectCovers(r realPath, write bool) bool {
	if c.shown(r.path, write) {
		return true
	}
	if !write {
		return accessRank[c.user.Files.Project.V] >= accessRank[AccessRead]
	}
	return c.user.Files.Project.V == AccessWrite && r.dir && !c.executedLater(r.path)
}

// executedLater reports whether the host may execute something in, at or above
// a path of the project: its protected places, and anything below a name with
// a dot in front, which is where tools keep their settings.
func (c *comparison) executedLater(path string) bool {
	rel, err := filepath.Rel(c.project, path)
	if err != nil || rel == "." {
		return true
	}
	for _, part := range strings.Split(rel, "/") {
		if strings.HasPrefix(part, ".") {
			return true
		}
	}
	for _, p := range c.protected {
		if overlap(path, p) {
			return true
		}
	}
	return false
}

// shown reports whether one of the user's own entries shows the path.
func (c *comparison) shown(path string, write bool) bool {
	f := c.user.Files
	sources := f.Write.Values()
	if !write {
		sources = append(sources, f.Read.Values()...)
	}
	for _, m := range f.Mounts.Items {
		if !write || !m.V.ReadOnly {
			sources = append(sources, m.V.Src)
		}
	}
	for _, s := range sources {
		if r, ok := c.real(s); ok && within(path, r.path) {
			return true
		}
	}
	return false
}

// masked reports whether the user covered something in, at or above the path:
// showing it again would undo that.
func (c *comparison) masked(path string, write bool) bool {
	f := c.user.Files
	masks := append(f.Hide.Values(), f.Tmpfs.Values()...)
	var readOnly []string
	for _, m := range f.Mounts.Items {
		if m.V.Dst != m.V.Src {
			masks = append(masks, m.V.Dst)
		} else if m.V.ReadOnly {
			readOnly = append(readOnly, m.V.Dst)
		}
	}
	if write { // a `read` in a writable project keeps that part read-only
		masks = append(append(masks, readOnly...), f.Read.Values()...)
	}
	for _, m := range masks {
		r, ok := c.real(m)
		if !ok || overlap(path, r.path) || overlap(path, m) {
			return true
		}
	}
	return false
}
