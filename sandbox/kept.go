package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What is kept for a project, its home and its changes to caches, lies in folders that are named by a hash of the
// project's path. The path itself is in a file beside, so that what was kept for a project that is not there any more can be
// named. No sandbox is shown that file, and who reads it believes it only where its path has the hash.

// projectFile holds the path of a project.
const projectFile = "project"

// keptKinds are the folders of what is kept, below the data folder.
var keptKinds = []string{"homes", "caches"}

// noteProject notes the project's path beside what the sandbox keeps for it.
func (s *Spec) noteProject() error {
	name := nameOf(s.Project.Dir)
	var folders []string
	for _, v := range s.Volumes {
		folders = append(folders, v.Folder)
	}
	for _, c := range s.Caches {
		folders = append(folders, filepath.Dir(c.Own))
	}
	slices.Sort(folders)
	for _, folder := range slices.Compact(folders) {
		kind := filepath.Base(filepath.Dir(folder))
		if filepath.Base(folder) != name || !slices.Contains(keptKinds, kind) || exists(filepath.Join(folder, projectFile)) {
			continue
		}
		if err := writeWhole(folder, projectFile, s.Project.Dir); err != nil {
			return err
		}
	}
	return nil
}

// writeWhole makes a file of mode 0600, whole or not at all.
func writeWhole(dir, name, text string) error {
	f, err := os.CreateTemp(dir, "."+name+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// Kept is what sandboxes keep for one project.
type Kept struct {
	// Project is its folder, a real path; empty where it is not known, of what an older sbx has kept.
	Project string `json:"project"`
	Home    bool   `json:"home"`
	// Caches is how many caches it has of its own, or with changes of its own.
	Caches int `json:"caches"`
	// Gone says that there is nothing at that path any more.
	Gone bool `json:"gone"`
	// Folders are where all that lies.
	Folders []string `json:"folders"`
}

// ListKept lists what is kept for projects, by their paths.
func ListKept(home string) ([]Kept, error) {
	byName := map[string]*Kept{}
	for _, kind := range keptKinds {
		all := filepath.Join(dataFolder(home), kind)
		entries, err := os.ReadDir(all)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			k := byName[e.Name()]
			if k == nil {
				k = &Kept{}
				byName[e.Name()] = k
			}
			k.add(filepath.Join(all, e.Name()), kind)
		}
	}
	list := []Kept{}
	for _, k := range byName {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b Kept) int {
		return strings.Compare(a.Project+"\x00"+a.Folders[0], b.Project+"\x00"+b.Folders[0])
	})
	return list, nil
}

// add takes one folder of what is kept.
func (k *Kept) add(folder, kind string) {
	k.Folders = append(k.Folders, folder)
	if kind == "homes" {
		k.Home = true
	} else {
		caches, _ := filepath.Glob(filepath.Join(folder, "*", "*")) // in each of them what is changed, or passes
		for i, path := range caches {
			if i == 0 || filepath.Dir(path) != filepath.Dir(caches[i-1]) {
				k.Caches++
			}
		}
	}
	path, err := readSmall(filepath.Join(folder, projectFile))
	if err != nil || nameOf(string(path)) != filepath.Base(folder) {
		return
	}
	k.Project = string(path)
	_, err = os.Lstat(k.Project)
	k.Gone = errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}
