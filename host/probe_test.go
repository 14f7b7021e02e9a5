package host

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestProbesOfThisMachine(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Run(context.Background()) {
		if f.Name == "" || f.What == "" || seen[f.Name] {
			t.Errorf("finding without a name of its own: %+v", f)
		}
		seen[f.Name] = true
		if f.Status == "" || f.Found == "" || f.Means == "" {
			t.Errorf("finding that says too little: %+v", f)
		}
		if strings.HasPrefix(f.Mend, "sudo ") && os.Getuid() == 0 {
			t.Errorf("root is told to use sudo: %+v", f)
		}
	}
	if len(seen) != len(All()) {
		t.Errorf("%d findings of %d probes", len(seen), len(All()))
	}
}

// What later versions will ask is asked already.
// This machine runs the tests of sandboxes, so what these need must be found here.
func TestThisMachineCanRun(t *testing.T) {
	if findings := Run(context.Background()); !CanRun(findings) {
		t.Errorf("the main job cannot run: %+v", findings)
	}
}

// A probe leaves nothing behind: neither a mount nor a folder.
func TestProbesLeaveNothing(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	before, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Probe{UsernsMounts, FreshProc, Overlay} {
		p.on(Here())
	}
	after, _ := Mounts()
	if left, _ := os.ReadDir(state); len(left) != 0 || len(after) != len(before) {
		t.Errorf("left %v and %d mounts", left, len(after)-len(before))
	}
}

func TestAskTriesOnce(t *testing.T) {
	tries := 0
	p := &Probe{Name: "x", run: func(*Env) Finding { tries++; return ok("y", "") }}
	if p.Ask(); !p.OK() || p.Ask().Name != "x" || tries != 1 {
		t.Errorf("%+v after %d tries", p.Ask(), tries)
	}
	if f := Ask("kernel"); f.Status == Unknown || !f.Required {
		t.Errorf("Ask(kernel) = %+v", f)
	}
	if f := Ask("no-such-probe"); f.Status != Unknown {
		t.Errorf("Ask of a probe that is not there = %+v", f)
	}
}

func TestCanRun(t *testing.T) {
	for want, findings := range map[bool][]Finding{
		true:  {{Status: OK, Required: true}, {Status: Weaker, Required: true}, {Status: Unknown, Required: true}, {Status: Missing}},
		false: {{Status: OK, Required: true}, {Status: Missing, Required: true}},
	} {
		if got := CanRun(findings); got != want {
			t.Errorf("CanRun(%v) = %v", findings, got)
		}
	}
	if CanRun(nil) {
		t.Error("CanRun of no findings at all")
	}
}

