package sandbox

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/review"
)

// ProtectedPlaces are the places of a project, relative to it, from which the host later runs code
// or takes orders by itself. Where one exists, a writable project shows it read-only; what a run
// creates at one is named at its end. It is a table of fixed places: nothing walks the tree.
var ProtectedPlaces = []string{
	// sbx's own
	"sbx.toml", "sbx.lock",
	// shells and tool managers, at the change into a folder
	".envrc", ".direnv", ".mise.toml", "mise.toml", ".mise", ".tool-versions", ".autoenv.zsh", ".env.zsh",
	// git's hooks, where core.hooksPath leads to by convention
	".husky", ".githooks", ".git-hooks", ".pre-commit-config.yaml", "lefthook.yml", ".lefthook.yml",
	// editors
	".vscode", ".idea", ".zed", ".fleet", ".devcontainer", ".devcontainer.json", ".exrc", ".vimrc",
	".nvimrc", ".nvim.lua", ".dir-locals.el", ".sublime-project",
	// coding agents
	".claude", ".mcp.json", ".cursor", ".cursorrules", ".windsurf", ".windsurfrules", ".codex",
	".gemini", ".aider.conf.yml", ".continue", ".roo", ".kiro", ".opencode", "opencode.json",
}

// gitPlaces are those of a git folder, relative to it: each can make the host's git run code.
var gitPlaces = []string{
	"hooks", "config", "config.worktree", "commondir", "modules", "worktrees", "info/attributes",
}

// gitCovered are the git places that stay read-only where writing .git is granted.
var gitCovered = []string{"hooks", "config", "config.worktree", "modules", "worktrees", "info"}

// protect covers the protected places of a writable project, wherever they are shown.
func (l *layout) protect(s *Spec, git profiles.Access) {
	for _, name := range ProtectedPlaces {
		l.protectPlace(s, filepath.Join(s.Project.Dir, name))
	}
	l.protectStages(s)
	dotGit := filepath.Join(s.Project.Dir, ".git")
	info, err := os.Lstat(dotGit)
	if err != nil {
		return
	}
	if git != profiles.AccessWrite || !info.IsDir() {
		s.Project.GitReadOnly = l.protectPlace(s, dotGit)
		l.protectGitDir(s, dotGit)
		return
	}
	for _, name := range gitCovered {
		l.protectPlace(s, filepath.Join(dotGit, name))
	}
	// Where nothing of it is covered, .git could still be renamed away and made anew.
	for _, v := range l.views(dotGit) {
		l.pin(v)
	}
}

// protectStages covers what a killed apply has laid ready at the top of the project: the next one goes on with it, and
// would bring to the host what a sandbox wrote there. The folder is looked through only where there have been applies.
func (l *layout) protectStages(s *Spec) {
	if !exists(filepath.Join(l.state, "applied")) {
		return
	}
	entries, _ := os.ReadDir(s.Project.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), review.StagePrefix) && e.IsDir() {
			l.protectPlace(s, filepath.Join(s.Project.Dir, e.Name()))
		}
	}
}

// protectGitDir covers the git folder that a .git file names, where that lies in the project.
func (l *layout) protectGitDir(s *Spec, dotGit string) {
	data, err := readSmall(dotGit)
	gitDir, found := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if err != nil || !found {
		return
	}
	if !filepath.IsAbs(gitDir) {
		gitDir = filepath.Join(s.Project.Dir, gitDir)
	}
	l.protectPlace(s, gitDir)
}

