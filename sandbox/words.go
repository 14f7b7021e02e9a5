package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/profiles"
)

// Line is one statement about a sandbox, in plain words.
type Line struct{ About, Text string }

// Words tell a spec to a person: what the payload is, sees, may write and reach.
func (s *Spec) Words() []Line {
	lines := []Line{
		{"command", strings.Join(s.Command, " ")},
		{"working folder", s.Workdir},
		{"project", fmt.Sprintf("%s (%s)", s.Project.Dir, s.Project.Access)},
		{"root", s.rootWords()},
		{"user inside", s.userWords()},
		{"network", s.networkWords()},
	}
	lines = append(lines, s.fileWords()...)
	if len(s.Descriptors) > 0 {
		lines = append(lines, Line{"descriptors", s.descriptorWords()})
	}
	lines = append(lines, Line{"environment", strings.Join(s.EnvNames, " ")},
		Line{"host name", s.Hostname},
		Line{"system calls", "seccomp filter " + s.Harden.Seccomp},
		Line{"capabilities", s.capabilityWords()},
		Line{"opening files", s.landlockWords()},
		Line{"limits", s.limitWords()},
		Line{"cgroup", s.cgroupWords()},
		Line{"level", strings.Join(append([]string{string(s.Level.Name)}, s.Level.Why...), "; ")},
		Line{"level required", string(s.Level.Require)})
	for _, w := range s.Level.Warnings {
		lines = append(lines, Line{"warning", w})
	}
	for _, g := range s.Grants {
		lines = append(lines, Line{"granted", g.Words + ", by " + g.From})
	}
	return lines
}

func (s *Spec) userWords() string {
	others := uint32(0)
	for _, r := range s.IDs.Maps.UID[1:] {
		others += r.Count
	}
	groups := "supplementary groups dropped"
	if !s.IDs.DropGroups {
		groups = "supplementary groups kept"
	}
	return fmt.Sprintf("uid %d, gid %d, outside the caller's own; %d sub-ids; %s", s.IDs.UID, s.IDs.GID, others, groups)
}

func (s *Spec) rootWords() string {
	switch {
	case s.Image == nil:
		return "the host's own system folders, read-only"
	case s.Image.Ref == "":
		return "the tree in " + s.Root.Overlay.Folder + "; what is changed goes with the sandbox"
	}
	return fmt.Sprintf("%s (%s), %d layers; what is changed goes with the sandbox", s.Image.Ref, s.Image.Digest, len(s.Root.Overlay.Layers))
}

func (s *Spec) capabilityWords() string {
	text := "none"
	if names := harden.CapNames(s.Harden.Capabilities); len(names) > 0 {
		text = strings.Join(names, " ") + ", over what is the sandbox's own"
	}
	if s.Harden.SetUID {
		text += "; no no_new_privs: set-user-ID programs of the image have " + strings.Join(harden.CapNames(s.Harden.Bounding), " ")
	}
	return text
}

func (s *Spec) landlockWords() string {
	if s.Harden.Landlock.Files == 0 {
		return "as the mounts allow; this kernel has no Landlock"
	}
	return fmt.Sprintf("below the sandbox's own root alone (Landlock ABI %d)", s.Harden.Landlock.ABI)
}

func (s *Spec) limitWords() string {
	text := fmt.Sprintf("%d processes; %s and %d files in memory", s.Limits.Processes, profiles.Size(cmp.Or(s.Root.Resize, s.Root.Size)).Text(), s.Root.Inodes)
	if s.Limits.Time > 0 {
		text += fmt.Sprintf("; %v", s.Limits.Time)
	}
	for _, l := range s.Cgroup.Limits.Words() {
		text += "; " + l
	}
	return text
}

// cgroupWords say who makes the sandbox's cgroup.
func (s *Spec) cgroupWords() string {
	switch s.Cgroup.Way {
	case host.CgroupScope:
		return "a scope of systemd, seen read-only at " + cgroupFolder
	case host.CgroupDelegated:
		return "one below " + s.Cgroup.Facts.Own + ", seen read-only at " + cgroupFolder
	}
	return "none of its own"
}

// fileWords tell what of the host is shown, and what is covered.
func (s *Spec) fileWords() []Line {
	about := map[fuseoverlay.Kind]string{
		fuseoverlay.Scratch: "empty, in memory", fuseoverlay.HideFile: "covered", fuseoverlay.HideDir: "covered",
		fuseoverlay.File: "generated", fuseoverlay.Kept: "kept, on disk",
		fuseoverlay.Capture: "writable in appearance, held for review",
		fuseoverlay.Cache:   "caches, with changes of this project's own",
	}
	const heldWords = "empty, what comes into it held for review"
	lists := map[string][]string{}
	for _, e := range s.Root.Entries {
		what := about[e.Kind]
		if slices.ContainsFunc(s.Captured, func(c Captured) bool { return c.Empty && c.Folder == e.Target }) {
			what = heldWords
		}
		if e.Kind == fuseoverlay.Bind {
			what = "read-only"
			if e.Writable {
				what = "writable"
			}
		}
		lists[what] = append(lists[what], entryWords(&e))
	}
	var lines []Line
	for _, what := range []string{"writable", "writable in appearance, held for review", heldWords, "caches, with changes of this project's own", "read-only", "covered", "generated", "empty, in memory", "kept, on disk"} {
		if len(lists[what]) > 0 {
			lines = append(lines, Line{what, strings.Join(lists[what], " ")})
		}
	}
	return lines
}

func entryWords(e *fuseoverlay.Entry) string {
	if e.Kind == fuseoverlay.Bind && e.Source != e.Target {
		return e.Target + " (" + e.Source + ")"
	}
	return e.Target
}
