package host

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	unified = "2 1 0:2 / /sys/fs/cgroup rw - cgroup2 c rw\n"
	hybrid  = "2 1 0:2 / /sys/fs/cgroup rw - tmpfs t rw\n3 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n"
	ann1000 = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
)

// What other machines offer. A folder of a cgroup that has a file cgroup.procs here is the caller's to write.
func TestFindCgroups(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	own := func(dir, controllers string) map[string]string {
		return map[string]string{dir + "/cgroup.procs": "", dir + "/cgroup.subtree_control": "", dir + "/cgroup.controllers": controllers}
	}
	for _, c := range []struct {
		name           string
		mounts, cgroup string
		files          map[string]string
		sockets        []string
		way            CgroupWay
		controllers    string
		slice, why     string
	}{
		{name: "v1 alone", cgroup: "1:cpu:/\n", way: CgroupNone, why: "cgroup v1 alone"},
		{name: "hybrid", mounts: hybrid, cgroup: "1:cpu:/\n0::/\n", way: CgroupNone, why: "controllers in cgroup v1"},
		{name: "hybrid, of the caller's own", mounts: hybrid, cgroup: "0::/x\n", files: own("/sys/fs/cgroup/unified/x", ""),
			way: CgroupDelegated, why: "controllers in cgroup v1"},
		{name: "a container, read-only", mounts: strings.Replace(unified, "rw", "ro", 1), cgroup: "0::/\n", way: CgroupNone, why: "read-only"},
		{name: "a container, delegated", mounts: unified, cgroup: "0::/\n", files: own("/sys/fs/cgroup", "cpu pids"), way: CgroupDelegated, controllers: "cpu pids", why: "not enabled for /sys/fs/cgroup"},
		{name: "a container, in part of the tree", mounts: strings.Replace(unified, "0:2 /", "0:2 /docker/1", 1), cgroup: "0::/docker/1/x\n",
			files: own("/sys/fs/cgroup/x", "cpu"), way: CgroupDelegated, controllers: "cpu", why: "/sys/fs/cgroup/x"},
		{name: "divided before", mounts: unified, cgroup: "0::/job/" + CallerLeaf + "\n", files: own("/sys/fs/cgroup/job", "io"), way: CgroupDelegated, controllers: "io", why: "/sys/fs/cgroup/job"},
		{name: "no systemd for the user", mounts: unified, cgroup: "0::/user.slice/user-1000.slice/session-1.scope\n",
			files: map[string]string{"/run/systemd/system/x": ""}, way: CgroupNone, why: "does not run or has no bus"},
		{name: "no systemd", mounts: unified, cgroup: "0::/\n", way: CgroupNone, why: "did not start this machine"},
		{name: "a session", mounts: unified, cgroup: "0::/user.slice/user-1000.slice/session-1.scope\n",
			files:   map[string]string{"/run/systemd/system/x": "", ann1000 + "/cgroup.controllers": "cpu memory pids"},
			sockets: []string{"/run/user/1000/bus"}, way: CgroupScope, controllers: "cpu memory pids", why: "does not delegate"},
		// What is below the user's own manager is writable, and the manager's to divide.
		{name: "a terminal", mounts: unified, cgroup: "0::" + strings.TrimPrefix(ann1000, "/sys/fs/cgroup") + "/app.slice/work.slice/term.scope\n",
			files:   with(own(ann1000+"/app.slice/work.slice/term.scope", "cpu"), map[string]string{"/run/systemd/system/x": "", ann1000 + "/cgroup.controllers": "memory"}),
			sockets: []string{"/run/user/1000/bus", "/run/user/1000/systemd/private"}, way: CgroupScope, controllers: "memory", slice: "work.slice", why: "does not delegate"},
	} {
		e := machine(t, 1000, with(c.files, map[string]string{"/proc/self/mountinfo": "1 0 0:1 / / rw - ext4 x rw\n" + c.mounts, "/proc/self/cgroup": c.cgroup}))
		for _, path := range c.sockets {
			listenAt(t, e, path)
		}
		f := e.findCgroups()
		if f.Way != c.way || strings.Join(f.Controllers, " ") != c.controllers || f.Slice != c.slice || !strings.Contains(f.Why, c.why) {
			t.Errorf("%s: %+v", c.name, f)
		}
		if len(f.Buses) != len(c.sockets) || len(f.Buses) == 2 && (!f.Buses[0].Private || f.Buses[1].Private) {
			t.Errorf("%s: buses %v", c.name, f.Buses)
		}
	}
}

func with(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for name, text := range m {
			all[name] = text
		}
	}
	return all
}

// listenAt makes a socket in a machine of files. Its folder is the user's, as far as this process can tell.
func listenAt(t *testing.T, e *Env, path string) {
	t.Helper()
	path = e.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer os.Chdir(here)
	if err := os.Chdir(filepath.Dir(path)); err != nil { // the names of sockets are short
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// After su the environment names a folder of another user's, and in cron none.
func TestRuntimeDir(t *testing.T) {
	e := machine(t, 1000, map[string]string{"/run/user/1000/x": "", "/home/ann/run/x": ""})
	for env, want := range map[string]string{"": "/run/user/1000", "/nowhere": "/run/user/1000", "relative": "/run/user/1000", "/home/ann/run": "/home/ann/run"} {
		t.Setenv("XDG_RUNTIME_DIR", env)
		if got := e.runtimeDir(); got != want {
			t.Errorf("XDG_RUNTIME_DIR=%q: %q, want %q", env, got, want)
		}
	}
	if got := machine(t, 1000, nil).runtimeDir(); got != "" {
		t.Errorf("without any: %q", got)
	}
}

func TestProcessLimitCounts(t *testing.T) {
	for _, c := range []struct {
		release string
		uid     int
		want    bool
	}{{"6.1.0-18-amd64", 1000, true}, {"5.14.0", 1000, true}, {"5.13.19", 1000, false}, {"6.1.0", 0, false}} {
		e := machine(t, c.uid, map[string]string{"/proc/sys/kernel/osrelease": c.release})
		if got := e.processLimitCounts(); got != c.want {
			t.Errorf("%s as %d: %v", c.release, c.uid, got)
		}
	}
}

func TestDelegateCommandIsOneLine(t *testing.T) {
	for uid, prefix := range map[int]string{0: "sh -c", 1000: "sudo sh -c"} {
		got := (&Env{UID: uid}).delegateCommand()
		if !strings.HasPrefix(got, prefix) || strings.Contains(got, "\n") || !strings.Contains(got, fmt.Sprintf("Delegate=%s", "cpu cpuset io memory pids")) {
			t.Errorf("%q", got)
		}
	}
}