func TestProbesReadOtherMachines(t *testing.T) {
	text := func(name, content string) map[string]string { return map[string]string{name: content} }
	for _, c := range []struct {
		name   string
		probe  *Probe
		files  map[string]string
		status Status
		found  string
		mend   string
	}{
		{"Ubuntu 24.04", AppArmorUserns, ubuntu2404, Missing, "restricted (1)", "sudo make install"},
		{"its own AppArmor profile", AppArmorUserns, map[string]string{
			"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1", "/proc/self/attr/current": "sbx (unconfined)"}, OK, "not for this program", ""},
		{"no AppArmor", AppArmorUserns, nil, OK, "not restricted", ""},
		{"Debian 10", UsernsClone, debian10, Missing, "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Debian 10", KernelVersion, debian10, Missing, "4.19", ""},
		{"Ubuntu 20.04", KernelVersion, text("/proc/sys/kernel/osrelease", "5.4.0-150-generic"), Missing, "5.4", ""},
		{"Debian 11", KernelVersion, text("/proc/sys/kernel/osrelease", "5.10.0-28-amd64"), Weaker, "5.10", ""},
		{"Debian 12", KernelVersion, text("/proc/sys/kernel/osrelease", "6.1.0-18-amd64"), OK, "6.1", ""},
		{"switched off", MaxUserNamespaces, text("/proc/sys/user/max_user_namespaces", "0\n"), Missing, "0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"Fedora", SELinux, fedora, OK, "with rules", ""},
		{"permissive", SELinux, text("/sys/fs/selinux/enforce", "0"), OK, "permissive", ""},
		{"hidepid", HiddenProcesses, inChroot, Weaker, "invisible", "sudo mount -o remount,hidepid=0 /proc"},
		{"initramfs", RootFilesystem, initramfs, Missing, "initramfs", ""},
		{"chroot", RootFilesystem, inChroot, Missing, "chroot", ""},
		{"docker", Container, docker, OK, "/.dockerenv", ""},
		{"WSL 2", WSL, text("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2"), OK, "WSL 2", ""},
		{"WSL 1", WSL, text("/proc/sys/kernel/osrelease", "4.4.0-19041-Microsoft"), Missing, "WSL 1", "wsl.exe --set-version DISTRIBUTION 2"},
		{"no_new_privs", NoNewPrivs, text("/proc/self/status", "NoNewPrivs:\t1\n"), Weaker, "set", ""},
		{"no seccomp", Seccomp, nil, Missing, "none", ""},
		{"keyrings used up", Keyrings, text("/proc/key-users", "    0:     9 8/8 3/1000000 40/25000000\n 1000:   190 190/190 190/200 40/20000\n"),
			Weaker, "190 of 200", "sudo sysctl -w kernel.keys.maxkeys=20000"},
		{"TIOCSTI off", TIOCSTI, text("/proc/sys/dev/tty/legacy_tiocsti", "0"), OK, "off", ""},
		{"cgroup v1", Cgroups, text("/proc/self/mountinfo", "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /sys/fs/cgroup rw - tmpfs t rw\n"), Weaker, "v1", ""},
		{"cgroup hybrid", Cgroups, text("/proc/self/mountinfo",
			"2 1 0:2 / /sys/fs/cgroup rw - tmpfs t rw\n3 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n"), Weaker, "hybrid", ""},
		{"cgroup v2, delegated in part", Cgroups, map[string]string{
			"/proc/self/mountinfo": "2 1 0:2 / /sys/fs/cgroup rw - cgroup2 c rw\n",
			"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers": "memory pids\n",
		}, Weaker, "memory pids", (&Env{UID: 1000}).delegateCommand()},
		{"cgroup v2, delegated", Cgroups, map[string]string{
			"/proc/self/mountinfo": "2 1 0:2 / /sys/fs/cgroup rw - cgroup2 c rw\n",
			"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers": "cpu memory pids\n",
		}, OK, "cpu memory pids", ""},
		{"no time namespace", TimeNamespace, nil, Weaker, "absent", ""},
	} {
		f := c.probe.on(machine(t, 1000, c.files))
		if f.Status != c.status || !strings.Contains(f.Found, c.found) || f.Mend != c.mend {
			t.Errorf("%s, %s: %+v", c.name, c.probe.Name, f)
		}
	}
}

// Where the root cannot be pivoted away, sbx refuses, and doctor must say so: nothing there may speak of a fallback.
func TestAnInitramfsIsRefused(t *testing.T) {
	e := machine(t, 1000, initramfs)
	f := RootFilesystem.on(e)
	if CanRun([]Finding{f}) || !strings.Contains(f.Means, "refuses") {
		t.Errorf("%+v", f)
	}
	if a, _ := advise(e, StepPivotRoot, syscall.EINVAL); !strings.Contains(a.Why, "does not use chroot") || !strings.Contains(a.Why, "CAP_SYS_CHROOT") {
		t.Errorf("%+v", a)
	}
}

func TestGiveSubIDsTakesWhatIsFree(t *testing.T) {
	e := machine(t, 1000, map[string]string{
		"/etc/subuid": "ann:100000:65536\n# x\n", "/etc/subgid": "ann:100000:65536\nbob:165536:65536\n", "/etc/passwd": "root:x:0:0:::\neve:x:1000:1000:::\n",
	})
	if got, want := e.giveSubIDs("eve"), "sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 eve"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// usermod(8) refuses a user whom only a directory knows.
	if got, want := e.giveSubIDs("zoe"), "echo zoe:231072:65536 | sudo tee -a /etc/subuid /etc/subgid"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTellingLine(t *testing.T) {
	for out, want := range map[string]string{
		"": "", "one\ntwo\n": "one",
		"unknown argument\nfusermount3 version: 3\nfuse-overlayfs: version 1.10\n": "fuse-overlayfs: version 1.10",
	} {
		if got := tellingLine([]byte(out), "fuse-overlayfs"); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

// What the kernel refuses in a user namespace inside one whose /proc is masked: nested, as in a container.
func TestFreshProcIsRefusedWhereProcIsMasked(t *testing.T) {
	out, err := exec.Command("unshare", "-Urmpf", "--mount-proc", "sh", "-c",
		"mount -t tmpfs none /proc/sys && unshare -Urmpf mount -t proc proc /proc").CombinedOutput()
	if err == nil {
		t.Error("a fresh proc was mounted although parts of the outer one are covered")
	}
	if s := string(out); !strings.Contains(s, "permission denied") && !strings.Contains(s, "not permitted") {
		t.Errorf("refused in other words: %s", s)
	}
}
