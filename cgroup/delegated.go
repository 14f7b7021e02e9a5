package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/host"
)

// newDelegated makes a group below the caller's own cgroup.
func newDelegated(facts host.CgroupFacts, name string, l Limits) (*Group, error) {
	parent := facts.Own
	clean(parent)
	if err := divide(parent, l); err != nil {
		return nil, err
	}
	for {
		g, err := makeLocked(parent, name)
		if !errors.Is(err, unix.ENOENT) {
			return g, err
		}
		// Another sbx, cleaning up, took it for one that was left.
	}
}

func makeLocked(parent, name string) (*Group, error) {
	name, err := unique(name)
	if err != nil {
		return nil, err
	}
	g := &Group{Dir: filepath.Join(parent, name)}
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making a cgroup: %w", err)
	}
	g.lock, err = lock(g.Dir)
	if err == nil {
		_, err = os.Stat(g.Dir)
	}
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("locking the cgroup: %w", err)
	}
	return g, nil
}

// lock says that a group is in use; the kernel takes it back from a process that was killed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// clean removes the groups of sandboxes whose sbx was killed. What still has processes stays: rmdir(2) refuses it.
func clean(parent string) {
	entries, _ := os.ReadDir(parent)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || e.Name() == host.CallerLeaf {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		if f, err := lock(dir); err == nil {
			remove(dir)
			f.Close()
		}
	}
}

// divide enables, in a cgroup of the caller's, what a group below it needs. Where processes are in the way, they move to
// a leaf of their own, where all limits that held for them still do.
func divide(dir string, l Limits) error {
	have, err := read(dir + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("reading what the cgroup can do: %w", err)
	}
	text := l.wanted(have)
	if enabled, _ := read(dir + "/cgroup.subtree_control"); text == "" || hasAll(enabled, text) {
		return nil
	}
	err = write(dir+"/cgroup.subtree_control", text)
	if errors.Is(err, unix.EBUSY) {
		if err = moveCaller(dir); err == nil {
			err = write(dir+"/cgroup.subtree_control", text)
		}
	}
	if err != nil {
		return fmt.Errorf("dividing the caller's cgroup: %w", err)
	}
	return nil
}

// moveCaller moves all processes of a cgroup to a leaf. Some may be forked meanwhile: so it looks again, though not for
// ever.
func moveCaller(dir string) error {
	leaf := filepath.Join(dir, host.CallerLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for range 100 {
		pids, err := processes(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := write(leaf+"/cgroup.procs", pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return unix.EBUSY
}

// processes are the pids of a cgroup alone.
func processes(dir string) ([]string, error) {
	text, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text)), nil
}

// hasAll tells whether all controllers of a text such as "+cpu +memory" are enabled.
func hasAll(enabled, text string) bool {
	for w := range strings.FieldsSeq(text) {
		if !hasWord(enabled, strings.TrimPrefix(w, "+")) {
			return false
		}
	}
	return true
}