// protectPlace shows a place read-only where it exists. A symlink is followed within the project;
// what one outside leads to is not the payload's to write. The link itself cannot be covered: that
// it is another one is seen at the end.
func (l *layout) protectPlace(s *Spec, path string) bool {
	if !exists(path) {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || !host.Within(real, s.Project.Dir) || real == s.Project.Dir {
		return false
	}
	info, err := os.Lstat(real)
	if err != nil || !(info.IsDir() || info.Mode().IsRegular()) {
		return false
	}
	place := Place{Path: real}
	for _, v := range l.views(real) {
		l.pinAbove(v)
		if l.bind(real, v.target, false) == nil { // else it has gone since, and there is nothing to cover
			place.Targets = append(place.Targets, v.target)
		}
	}
	s.Project.Protected = append(s.Project.Protected, place)
	return len(place.Targets) > 0
}

// view is a place inside where a host path is seen.
type view struct {
	path, target string
	through      fuseoverlay.Entry // the bind or capture that shows it
}

// views finds every place where a host path is seen, or would be if it existed: a folder may be
// shown more than once.
func (l *layout) views(path string) []view {
	var list []view
	for _, e := range l.entries {
		if !e.Shows() || !host.Within(path, e.Source) {
			continue
		}
		target := filepath.Join(e.Target, strings.TrimPrefix(path, e.Source))
		seen := slices.ContainsFunc(list, func(v view) bool { return v.target == target })
		if source, _ := l.shows(target); source == path && !seen {
			list = append(list, view{path, target, e})
		}
	}
	return list
}

// pinAbove binds the folders between a bind and a cover in it onto themselves: a folder above a
// mount point could be renamed away together with it, a mount point cannot (EBUSY). In a captured folder
// nothing is bound, for it would be the real one; what is covered there stays covered wherever it goes.
func (l *layout) pinAbove(v view) {
	if v.through.Kind != fuseoverlay.Bind {
		return
	}
	for {
		v.path, v.target = filepath.Dir(v.path), filepath.Dir(v.target)
		if v.path == v.through.Source || !host.Within(v.path, v.through.Source) {
			return
		}
		l.pin(v)
	}
}

func (l *layout) pin(v view) {
	pinned := func(e fuseoverlay.Entry) bool { return e.Kind == fuseoverlay.Bind && e.Target == v.target }
	if !slices.ContainsFunc(l.entries, pinned) {
		l.bind(v.path, v.target, v.through.Writable)
	}
}

// worktree shows, read-only, the git folder of a project that is a worktree: one whose .git file
// names a folder that names it back, and that the user owns. Anything else could name any folder.
func (l *layout) worktree(dir string, uid int) {
	data, err := readSmall(filepath.Join(dir, ".git"))
	gitDir, found := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if err != nil || !found || !filepath.IsAbs(gitDir) {
		return
	}
	gitDir, err = filepath.EvalSymlinks(gitDir)
	if err != nil || !pointsBack(gitDir, dir) {
		return
	}
	common, err := readSmall(filepath.Join(gitDir, "commondir"))
	if err != nil {
		return
	}
	main := filepath.Join(gitDir, strings.TrimSpace(string(common)))
	if !host.Within(gitDir, main) || !ownedBy(main, uid) || !ownedBy(gitDir, uid) || filepath.Base(main) != ".git" {
		return
	}
	if real, err := filepath.EvalSymlinks(main); err != nil || real != main {
		return
	}
	l.bind(main, main, false)
}

func pointsBack(gitDir, dir string) bool {
	back, err := readSmall(filepath.Join(gitDir, "gitdir"))
	return err == nil && strings.TrimSpace(string(back)) == filepath.Join(dir, ".git")
}

func ownedBy(path string, uid int) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && int(st.Uid) == uid
}

// readSmall reads a small regular file without following a link or waiting for a FIFO.
func readSmall(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// hide covers paths of the project, wherever they are shown. A path that passes a symlink is
// resolved on the host first, since the payload could otherwise choose what is covered.
func (l *layout) hide(s *Spec, paths []string) error {
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			real = path // nothing to cover yet; the watch covers it when it comes
		}
		if host.Within(s.Project.Dir, real) {
			return &UsageError{fmt.Sprintf("hiding %s: it leads to %s, which holds the project", path, real), "use --project none"}
		}
		place := Place{Path: real}
		info, err := os.Lstat(real)
		for _, v := range l.views(real) {
			place.Targets = append(place.Targets, v.target)
			if err == nil {
				l.pinAbove(v)
				l.add(fuseoverlay.Entry{Kind: hideKind(info), Target: v.target})
			}
		}
		if err == nil && s.isCaptured(real) {
			continue // what the host puts in its place does not show in an overlay, nor in a copy
		}
		s.Project.Hidden = append(s.Project.Hidden, place)
	}
	return nil
}

func hideKind(info os.FileInfo) fuseoverlay.Kind {
	if info.IsDir() {
		return fuseoverlay.HideDir
	}
	return fuseoverlay.HideFile
}
