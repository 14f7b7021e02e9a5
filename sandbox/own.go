package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"sbx/fuseoverlay"
	"sbx/host"
)

// ownFolders are where sbx keeps what decides over the next run: the user's profiles, what was
// agreed to, the state of sandboxes. Both where the environment says and where sbx would look without
// it: the next run may have another environment.
func ownFolders(home string, uid int) []string {
	var list []string
	for _, place := range []struct{ variable, otherwise string }{
		{"XDG_CONFIG_HOME", filepath.Join(home, ".config")},
		{"XDG_DATA_HOME", filepath.Join(home, ".local/share")},
		{"XDG_STATE_HOME", filepath.Join(home, ".local/state")},
		{"XDG_RUNTIME_DIR", "/run/user/" + strconv.Itoa(uid)},
	} {
		list = append(list, filepath.Join(place.otherwise, "sbx"))
		if dir := os.Getenv(place.variable); filepath.IsAbs(dir) && filepath.Clean(dir) != place.otherwise {
			list = append(list, filepath.Join(dir, "sbx"))
		}
	}
	return list
}

// coverOwnFolders lays something empty over sbx's own folders wherever a bind shows them: a payload
// that could write them would widen its next sandbox. One that does not exist yet is made where the
// payload could make it.
func (l *layout) coverOwnFolders() error {
	for _, folder := range l.own {
		real, there := existing(folder)
		for _, v := range l.views(real) {
			if !there && !v.through.Writable {
				continue
			}
			if err := os.MkdirAll(real, 0o700); err != nil {
				return fmt.Errorf("making sbx's own folder, which is to be covered: %w", err)
			}
			l.pinAbove(v)
			l.add(fuseoverlay.Entry{Kind: fuseoverlay.HideDir, Target: v.target})
		}
		if there {
			l.keepConfigured(real)
		}
	}
	return nil
}

// existing resolves the symlinks of a path as far as it exists.
func existing(path string) (real string, there bool) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, true
	}
	if path == "/" {
		return path, true
	}
	parent, _ := existing(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), false
}

// keepConfigured shows read-only what files of sbx's own folders are symlinks to: people keep their
// settings in a repository, where a run could otherwise write them.
func (l *layout) keepConfigured(folder string) {
	for _, dir := range []string{folder, filepath.Join(folder, "profiles")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Type()&os.ModeSymlink == 0 {
				continue
			}
			if real, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name())); err == nil {
				l.keep(real)
			}
		}
	}
}

func (l *layout) keep(path string) {
	for _, v := range l.views(path) {
		if v.through.Writable {
			l.pinAbove(v)
			l.bind(path, v.target, false)
		}
	}
}

// refuseOwn refuses to show one of sbx's own folders, or a part of one.
func (l *layout) refuseOwn(path string) error {
	for _, folder := range l.own {
		if real, _ := existing(folder); host.Within(path, real) {
			return &UsageError{fmt.Sprintf("showing %s: it lies in %s, which is sbx's own and is never shown", path, real), "copy what you need to another folder"}
		}
	}
	return nil
}
