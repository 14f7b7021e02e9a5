package images

import (
	"maps"
	"slices"
	"strings"
)

// Account is the content of etc/passwd or etc/group, as the layers of an image, the lowest first, leave
// it: "" where there is none.
func Account(metas []Meta, name string) string {
	for _, m := range slices.Backward(metas) {
		content := m.Passwd
		if name == "etc/group" {
			content = m.Group
		}
		switch {
		case content != nil:
			return *content
		case m.hides(name):
			return ""
		}
	}
	return ""
}

// hides tells whether a layer hides a name of those below it.
func (m *Meta) hides(name string) bool {
	for at := name; ; {
		if slices.Contains(m.Gone, at) {
			return true
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return slices.Contains(m.Gone, "/")
		}
		at = at[:i]
		if slices.Contains(m.Gone, at+"/") {
			return true
		}
	}
}

// TopLinks are the symbolic links at the top of an image's tree and in some folders there, by absolute
// path.
func TopLinks(metas []Meta) map[string]string {
	links := map[string]string{}
	for _, m := range metas {
		for name := range links {
			if m.hides(strings.TrimPrefix(name, "/")) {
				delete(links, name)
			}
		}
		for _, name := range m.Folders {
			delete(links, "/"+name)
		}
		for name, to := range maps.All(m.Links) {
			links["/"+name] = to
		}
	}
	return links
}
