package host

import (
	"fmt"
	"slices"
	"strings"
)

// Sockets lists the absolute paths to which unix sockets of the host are bound, sorted, without doubles, from
// /proc/net/unix. A sandbox that shows a folder must cover the sockets in it: read-only does not stop connect(2).
//
// The kernel lists what was bound from the caller's network namespace, by the name that was given to bind(2): sockets
// of other network namespaces, relative names and sockets that were moved since are not seen.
func Sockets() ([]string, error) {
	text, err := readProc("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("listing the host's unix sockets: %w", err)
	}
	return parseSockets(text), nil
}

// parseSockets reads "NUM: REFCOUNT PROTOCOL FLAGS TYPE ST INODE PATH". The path is raw bytes: with a newline in it a
// path goes on in lines that have no such head, and somebody who wants a socket unseen would use just that.
func parseSockets(text string) (paths []string) {
	for line := range strings.Lines(text) {
		path, headed := socketPath(strings.TrimSuffix(line, "\n"))
		switch {
		case headed && strings.HasPrefix(path, "/"):
			paths = append(paths, path)
		case headed:
			paths = append(paths, "")
		case len(paths) > 0 && paths[len(paths)-1] != "":
			paths[len(paths)-1] += "\n" + strings.TrimSuffix(line, "\n")
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(paths) > 0 && paths[0] == "" {
		paths = paths[1:]
	}
	return paths
}

// socketPath cuts the seven fields before the path; headed is false for a line that does not begin with "HEX:".
func socketPath(line string) (path string, headed bool) {
	num, rest, ok := strings.Cut(line, ": ")
	if !ok || num == "" || strings.Trim(num, "0123456789abcdefABCDEF") != "" {
		return "", false
	}
	for range 6 {
		rest = strings.TrimLeft(rest, " ")
		_, rest, _ = strings.Cut(rest, " ")
	}
	return rest, true
}
