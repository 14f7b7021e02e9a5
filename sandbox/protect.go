package sandbox

import (
	"crypto/sha256"
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

// protect covers the protected places of a writable project.
func (l *layout) protect(s *Spec, git profiles.Access) {
	for _, name := range ProtectedPlaces {
		l.protectPlace(s, filepath.Join(s.Project.Dir, name))
	}
	dotGit := filepath.Join(s.Project.Dir, ".git")
	if git != profiles.AccessWrite {
		s.Project.GitReadOnly = l.protectPlace(s, dotGit)
		return
	}
	if info, err := os.Lstat(dotGit); err != nil || !info.IsDir() {
		l.protectPlace(s, dotGit)
		return
	}
	// A folder above a cover could be renamed away with it; a mount point cannot.
	l.bind(dotGit, dotGit, true)
	for _, name := range gitCovered {
		l.protectPlace(s, filepath.Join(dotGit, name))
	}
}

// protectPlace shows a place read-only where it exists. A symlink is left alone: what it leads to
// is either not shown, or read-only, or the project's own like every other file.
func (l *layout) protectPlace(s *Spec, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !(info.IsDir() || info.Mode().IsRegular()) {
		return false
	}
	if l.bind(path, path, false) != nil {
		return false
	}
	s.Project.Protected = append(s.Project.Protected, Place{path, info.IsDir()})
	return true
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

// hide covers paths of the project. A path that passes a symlink is resolved on the host first,
// since the payload could otherwise choose what is covered.
func (l *layout) hide(s *Spec, paths []string) error {
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if os.IsNotExist(err) {
			// Nothing to cover yet; the watch covers it when it comes.
			s.Project.Hidden = append(s.Project.Hidden, path)
			continue
		}
		if err != nil {
			return fmt.Errorf("hiding %s: %w", path, err)
		}
		info, err := os.Lstat(real)
		if err != nil {
			return fmt.Errorf("hiding %s: %w", path, err)
		}
		kind := fuseoverlay.HideFile
		if info.IsDir() {
			kind = fuseoverlay.HideDir
		} else {
			s.Project.Hidden = append(s.Project.Hidden, real)
		}
		l.add(fuseoverlay.Entry{Kind: kind, Target: real})
		l.pinParents(s.Project.Dir, real)
	}
	return nil
}

// pinParents binds the folders between the project and a cover onto themselves: a folder above a
// mount point could be renamed away together with it, a mount point cannot (EBUSY).
func (l *layout) pinParents(project, path string) {
	for dir := filepath.Dir(path); dir != project && host.Within(dir, project); dir = filepath.Dir(dir) {
		if !slices.ContainsFunc(l.entries, func(e fuseoverlay.Entry) bool { return e.Kind == fuseoverlay.Bind && e.Target == dir }) {
			l.bind(dir, dir, true)
		}
	}
}

// snapshot is what lies at the places that a run must not have changed unseen: a fingerprint of
// each path that exists.
type snapshot map[string]string

// watchedPlaces are all places of a project that are compared between start and end of a run.
func watchedPlaces(project *Project) []string {
	var places []string
	for _, name := range ProtectedPlaces {
		places = append(places, filepath.Join(project.Dir, name))
	}
	git := filepath.Join(project.Dir, ".git")
	places = append(places, git)
	if project.GitReadOnly {
		return places // what changes in there is the host's own doing
	}
	for _, name := range gitPlaces {
		places = append(places, filepath.Join(git, name))
	}
	return places
}

// takeSnapshot fingerprints the protected places of a project, and the entries of those that are
// folders of a few files.
func takeSnapshot(project *Project) snapshot {
	snap := snapshot{}
	for _, place := range watchedPlaces(project) {
		mark := fingerprint(place)
		if mark == "" {
			continue
		}
		snap[place] = mark
		if filepath.Base(place) == ".git" {
			continue // its places are listed one by one
		}
		entries, _ := readSomeNames(place)
		for _, name := range entries {
			path := filepath.Join(place, name)
			snap[path] = fingerprint(path)
		}
	}
	return snap
}

// readSomeNames lists a folder, up to a number of names that no folder of settings has.
func readSomeNames(dir string) ([]string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	return f.Readdirnames(1000)
}

// fingerprint is empty for what does not exist. A folder's is that it is one; a file's is its
// content.
func fingerprint(path string) string {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return ""
	case info.Mode()&os.ModeSymlink != 0:
		target, _ := os.Readlink(path)
		return "link " + target
	case !info.Mode().IsRegular():
		return info.Mode().Type().String()
	}
	data, err := readSmall(path)
	if err != nil {
		return fmt.Sprintf("unread %d %v", info.Size(), info.ModTime())
	}
	return fmt.Sprintf("%v %d %x", info.Mode(), info.Size(), sha256.Sum256(data))
}

// changes are the paths that are new or differ in a later snapshot, sorted.
func (before snapshot) changes(after snapshot) []string {
	var list []string
	for path, mark := range after {
		if before[path] != mark {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}
