package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LockFile is the file of a project that pins names of images to digests.
const LockFile = "sbx.lock"

// ReadLock reads a project's lock file: names of images, in full, and the digests that they stand for. None
// is no error. The file is the project's, which is not trusted: it can say which of the images of a name
// is meant, and no more.
func ReadLock(project string) (map[string]string, error) {
	text, err := readProject(project, LockFile)
	if absent(err) {
		return nil, nil
	}
	o := Origin{Layer: LayerProject, File: project + "/" + LockFile}
	if err != nil {
		return nil, fileError(o, err)
	}
	src := &source{origin: o}
	pins := map[string]string{}
	if n, ok := src.document(text); ok {
		readTable(n, "", nil, &pins, map[string]func(node){"images": func(n node) { readPins(n, pins) }})
	}
	return pins, src.errs.orNil()
}

func readPins(n node, pins map[string]string) {
	t, ok := n.table("[images]")
	if !ok {
		return
	}
	for _, name := range sortedNames(t) {
		child := n.sub(name, t[name])
		digest, ok := t[name].(string)
		hex, isSum := strings.CutPrefix(digest, "sha256:")
		if !ok || !isSum || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
			child.fail(faultf("run sbx lock to write it anew", "images: %q is no digest: sha256: and 64 hex digits", digest))
			continue
		}
		pins[name] = digest
	}
}

// FormatLock is the text of a lock file.
func FormatLock(pins map[string]string) string {
	var b strings.Builder
	b.WriteString("# Written by `sbx lock`: the images that runs of this project use.\n[images]\n")
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		fmt.Fprintf(&b, "%q = %q\n", name, pins[name])
	}
	return b.String()
}
