package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
)

// toolchains shows what the caller's PATH leads to outside the system folders. It returns the
// folders of PATH, and the variables that tell tools where they were moved to.
func (l *layout) toolchains(r *Request) (folders, variables []string) {
	env := environment(r.Environ)
	folders = absolute(filepath.SplitList(env["PATH"]))
	shown := profiles.Toolchains(folders, profiles.Lookup{
		Home: r.Account.Home, PasswdHome: r.Account.PasswdHome, Project: r.Project.Dir,
		Getenv: func(name string) string { return env[name] },
		Exists: func(path string) bool { _, err := os.Stat(path); return err == nil },
		Glob:   func(pattern string) []string { list, _ := filepath.Glob(pattern); return list },
		Real:   realPath,
	})
	for _, tool := range shown {
		l.showTool(tool.Path)
		if tool.Env != "" {
			variables = append(variables, tool.Env)
		}
	}
	return folders, variables
}

// realPath is a path with its symlinks resolved, or as it is where that cannot be done.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// showTool shows a toolchain's folder at its own path; where that passes a symlink, at the real
// path, with the link made again inside.
func (l *layout) showTool(path string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return
	}
	if source, _ := l.shows(real); source == "" {
		l.bind(real, real, false)
	}
	if real != path {
		if source, _ := l.shows(path); source == "" {
			l.add(fuseoverlay.Entry{Kind: fuseoverlay.Symlink, Target: path, Content: real})
		}
	}
}

// files lays out what [files] and its flags ask for.
func (l *layout) files(s *Spec, r *Request, p *profiles.Profile) error {
	if err := l.project(s, r, p); err != nil {
		return err
	}
	for _, read := range p.Files.Read.Items {
		if err := l.mount(s, profiles.Mount{Src: read.V, Dst: read.V, ReadOnly: true}, read.From); err != nil {
			return err
		}
	}
	for _, write := range p.Files.Write.Items {
		if err := l.mount(s, profiles.Mount{Src: write.V, Dst: write.V}, write.From); err != nil {
			return err
		}
	}
	for _, m := range p.Files.Mounts.Items {
		if err := l.mount(s, m.V, m.From); err != nil {
			return err
		}
	}
	if err := l.volumes(s, r.Account.Home, p.Files.Volumes.Values()); err != nil {
		return err
	}
	if err := l.captures(s, r, p); err != nil {
		return err
	}
	if err := l.caches(s, r, p); err != nil {
		return err
	}
	if p.Files.Parent.V == profiles.ParentReview {
		if err := l.parent(s); err != nil {
			return err
		}
	}
	if p.Files.GitUser.V {
		l.gitUser(s, r.Account, environment(r.Environ))
	}
	for _, target := range p.Files.Tmpfs.Values() {
		target = l.throughLinks(target)
		if err := l.checkTarget(target, true); err != nil {
			return err
		}
		l.replace(target)
		l.scratch(target, 0o1777)
	}
	if err := l.grantedDevices(s, p.Files.Devices.Values(), r.Account); err != nil {
		return err
	}
	if s.Project.Access == profiles.AccessWrite {
		l.protect(s, p.Files.Git.V)
	}
	return l.hide(s, p.Files.Hide.Values())
}

func (l *layout) project(s *Spec, r *Request, p *profiles.Profile) error {
	writable := s.Project.Access == profiles.AccessWrite
	if s.Project.Access == profiles.AccessNone {
		return nil
	}
	if r.Project.Dir == "/" {
		return &UsageError{"the project would be / itself", "change into a project's folder, or pass --project none"}
	}
	if err := l.refuseOwn(r.Project.Dir); err != nil {
		return err
	}
	if s.Project.Access == profiles.AccessReview {
		if err := l.capture(s, r.Project.Dir); err != nil {
			return err
		}
	} else if err := l.bind(r.Project.Dir, r.Project.Dir, writable); err != nil {
		return err
	}
	l.worktree(r.Project.Dir, r.Account.UID)
	return nil
}

// source is a host path that is asked for, with its symlinks resolved; the walk follows none. One that was
// written below the project has to lie there: an earlier run may have put a link in its place. What a
// project's file names was compared with what the user allows in its resolved form, so it must not have
// become a link since either.
func (l *layout) source(s *Spec, path string, from profiles.Origin) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", &UsageError{fmt.Sprintf("mounting %s: %v", path, plainError(err)), "name a path that exists"}
	}
	planted := host.Within(path, s.Project.Dir) && !host.Within(real, s.Project.Dir)
	if planted || from.Layer == profiles.LayerProject && real != path {
		return "", &UsageError{fmt.Sprintf("mounting %s: a symbolic link in the project leads to %s", path, real), "name that path itself if you mean it"}
	}
	return real, l.refuseOwn(real)
}

// mount shows a host path at a target.
func (l *layout) mount(s *Spec, m profiles.Mount, from profiles.Origin) error {
	if from.Optional && !exists(m.Src) {
		return nil
	}
	real, err := l.source(s, m.Src, from)
	if err != nil {
		return err
	}
	target := l.throughLinks(m.Dst)
	info, err := os.Lstat(real)
	if err != nil {
		return fmt.Errorf("mounting %s: %w", m.Src, plainError(err))
	}
	if err := l.checkTarget(target, info.IsDir()); err != nil {
		return err
	}
	l.replace(target)
	return l.bind(real, target, !m.ReadOnly)
}

// replace drops what the sandbox itself would show at or below a target that the user fills.
func (l *layout) replace(target string) {
	kept := l.entries[:0]
	first, base := l.first, l.base
	for i, e := range l.entries {
		if i < base && host.Within(e.Target, target) && e.Kind != fuseoverlay.Device && e.Kind != fuseoverlay.Pts {
			l.base--
			if i < first {
				l.first--
			}
			continue
		}
		kept = append(kept, e)
	}
	l.entries = kept
}

// plainError is an error without the call and path that the sentence already says.
func plainError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// checkTarget holds a target against what is there: in a folder of the host nothing is made for it.
func (l *layout) checkTarget(target string, dir bool) error {
	source, entry := l.shows(target)
	if entry != nil && !entry.Shows() && entry.Kind != fuseoverlay.Scratch && entry.Kind != fuseoverlay.Kept && !entry.Own {
		return &UsageError{fmt.Sprintf("mounting on %s: it lies in what the sandbox makes itself", target), "choose another target"}
	}
	if source == "" {
		return nil
	}
	info, err := os.Lstat(source)
	switch {
	case err != nil:
		return &UsageError{fmt.Sprintf("mounting on %s: %v", target, plainError(err)),
			"sbx makes no mount point in the host's folders: create it yourself, or choose a target elsewhere, such as below /tmp"}
	case info.Mode()&os.ModeSymlink != 0:
		return &UsageError{fmt.Sprintf("mounting on %s: it is a symbolic link", target), "name what it points to"}
	case info.IsDir() != dir:
		return &UsageError{fmt.Sprintf("mounting on %s: a folder goes on a folder, a file on a file", target), "choose another target"}
	}
	return nil
}

// shownFolders are the folders of PATH that exist inside.
func (l *layout) shownFolders(folders []string) []string {
	var list []string
	for _, dir := range folders {
		if source, _ := l.shows(l.throughLinks(dir)); source != "" {
			list = append(list, dir)
		}
	}
	return list
}
