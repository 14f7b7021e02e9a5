package host

import (
	"fmt"
	"slices"
	"strings"
)

// Sockets lists the paths to which unix sockets of the host are bound, sorted, without doubles, from /proc/net/unix:
// the absolute ones, and those that are relative as they were given to bind(2), to which folder is not known. A sandbox
// that shows a folder must cover the sockets in it: read-only does not stop connect(2).
//
// The kernel lists what was bound from the caller's network namespace, by the name that was given to bind(2): sockets
// of other network namespaces and sockets that were moved since are not seen. The name is raw bytes, and one with a
// line break can be made to look like two entries. Such text is read in both ways, so that no socket escapes by its
// name; who uses a path must look whether there is a socket. Abstract sockets have no file and are left out; they are
// listed as @NAME, so a relative name that begins with @ is taken for one.
func Sockets() (absolute, relative []string, err error) {
	text, err := readProc("/proc/net/unix")
	if err != nil {
		return nil, nil, fmt.Errorf("listing the host's unix sockets: %w", err)
	}
	absolute, relative = parseSockets(text)
	return absolute, relative, nil
}

func parseSockets(text string) (absolute, relative []string) {
	for _, name := range socketNames(text) {
		if strings.HasPrefix(name, "/") {
			absolute = append(absolute, name)
		} else if name != "" && !strings.HasPrefix(name, "@") {
			relative = append(relative, name)
		}
	}
	slices.Sort(absolute)
	slices.Sort(relative)
	return slices.Compact(absolute), slices.Compact(relative)
}

// entry is what /proc/net/unix says of one socket: a head, and the name, which goes on in lines without a head. Line is
// all of it.
type entry struct{ line, name string }

// longestName is sun_path of unix(7). A head takes 58 bytes, so that no name has room for two.
const longestName = 108

// socketNames gives the name of every entry, and where it could be that the next entry is just more of a name, that
// longer name too.
func socketNames(text string) (names []string) {
	entries := socketEntries(text)
	for i, e := range entries {
		names = append(names, e.name)
		if i+1 < len(entries) && e.line != head(e.line) {
			if whole := e.name + "\n" + entries[i+1].line; len(whole) <= longestName {
				names = append(names, whole)
			}
		}
	}
	return names
}

func socketEntries(text string) (entries []entry) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch h := head(line); {
		case h != "":
			entries = append(entries, entry{line, strings.TrimPrefix(line[len(h):], " ")})
		case len(entries) > 0:
			last := &entries[len(entries)-1]
			last.line += "\n" + line
			last.name += "\n" + line
		}
	}
	return entries
}

// head cuts the seven fields that stand before a name: "%pK: %08X %08X %08X %04X %02X %5lu", on the 64-bit machines that
// sbx is built for. It is empty for a line that has another form: the title, or more of a name.
func head(line string) string {
	const form = "0000000000000000: 00000000 00000000 00000000 0000 00 "
	if len(line) < len(form) {
		return ""
	}
	for i := range form {
		hex := strings.IndexByte("0123456789abcdefABCDEF", line[i]) >= 0
		if form[i] == '0' && !hex || form[i] != '0' && line[i] != form[i] {
			return ""
		}
	}
	rest := strings.TrimLeft(line[len(form):], " ")
	name := strings.TrimLeft(rest, "0123456789")
	if len(name) == len(rest) || name != "" && name[0] != ' ' {
		return ""
	}
	return line[:len(line)-len(name)]
}
