package sandbox

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/review"
)

// Some tools leave what they make beside the project: dpkg-buildpackage does. [files] parent = "review" gives them the
// project's parent folder: one that begins empty, so that nothing of what lies beside the project is shown, and whose
// content is held for review like a captured folder's. It is the folder upper of a capture, shown as it is.

// parent shows the project's parent folder, empty, and holds what comes into it.
func (l *layout) parent(s *Spec) error {
	if s.Project.Access == profiles.AccessNone || s.Project.Dir == "" {
		return nil
	}
	folder := filepath.Dir(s.Project.Dir)
	if folder == "/" {
		return &UsageError{"the project's parent folder would be / itself, and nothing is held for that", `leave [files] parent = "review" out, or move the project`}
	}
	e := fuseoverlay.Entry{Kind: fuseoverlay.Kept, Target: folder, Mode: unix.S_IFDIR | 0o755}
	i := slices.IndexFunc(l.entries, func(e fuseoverlay.Entry) bool { return e.Target == folder })
	switch {
	case i >= l.base || i >= 0 && slices.ContainsFunc(s.Volumes, func(v Volume) bool { return v.Target == folder }):
		return &UsageError{"the project's parent folder " + folder + " cannot be both empty, with what comes into it held for review, and something else",
			`leave [files] parent = "review" out, or what else is shown there`}
	case i >= 0:
		l.entries[i] = e
	default:
		l.add(e)
	}
	s.Captured = append(s.Captured, Captured{Folder: folder, Target: folder, Empty: true, Shut: l.ownBelow(folder)})
	return nil
}

// pointsIn are what is mounted or made in a folder that begins empty, by paths relative to it: not what lies in another
// one of them.
func (s *Spec) pointsIn(folder string) map[string]fuseoverlay.Entry {
	points := map[string]fuseoverlay.Entry{}
	for _, e := range s.Root.Entries {
		below := func(dir string) bool { return e.Target != dir && host.Within(e.Target, dir) }
		inner := func(o fuseoverlay.Entry) bool {
			return host.Within(o.Target, folder) && o.Target != folder && below(o.Target)
		}
		if rel, err := filepath.Rel(folder, e.Target); err == nil && below(folder) && !slices.ContainsFunc(s.Root.Entries, inner) {
			points[rel] = e
		}
	}
	return points
}

// ownBelow are the paths below a folder, relative to it, that are sbx's own: nothing is ever brought there.
func (l *layout) ownBelow(folder string) (paths []string) {
	for _, own := range l.own {
		real, _ := existing(own)
		if rel, err := filepath.Rel(folder, real); err == nil && host.Within(real, folder) {
			paths = append(paths, rel)
		}
	}
	return paths
}

// useEmpty has the spec show a capture that began empty, now or in an earlier run, once what it is not about is noted and
// what is mounted in it has something to be mounted on.
func (m *maker) useEmpty(c *Captured, k *review.Capture) error {
	points := m.spec.pointsIn(c.Folder)
	k.Hide(c.Shut)
	k.Point(slices.Sorted(maps.Keys(points)))
	if err := review.Begin(k.Dir, *k); err != nil {
		return err
	}
	upper := filepath.Join(k.Dir, review.UpperName)
	root, err := openFolder(upper)
	if err != nil {
		return err
	}
	defer root.Close()
	for rel, e := range points {
		if err := makePoint(root, rel, &e); err != nil {
			return fmt.Errorf("making what %s is laid over: %w", e.Target, err)
		}
	}
	c.Dir, c.Driver = k.Dir, review.Empty
	for i := range m.spec.Root.Entries {
		e := &m.spec.Root.Entries[i]
		if e.Kind != fuseoverlay.Kept || e.Target != c.Folder {
			continue
		}
		e.Source = upper
		if e.Mounts, err = m.locked(upper); err != nil {
			return err
		}
	}
	return nil
}
