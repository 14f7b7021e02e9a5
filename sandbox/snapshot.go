package sandbox

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/host"
)

// snapshot is what lies at the places that a run must not have changed unseen: a fingerprint of
// each path that exists.
type snapshot map[string]string

// bareRepository is the file that makes git take a folder for a bare repository, beside two folders
// (gitrepository-layout(5)).
const bareRepository = "HEAD"

// takeSnapshot fingerprints the protected places of a project. What lies in a .git that is covered
// is the host's own doing and is left out, unless asked for.
func takeSnapshot(project *Project, insideGit bool) snapshot {
	snap := snapshot{}
	for _, name := range slices.Concat(ProtectedPlaces, []string{bareRepository}) {
		snap.add(filepath.Join(project.Dir, name))
	}
	git := filepath.Join(project.Dir, ".git")
	if mark := fingerprint(git); mark != "" {
		snap[git] = mark
	}
	if insideGit || !project.GitReadOnly {
		snap.addGit(git)
	}
	return snap
}

func (snap snapshot) addGit(git string) {
	for _, name := range gitPlaces {
		snap.add(filepath.Join(git, name))
	}
}

// Bounds of what is read of a folder of settings.
const (
	snapshotDepth = 3
	snapshotNames = 1000
)

// add fingerprints a path and, to a depth, what is in it.
func (snap snapshot) add(path string) { snap.addDeep(path, snapshotDepth) }

func (snap snapshot) addDeep(path string, depth int) {
	mark := fingerprint(path)
	if mark == "" {
		return
	}
	snap[path] = mark
	if mark != folderMark || depth == 0 {
		return
	}
	for _, name := range someNames(path) {
		snap.addDeep(filepath.Join(path, name), depth-1)
	}
}

// someNames lists a folder, up to a number of names that no folder of settings has.
func someNames(dir string) []string {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, _ := f.Readdirnames(snapshotNames)
	return names
}

// folderMark is the fingerprint of every folder.
const folderMark = "folder"

// fingerprint is empty for what does not exist. A file's is its content.
func fingerprint(path string) string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return ""
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, _ := os.Readlink(path)
		return "link " + target
	case unix.S_IFDIR:
		return folderMark
	case unix.S_IFREG:
	default:
		return fmt.Sprintf("type %o", st.Mode&unix.S_IFMT)
	}
	data, err := readSmall(path)
	if err != nil {
		return fmt.Sprintf("unread %d %d", st.Size, st.Ctim.Nano())
	}
	return fmt.Sprintf("%o %d %x", st.Mode, st.Size, sha256.Sum256(data))
}

// rebase takes what lies at a place now for what lay there at the start: the host has replaced it.
func (snap snapshot) rebase(place string) {
	maps.DeleteFunc(snap, func(path, _ string) bool { return host.Within(path, place) })
	if filepath.Base(place) == ".git" {
		snap[place] = fingerprint(place)
		snap.addGit(place)
		return
	}
	snap.add(place)
}

// changes are the paths that are new or differ in a later snapshot, sorted.
func (snap snapshot) changes(later snapshot) []string {
	var list []string
	for path, mark := range later {
		if snap[path] != mark {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}
