package sandbox

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
)

// What a plan opens of the host before the host's root is gone: absolute paths, and what is mounted by path.
var (
	openedPath  = regexp.MustCompile(`openat2\(AT_FDCWD, "([^"]*)", \[([A-Z_|]*)`)
	mountedPath = regexp.MustCompile(`(?m)^mount\("([^"]*)"`)
)

// drawn makes entries of bytes: each takes four, for its kind, its place, its source and its bits. Names repeat, so
// that entries lie in, over and beside each other.
func drawn(data []byte) (entries []fuseoverlay.Entry) {
	kinds := []fuseoverlay.Kind{fuseoverlay.Bind, fuseoverlay.Scratch, fuseoverlay.Symlink, fuseoverlay.File, fuseoverlay.Kept,
		fuseoverlay.HideDir, fuseoverlay.HideFile, fuseoverlay.Lock, fuseoverlay.Capture}
	names := []string{"a", "b", "a/b", "b/a/c", "usr", "etc/passwd", "home/u/.ssh", "proc/sys", "dev/x", ".."}
	for len(data) >= 4 {
		kind := kinds[int(data[0])%len(kinds)]
		e := fuseoverlay.Entry{
			Kind: kind, Target: filepath.Clean("/" + names[int(data[1])%len(names)]), Mode: unix.S_IFDIR,
			Writable: data[3]&1 != 0, NoExec: data[3]&2 != 0, Copied: data[3]&4 != 0,
		}
		switch kind {
		case fuseoverlay.Bind, fuseoverlay.Kept, fuseoverlay.Capture:
			e.Source = filepath.Clean("/granted/" + names[int(data[2])%(len(names)-1)])
		case fuseoverlay.Symlink, fuseoverlay.File:
			e.Content, e.Mode = "/"+names[int(data[2])%len(names)], 0o644
		}
		if kind == fuseoverlay.Capture {
			e.Upper = "/state/captures/0"
		}
		if data[3]&8 != 0 && kind == fuseoverlay.Bind {
			e.Mode = unix.S_IFREG
		}
		if e.Target != "/" {
			entries = append(entries, e)
		}
		data = data[4:]
	}
	return entries
}

// No plan opens or mounts a path of the host that its spec does not name, and none follows a link to one.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, byte(0))
	f.Add([]byte{0, 4, 4, 1, 3, 5, 0, 0, 5, 6, 0, 0, 2, 0, 9, 0, 8, 1, 2, 4}, byte(1))
	f.Add([]byte{1, 0, 0, 0, 0, 2, 3, 8, 4, 3, 1, 0, 7, 7, 0, 0, 6, 5, 0, 0}, byte(2))
	f.Fuzz(func(t *testing.T, data []byte, how byte) {
		s := hostSpec()
		l := &layout{entries: append(s.Root.Entries, drawn(data)...)}
		s.Root.Entries, _ = l.sorted()
		switch how % 3 {
		case 1:
			onLayers(s, "a/f")
		case 2:
			s.Root.OldKernel = true
			for i := range s.Root.Entries {
				s.Root.Entries[i].Mounts = []fuseoverlay.Submount{{Path: "."}, {Path: "below"}}
			}
		}
		checkPlan(t, s)
	})
}

// checkPlan holds what the plan does to the host before that is gone against the spec.
func checkPlan(t *testing.T, s *Spec) {
	t.Helper()
	plan := Compile(s).String()
	before, _, _ := strings.Cut(plan, "pivot_root(")
	for _, m := range openedPath.FindAllStringSubmatch(before, -1) {
		if !named(s, m[1]) {
			t.Fatalf("the plan opens %s, which the spec does not name\n%s", m[1], plan)
		}
	}
	for _, m := range mountedPath.FindAllStringSubmatch(before, -1) {
		if strings.HasPrefix(m[1], "/") && !named(s, m[1]) && !strings.HasPrefix(m[1], "/proc/self/fd/") {
			t.Fatalf("the plan mounts %s, which the spec does not name\n%s", m[1], plan)
		}
	}
	for line := range strings.Lines(before) {
		if strings.HasPrefix(line, "openat2(") && !strings.Contains(line, "RESOLVE_NO_SYMLINKS") {
			t.Fatalf("the plan follows links: %s", line)
		}
	}
}

// named tells whether a spec has a path of the host, or the folder that holds its layers or what changes in it.
func named(s *Spec, path string) bool {
	if path == "/" || strings.HasPrefix(path, "/proc/self/") || path == "/dev/fuse" {
		return true
	}
	for _, e := range s.Root.Entries {
		if path == e.Source || e.Source != "" && strings.HasPrefix(path, e.Source+"/below") || e.Upper != "" && (path == e.Upper || strings.HasPrefix(path, e.Upper+"/")) {
			return true
		}
	}
	o := s.Root.Overlay
	return o != nil && (path == o.Folder || path == o.Upper || strings.HasPrefix(path, o.Upper+"/"))
}
