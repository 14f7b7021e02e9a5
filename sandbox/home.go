package sandbox

import (
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/profiles"
)

// A kept home outlives sandboxes, one for each project: homes/HASH/data below the data folder, where HASH stands for
// the project's folder. It is held while a sandbox shows it, and made where it is missing, as a named volume is.

// keepHome lays the project's kept home over the home inside, where the profile asks for it.
func (l *layout) keepHome(s *Spec, r *Request, p *profiles.Profile, home string) error {
	switch {
	case p.Files.Home.V != profiles.HomeKept:
		return nil
	case r.Project.Dir == "" || home == "/":
		return &UsageError{"a kept home belongs to a project, and there is none here", "start from a project's folder, or leave [files] home out"}
	}
	folder := homeFolder(r)
	data := filepath.Join(folder, volumeData)
	// What lies in it is the payload's own doing, links included: on the host's root mounts below it are made with care.
	e := fuseoverlay.Entry{Kind: fuseoverlay.Kept, Source: data, Target: home, Mode: 0o700}
	if s.Image != nil {
		e.Kind, e.Writable, e.Mode = fuseoverlay.Bind, true, unix.S_IFDIR
	}
	if i := slices.IndexFunc(l.entries, func(e fuseoverlay.Entry) bool { return e.Target == home }); i >= 0 {
		l.entries[i] = e
	} else {
		l.add(e)
	}
	s.Volumes = append(s.Volumes, Volume{Name: "home of " + r.Project.Dir, Target: home, Folder: folder})
	return nil
}
