package review

import (
	"path"
	"path/filepath"
	"strings"
)

// named tells whether the configuration of a repository names a path, as core.hooksPath does, or an
// include, or a filter. The files are read here, by a few lines that know their form; git itself is never
// run on them, since a configuration of the sandbox's could make it run anything.
func (h *held) named(rel string) (why, place string) {
	for dir := path.Dir(rel); ; dir = path.Dir(dir) {
		h.readConfig(dir)
		if dir == "." {
			break
		}
	}
	for at := rel; at != "."; at = path.Dir(at) {
		if key, ok := h.places[at]; ok {
			return "named by the configuration of git: " + key, at
		}
	}
	return "", ""
}

// readConfig reads the configuration of a folder that is a repository, the host's and the sandbox's.
func (h *held) readConfig(dir string) {
	if h.looked[dir] || brought(dir+"/x") {
		return
	}
	h.looked[dir] = true
	for _, t := range []*tree{h.upper, h.host} {
		if n, err := t.lookup(path.Join(dir, ".git")); err != nil || n == nil || !n.folder() {
			continue
		}
		for _, name := range []string{".git/config", ".git/config.worktree"} {
			text, _, err := readText(t, path.Join(dir, name))
			if err == nil {
				h.readKeys(dir, string(text))
			}
		}
	}
}

// readKeys notes each word of each value that could be a path of the project (git-config(1), SYNTAX).
func (h *held) readKeys(dir, text string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if head, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "]"); ok && strings.HasPrefix(line, "[") {
			section, line = strings.ToLower(strings.Fields(head + " ?")[0]), strings.TrimSpace(rest)
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "remote" || section == "branch" || section == "user" || section == "submodule" {
			continue // addresses and names, not what is executed
		}
		key = section + "." + strings.ToLower(strings.TrimSpace(key))
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\"';!|&()", r) }) {
			h.notePlace(dir, key, word)
		}
	}
}

// notePlace notes a path, as git would find it: from the top of the working tree, or for an include from
// the folder of the file.
func (h *held) notePlace(dir, key, word string) {
	if filepath.IsAbs(word) {
		rel, err := filepath.Rel(h.top(), word)
		if err != nil || strings.HasPrefix(rel, "..") {
			return
		}
		word = rel
	} else if strings.HasPrefix(key, "include") {
		word = path.Join(dir, ".git", word)
	} else {
		word = path.Join(dir, word)
	}
	if word == "." || word == dir || strings.HasPrefix(word, "..") {
		return
	}
	if !strings.Contains(word, "/") && !h.either(".", word) {
		return // true, input, simple: no path
	}
	h.places[word] = key
}
