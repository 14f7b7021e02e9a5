package host

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is a line of /proc/self/mountinfo, as proc_pid_mountinfo(5) describes it, with its escapes decoded. Point and
// Root may be any bytes but NUL.
type Mount struct {
	ID, Parent   int
	Device       string // major:minor
	Root, Point  string
	Options      string // of this mount
	Propagation  string // the optional fields, such as "shared:1"
	Type, Source string
	SuperOptions string // of the file system
}

// Mounts lists the mounts of the caller's mount namespace, in the kernel's order: a later one with the same Point covers
// an earlier one.
//
// The parser is this package's own: moby/sys/mountinfo returns one allocation per field and line through a filter,
// where 60 lines that slice one string do, at every start.
func Mounts() ([]Mount, error) {
	text, err := readProc("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	return parseMounts(text)
}

// ParseMountInfo reads the text of a mountinfo file.
func ParseMountInfo(r io.Reader) ([]Mount, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading mountinfo: %w", err)
	}
	return parseMounts(string(b))
}

func parseMounts(text string) ([]Mount, error) {
	mounts := make([]Mount, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		m, ok := parseMount(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, fmt.Errorf("reading mountinfo: line %d is malformed: %q", len(mounts)+1, line)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount: "ID PARENT MAJ:MIN ROOT POINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPEROPTIONS". The separator is a field
// of one dash; before it only optional fields can follow the sixth. Source may be empty (mount(2) allows it).
func parseMount(line string) (m Mount, ok bool) {
	head, tail, ok := strings.Cut(line, " - ")
	h := strings.SplitN(head, " ", 7)
	t := strings.Split(tail, " ")
	if !ok || len(h) < 6 || len(t) != 3 {
		return m, false
	}
	id, err1 := strconv.Atoi(h[0])
	parent, err2 := strconv.Atoi(h[1])
	if err1 != nil || err2 != nil {
		return m, false
	}
	m = Mount{ID: id, Parent: parent, Device: h[2], Root: unescape(h[3]), Point: unescape(h[4]), Options: h[5],
		Type: unescape(t[0]), Source: unescape(t[1]), SuperOptions: unescape(t[2])}
	if len(h) == 7 {
		m.Propagation = h[6]
	}
	return m, true
}

// unescape decodes the \ooo that the kernel writes for space, tab, newline, backslash and #.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if n, err := strconv.ParseUint(s[i+1:min(i+4, len(s))], 8, 8); s[i] == '\\' && i+4 <= len(s) && err == nil {
			out, i = append(out, byte(n)), i+3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Has tells whether the mount has an option, such as "ro" or "nosuid".
func (m Mount) Has(option string) bool { return hasOption(m.Options, option) }

func hasOption(list, option string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// lockable are the options that a less privileged mount namespace may not take off a mount it inherited
// (mount_namespaces(7), "Restrictions on mount namespaces"), with their flags for mount(2).
var lockable = []struct {
	option string
	flag   uintptr
}{
	{"ro", unix.MS_RDONLY}, {"nosuid", unix.MS_NOSUID}, {"nodev", unix.MS_NODEV}, {"noexec", unix.MS_NOEXEC},
	{"noatime", unix.MS_NOATIME}, {"nodiratime", unix.MS_NODIRATIME}, {"relatime", unix.MS_RELATIME},
}

// LockedFlags are the mount(2) flags that a remount inside a user namespace must repeat, or it gets EPERM. A mount
// that shows none of noatime and relatime is strictatime, whose flag is repeated for the same reason.
func (m Mount) LockedFlags() (flags uintptr) {
	for _, l := range lockable {
		if m.Has(l.option) {
			flags |= l.flag
		}
	}
	if flags&(unix.MS_NOATIME|unix.MS_RELATIME) == 0 {
		flags |= unix.MS_STRICTATIME
	}
	return flags
}

// Within tells whether path is dir or lies below it. Both are absolute and clean.
func Within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}

// MountsBelow are the mounts whose points lie below dir, without the one on dir itself.
func MountsBelow(mounts []Mount, dir string) (below []Mount) {
	for _, m := range mounts {
		if m.Point != dir && Within(m.Point, dir) {
			below = append(below, m)
		}
	}
	return below
}

// MountOf is the mount that holds path, which is absolute and free of symlinks.
func MountOf(mounts []Mount, path string) (holds Mount, ok bool) {
	for _, m := range mounts {
		if Within(path, m.Point) && len(m.Point) >= len(holds.Point) {
			holds, ok = m, true
		}
	}
	return holds, ok
}

// hidepidName turns the number of a kernel before 5.8 into the name that later ones write.
func hidepidName(v string) string {
	switch v {
	case "0":
		return "off"
	case "1":
		return "noaccess"
	case "2":
		return "invisible"
	case "4":
		return "ptraceable"
	}
	return v
}

// hidepidOf is how the host's /proc hides the processes of others: "off", "noaccess", "invisible" or
// "ptraceable" (proc(5); older kernels write numbers).
func hidepidOf(mounts []Mount) string {
	m, ok := MountOf(mounts, "/proc")
	if !ok {
		return "off"
	}
	for o := range strings.SplitSeq(m.SuperOptions, ",") {
		if v, ok := strings.CutPrefix(o, "hidepid="); ok {
			return hidepidName(v)
		}
	}
	return "off"
}
