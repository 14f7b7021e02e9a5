package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/profiles"
	"sbx/state"
)

// A named volume is a folder of sbx's own that outlives sandboxes: volumes/NAME/data below the data folder. Its
// files belong to ids of the host, so what one user inside wrote shows under other ids to another one.

// Volume is a named volume as a sandbox shows it.
type Volume struct {
	Name     string `json:"name"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
	// Folder is the volume's own, on the host.
	Folder string `json:"folder"`
}

// volumeData is what is shown of a volume's folder. The folder itself is what is locked: a payload could
// hold a lock on what it sees for ever.
const volumeData = "data"

// Volumes are the named volumes of a user.
type Volumes struct{ dir string }

// OwnVolumes are in $XDG_DATA_HOME, or its default below the home.
func OwnVolumes(home string) *Volumes { return &Volumes{filepath.Join(dataFolder(home), "volumes")} }

func (v *Volumes) folder(name string) string { return filepath.Join(v.dir, name) }

// volumes shows what the profile's [files] volumes name. They are made when the sandbox starts.
func (l *layout) volumes(s *Spec, home string, list []profiles.Volume) error {
	own := OwnVolumes(home)
	for _, v := range list {
		target := l.throughLinks(v.Dst)
		if err := l.checkTarget(target, true); err != nil {
			return err
		}
		l.replace(target)
		folder := own.folder(v.Name)
		l.add(fuseoverlay.Entry{
			Kind: fuseoverlay.Bind, Source: filepath.Join(folder, volumeData), Target: target, Writable: !v.ReadOnly, Mode: unix.S_IFDIR,
		})
		s.Volumes = append(s.Volumes, Volume{v.Name, target, v.ReadOnly, folder})
	}
	return nil
}

// holdVolumes makes those of a spec's volumes that are missing, and keeps them all from being removed until
// the files that it returns are closed.
func holdVolumes(list []Volume) (held []*os.File, err error) {
	for _, v := range list {
		lock, err := holdVolume(v.Folder)
		if err != nil {
			closeAll(held)
			return nil, fmt.Errorf("making the volume %s: %w", v.Name, err)
		}
		held = append(held, lock)
	}
	return held, nil
}

func holdVolume(folder string) (*os.File, error) {
	for {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		lock, err := lockFolder(folder, unix.LOCK_SH)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another command removed it meanwhile
		}
		if err == nil {
			err = makeFolder(filepath.Join(folder, volumeData), 0o755)
		}
		return lock, err
	}
}

// lockFolder locks a folder of this name; fs.ErrNotExist where another has taken its place.
func lockFolder(path string, how int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if err = unix.Flock(int(f.Fd()), how); err == nil {
		var held, named unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &held)
		if err == nil && (unix.Lstat(path, &named) != nil || named.Ino != held.Ino || named.Dev != held.Dev) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// VolumeInfo is what is known of a volume.
type VolumeInfo struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Sandboxes are the kept and the running ones that show it.
	Sandboxes []string `json:"sandboxes"`
	folder    string
}

// List tells all volumes, and which sandboxes on record have them.
func (v *Volumes) List(sandboxes *state.Store) ([]VolumeInfo, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	users := volumeUsers(sandboxes)
	list := []VolumeInfo{}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info := VolumeInfo{Name: e.Name(), folder: v.folder(e.Name()), Sandboxes: []string{}}
		if made, err := e.Info(); err == nil {
			info.Created = made.ModTime() // nothing is made in it after its data
		}
		info.Sandboxes = append(info.Sandboxes, users[info.folder]...)
		slices.Sort(info.Sandboxes)
		list = append(list, info)
	}
	return list, nil
}

// volumeUsers are the sandboxes on record, by the folders of the volumes that they show.
func volumeUsers(sandboxes *state.Store) map[string][]string {
	users := map[string][]string{}
	list, _, _ := sandboxes.List()
	for _, r := range list {
		spec, err := readSpec(filepath.Join(sandboxes.Folder(r.Name), specFile))
		if err != nil {
			continue
		}
		for _, shown := range spec.Volumes {
			if !slices.Contains(users[shown.Folder], r.Name) {
				users[shown.Folder] = append(users[shown.Folder], r.Name)
			}
		}
	}
	return users
}

// Create makes an empty volume. One that is there is an error.
func (v *Volumes) Create(name string) error {
	if err := checkVolume(name); err != nil {
		return err
	}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of volumes: %w", err)
	}
	err := os.Mkdir(v.folder(name), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return &UsageError{"there is a volume " + name + " already", "sbx volume ls lists them"}
	}
	if err != nil {
		return fmt.Errorf("making the volume %s: %w", name, err)
	}
	lock, err := holdVolume(v.folder(name))
	if err == nil {
		lock.Close()
	}
	return err
}

func checkVolume(name string) error {
	if !profiles.IsVolumeName(name) {
		return &UsageError{fmt.Sprintf("%q is no name of a volume", name), "letters, digits, '.', '_' and '-', a letter or digit first"}
	}
	return nil
}

// Remove removes a volume with what is in it. One that a running sandbox shows stays, and one that a kept
// sandbox wants when it starts again goes by force alone.
func (v *Volumes) Remove(name string, sandboxes *state.Store, force bool) error {
	if err := checkVolume(name); err != nil {
		return err
	}
	folder := v.folder(name)
	lock, err := lockFolder(folder, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &UsageError{"there is no volume " + name, "sbx volume ls lists them"}
	case errors.Is(err, unix.EWOULDBLOCK):
		return &UsageError{"a running sandbox shows the volume " + name, "stop it first; sbx volume ls tells which"}
	case err != nil:
		return fmt.Errorf("removing the volume %s: %w", name, err)
	}
	defer lock.Close()
	if users := volumeUsers(sandboxes)[folder]; len(users) > 0 && !force {
		return &UsageError{"the volume " + name + " belongs to " + strings.Join(users, ", ") + " as well", "sbx volume rm --force " + name}
	}
	gone, err := os.MkdirTemp(v.dir, ".gone-")
	if err == nil {
		err = os.Rename(folder, filepath.Join(gone, name))
	}
	if err == nil {
		err = removeFolder(gone)
	}
	if err != nil {
		return fmt.Errorf("removing the volume %s: %w", name, err)
	}
	return nil
}

// Sweep removes what a killed removal left.
func (v *Volumes) Sweep() {
	left, _ := filepath.Glob(filepath.Join(v.dir, ".gone-*"))
	for _, path := range left {
		removeFolder(path)
	}
}
