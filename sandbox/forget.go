package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RemoveKept removes what the sandboxes of a project keep beside it, and what nobody reviews: its home and its changes
// to caches. The project need not be there any more, and may be named by a link. It tells whether there was anything.
func RemoveKept(home, project string) (bool, error) {
	project, _ = existing(project)
	return RemoveNoted(home, project)
}

// RemoveNoted is RemoveKept for the path that ListKept names: where that leads by now does not count.
func RemoveNoted(home, project string) (bool, error) {
	any := false
	for _, kind := range keptKinds {
		removed, err := removeKept(filepath.Join(dataFolder(home), kind), nameOf(project))
		if err != nil {
			var usage *UsageError
			if errors.As(err, &usage) {
				return any, err
			}
			return any, fmt.Errorf("removing what sandboxes of %s keep: %w", project, err)
		}
		any = any || removed
	}
	return any, nil
}

func removeKept(all, name string) (bool, error) {
	left, _ := filepath.Glob(filepath.Join(all, ".gone-*"))
	for _, path := range left { // of a removal that was killed
		if err := removeFolder(path); err != nil {
			return false, err
		}
	}
	folder := filepath.Join(all, name)
	if _, err := os.Lstat(folder); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	locks, err := lockKept(folder)
	defer closeAll(locks)
	if err != nil {
		return false, err
	}
	gone, err := os.MkdirTemp(all, ".gone-")
	if err == nil {
		err = os.Rename(folder, filepath.Join(gone, name))
	}
	if err == nil {
		err = removeFolder(gone)
	}
	return err == nil, err
}

// lockKept locks a kept home, or each folder for a cache's changes, while no sandbox shows it.
func lockKept(folder string) (locks []*os.File, err error) {
	below, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	if err != nil {
		return nil, err
	}
	if exists(filepath.Join(folder, volumeData)) {
		below = []string{folder}
	}
	for _, path := range below {
		lock, err := lockFolder(path, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return locks, &UsageError{"a running sandbox of the project has its kept home, or changes its caches", "stop it first; sbx ps lists them"}
		}
		if err != nil {
			return locks, err
		}
		locks = append(locks, lock)
	}
	return locks, nil
}
