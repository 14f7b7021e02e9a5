package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops all processes of the group where they are: cgroup.freeze. It returns when they stand still, or with an
// error after a time limit, which a process in the midst of slow I/O can exceed.
func (g *Group) Freeze(limit time.Duration) error { return g.setFrozen("1", limit) }

// Thaw lets them go on.
func (g *Group) Thaw(limit time.Duration) error { return g.setFrozen("0", limit) }

func (g *Group) setFrozen(state string, limit time.Duration) error {
	if err := write(g.Dir+"/cgroup.freeze", state); err != nil {
		return fmt.Errorf("freezing or thawing the sandbox: %w", err)
	}
	events, err := os.Open(g.Dir + "/cgroup.events")
	if err != nil {
		return fmt.Errorf("freezing or thawing the sandbox: %w", err)
	}
	defer events.Close()
	for deadline := time.Now().Add(limit); ; {
		if frozen, err := g.Frozen(); err != nil || frozen == (state == "1") {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("freezing or thawing the sandbox: not done after %v", limit)
		}
		// The file tells of changes by POLLPRI once it was read; a short wait is for what came between.
		events.ReadAt(make([]byte, 256), 0)
		unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, int(min(left, 20*time.Millisecond)/time.Millisecond)+1)
	}
}

// Frozen tells whether all processes of the group stand still.
func (g *Group) Frozen() (bool, error) {
	n, err := counter(g.Dir+"/cgroup.events", "frozen")
	return n == 1, err
}

// Kill ends all processes of the group at once: cgroup.kill. Before Linux 5.14 it freezes them first, so that none forks
// away, and ends them one by one.
func (g *Group) Kill() error {
	err := write(g.Dir+"/cgroup.kill", "1")
	if err == nil || errors.Is(err, fs.ErrNotExist) && !g.there() {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ending the sandbox's cgroup: %w", err)
	}
	write(g.Dir+"/cgroup.freeze", "1")
	defer write(g.Dir+"/cgroup.freeze", "0")
	return filepath.WalkDir(g.Dir, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		pids, err := processes(dir)
		for _, text := range pids {
			if pid, err := strconv.Atoi(text); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		return err
	})
}

func (g *Group) there() bool {
	_, err := os.Stat(g.Dir)
	return err == nil
}

// Close removes the group, whose processes have ended. A scope that is empty goes by itself.
func (g *Group) Close() error {
	if g == nil {
		return nil
	}
	var err error
	if g.Unit == "" {
		err = remove(g.Dir)
	}
	if g.lock != nil {
		g.lock.Close()
	}
	return err
}

// remove removes a cgroup with those below it. A process that has just ended may still be on its way out.
func remove(dir string) error {
	var err error
	for range 50 {
		if err = removeOnce(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		if populated, _ := counter(dir+"/cgroup.events", "populated"); populated == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func removeOnce(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeOnce(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}
