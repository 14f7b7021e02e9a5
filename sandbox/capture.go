package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// Captured is a folder of the host that the payload changes only in appearance: what it changes is held in
// the sandbox's own folder, for review.
type Captured struct {
	Folder string `json:"folder"`
	// Target is where it is seen inside.
	Target string `json:"target"`
	// Shown is where a folder that is sbx's own would lie on the host, by which people name it, and Label how that
	// is written.
	Shown string `json:"shown,omitempty"`
	Label string `json:"label,omitempty"`
	// Own says that it is sbx's own, and made where it is missing.
	Own bool `json:"own,omitempty"`
	// Mounts are the mounts below it, which the kernel lets nobody overlay together with it: it is copied
	// without them, and each is captured for itself.
	Mounts []string `json:"mounts,omitempty"`
	// Dir and Driver are where its changes are held and how, known once the sandbox has a folder.
	Dir    string `json:"dir,omitempty"`
	Driver string `json:"driver,omitempty"`
	// Empty says that the folder begins empty inside: what the host has in it is not shown.
	Empty bool `json:"empty,omitempty"`
	// Shut are paths in such a folder, relative to it, to which nothing is brought.
	Shut []string `json:"shut,omitempty"`
	// Refused says that the kernel would not overlay it.
	Refused bool `json:"-"`
}

// How a folder is captured: storage.capture of the configuration. Else it is an overlay where there can be one.
const (
	captureAuto = "auto"
	captureCopy = "copy"
)

// capture shows a folder at its own path and holds what changes in it, with what is mounted below.
func (l *layout) capture(s *Spec, folder string) error {
	if s.isCaptured(folder) {
		return nil // it is a part of what is captured already, or a mount below that
	}
	if err := l.holdsState(folder); err != nil {
		return err
	}
	mounts, err := host.Mounts()
	if err != nil {
		return err
	}
	below := visibleBelow(mounts, folder)
	if err := l.captureOne(s, mounts, folder, below); err != nil {
		return err
	}
	for _, point := range below {
		if l.captureOne(s, mounts, point, visibleBelow(mounts, point)) != nil {
			l.bind(point, point, false) // what cannot be looked at either is not shown at all
		}
	}
	return nil
}

// captureOne is capture without what is mounted below.
func (l *layout) captureOne(s *Spec, mounts []host.Mount, folder string, below []string) error {
	var st unix.Stat_t
	if err := unix.Lstat(folder, &st); err != nil {
		return &os.PathError{Op: "capturing", Path: folder, Err: err}
	}
	on, _ := host.MountOf(mounts, folder)
	why := ""
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		why = "it is a mount of a single file"
	case on.Has("ro") || hasOption(on.SuperOptions, "ro"):
		why = "it is mounted read-only"
	}
	if why != "" {
		s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf("%s is shown read-only, for its changes cannot be held: %s", folder, why))
		return l.bind(folder, folder, false)
	}
	l.add(fuseoverlay.Entry{
		Kind: fuseoverlay.Capture, Source: folder, Target: folder, Mode: unix.S_IFDIR, NoExec: on.Has("noexec"),
	})
	s.Captured = append(s.Captured, Captured{Folder: folder, Target: folder, Mounts: below})
	return nil
}

func hasOption(list, option string) bool {
	return slices.Contains(strings.Split(list, ","), option)
}

// visibleBelow are the mounts directly below a folder that are seen there, each once: not those below another.
func visibleBelow(mounts []host.Mount, folder string) (points []string) {
	for _, m := range host.MountsBelow(mounts, folder) {
		points = append(points, m.Point)
	}
	slices.SortFunc(points, comparePaths)
	return slices.Compact(points)
}

// holdsState refuses to capture what holds the folder where changes are held.
func (l *layout) holdsState(folder string) error {
	if real, _ := existing(l.state); host.Within(real, folder) {
		return &UsageError{
			fmt.Sprintf("capturing %s: it holds %s, where sbx itself keeps what is captured", folder, real), "capture folders in it",
		}
	}
	return nil
}

// captures adds what [files] capture names.
func (l *layout) captures(s *Spec, r *Request, p *profiles.Profile) error {
	for _, item := range p.Files.Capture.Items {
		if isHome(item.V, r.Account) {
			if err := l.captureHome(s, r); err != nil {
				return err
			}
			continue
		}
		if !exists(item.V) && (item.From.Optional || capturesByName(p.Files.Caches.Items, item.V)) {
			continue // a cache that is the project's alone is captured where it is laid out
		}
		real, err := l.source(s, item.V, item.From)
		if err != nil {
			return err
		}
		if info, err := os.Lstat(real); err != nil || !info.IsDir() {
			return &UsageError{fmt.Sprintf("capturing %s: it is no folder", item.V), "name the folder that it lies in"}
		}
		target := l.throughLinks(real)
		if err := l.checkTarget(target, true); err != nil {
			return err
		}
		for _, v := range l.views(real) {
			l.pinAbove(v)
		}
		l.replace(target)
		if err := l.capture(s, real); err != nil {
			return err
		}
	}
	return nil
}

// isCaptured tells whether a path of the host is shown by a capture.
func (s *Spec) isCaptured(path string) bool {
	return slices.ContainsFunc(s.Captured, func(c Captured) bool { return !c.Empty && host.Within(path, c.Folder) })
}

// captureRefused is the folder that the kernel, or a file system below, does not overlay, where a start failed for
// that; else "".
func captureRefused(err error) string {
	var failed *userns.StepError
	if !errors.As(err, &failed) || failed.Step.Name() != "fsconfig" {
		return ""
	}
	folder, found := strings.CutPrefix(failed.Step.Do, fuseoverlay.Capturing)
	if !found {
		return ""
	}
	return folder
}
