package review

import "strings"

// heldSources has a folder that goes run later where a file that runs later may have come from it: it has a file of that
// name and size. Who leaves out what runs later would else be left with neither of the two.
func (h *held) heldSources(list []*Change) {
	var going []*Change
	for _, c := range list {
		if c.Kind == Deleted && c.old.folder() && c.Files > 0 && c.Later == "" {
			going = append(going, c)
		}
	}
	if len(going) == 0 {
		return
	}
	left := maxInFolders
	for _, c := range list {
		if c.Later == "" || c.Kind != Created || !c.new.regular() {
			continue
		}
		for _, folder := range going {
			if folder.Later != "" {
				continue
			}
			if left--; left < 0 || h.mayHold(folder, c) {
				folder.Later, folder.Place = "may hold what would run later where it lies now", folder.Path
			}
		}
	}
}

// mayHold tells whether the host has a file of the name and size of a new one in a folder, at the place that the last steps of
// its path lead to, or whether that cannot be known.
func (h *held) mayHold(folder, c *Change) bool {
	for rel := c.Path; ; {
		n, err := h.host.lookup(folder.Path + "/" + rel)
		if err != nil || n != nil && n.regular() && n.Size == c.new.Size {
			return true
		}
		_, rest, more := strings.Cut(rel, "/")
		if !more {
			return false
		}
		rel = rest
	}
}
