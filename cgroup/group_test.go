package cgroup

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"testing"
	"time"

	"sbx/host"
)

// needGroups skips where no group with limits can be had. The guest of tests/vm runs these (cgroup_group.txtar).
func needGroups(t *testing.T) host.CgroupFacts {
	facts := host.FindCgroups()
	if !facts.Can("memory") {
		t.Skip("no cgroup with limits can be had here, and the script cgroup_group runs this in the guest: " + facts.Why)
	}
	return facts
}

// started is a shell in a group of its own, which does what script says once it is there.
func started(t *testing.T, l Limits, script string) (*Group, *exec.Cmd) {
	t.Helper()
	m := Begin(needGroups(t))
	defer m.Discard()
	cmd := exec.Command("sh", "-c", "read line; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g, err := m.Create("test", cmd.Process.Pid, l)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatal(err)
	}
	io.WriteString(in, "\n")
	t.Cleanup(func() { g.Kill(); cmd.Wait(); g.Close() })
	return g, cmd
}

func TestGroupIsFrozenAndThawed(t *testing.T) {
	g, _ := started(t, Limits{Memory: 64 << 20}, "setsid sh -c 'while :; do :; done' & while :; do :; done")
	used := func() time.Duration {
		before, err1 := g.Stats()
		time.Sleep(500 * time.Millisecond)
		after, err2 := g.Stats()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return after.CPU - before.CPU
	}
	for range 2 {
		if n := used(); n == 0 {
			t.Error("a running group uses no processor")
		}
		if err := g.Freeze(time.Minute); err != nil {
			t.Fatal(err)
		}
		frozen, err := g.Frozen()
		if n := used(); n != 0 || !frozen || err != nil {
			t.Errorf("a frozen group used %v; frozen %v, error %v", n, frozen, err)
		}
		if err := g.Thaw(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := g.Stats(); err != nil || s.MemoryPeak == nil || *s.MemoryPeak == 0 || s.Pids == nil || *s.Pids == 0 {
		t.Errorf("statistics %+v, error %v", s, err)
	}
}

// Frozen or not, nothing survives, and nothing is left.
func TestGroupIsKilled(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		g, cmd := started(t, Limits{Pids: 100}, "setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' & exec sleep 1000")
		for s, err := g.Stats(); s == nil || *s.Pids < 3; s, err = g.Stats() {
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if frozen {
			if err := g.Freeze(time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		deadline := time.Now().Add(time.Minute)
		for _, err := os.Stat(g.Dir); !errors.Is(err, fs.ErrNotExist); _, err = os.Stat(g.Dir) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is still there: %v", g.Dir, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := g.Kill(); err != nil {
			t.Errorf("killing what is gone: %v", err)
		}
	}
}
