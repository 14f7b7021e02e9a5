package review

import (
	"path"
	"slices"
	"strings"
)

// A folder whose capture began empty is one that the sandbox knows nothing of: what the host has there is not
// shown. So whatever lies in the upper was made by the sandbox, but for the points, and it can only come beside
// what the host has, or be in its way. In a folder that is no overlay nothing stands for a deletion: whoever
// may make files there may make the marks of overlayfs too (mknod(2), setxattr(2)), and they mean nothing.

// Point notes paths, relative to the folder, at which sbx mounts something, and tells whether any is new.
func (c *Capture) Point(paths []string) bool {
	before := len(c.Points)
	for _, p := range paths {
		if !slices.Contains(c.Points, raw(p)) {
			c.Points = append(c.Points, raw(p))
		}
	}
	return len(c.Points) > before
}

// begunEmpty lists what lies in a folder of such an upper.
func (w *walker) begunEmpty(rel string, onHost bool) error {
	entries, err := w.upper.list(rel)
	if missing(err) {
		return nil // it went while we walked
	}
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return slices.Contains(w.Points, raw(path.Join(rel, string(e.Name)))) })
	olds, err := w.olds(rel, entries, false, onHost)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.compared(path.Join(rel, string(e.Name)), e.Node, olds[string(e.Name)], false); err != nil {
			return err
		}
	}
	return nil
}

// holdsPoint tells whether a folder was made for a point in it.
func (h *held) holdsPoint(rel string) bool {
	return slices.ContainsFunc(h.Points, func(p raw) bool { return string(p) != rel && within(string(p), rel) })
}

// thereAlready tells why what the host has at a path stands against what a sandbox made there without seeing it.
func (h *held) thereAlready(n *node) string {
	if n == nil {
		return ""
	}
	return "the host has a " + typeOf(n) + " there, which the sandbox has not seen"
}

// besideOthers tells why a path of such a folder is not where a build leaves what it made: it is where the
// settings of a home folder lie, or the packages that node.js finds for all that lies below the folder, or it
// comes among the host's own files, in a folder of theirs.
func (h *held) besideOthers(rel string) string {
	if h.Driver != Empty {
		return ""
	}
	first, below, _ := strings.Cut(rel, "/")
	for step := range strings.SplitSeq(rel, "/") {
		if strings.HasPrefix(step, ".") {
			return "a hidden file outside of the project"
		}
	}
	if first == "node_modules" {
		return "packages for other projects too"
	}
	if n, err := h.host.lookup(first); below != "" && (err != nil || n != nil) {
		return "in a folder outside of the project"
	}
	return ""
}
