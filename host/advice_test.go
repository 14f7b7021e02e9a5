package host

import (
	"strings"
	"syscall"
	"testing"
)

func TestAdviseKnowsTheMachine(t *testing.T) {
	noNewPrivs := map[string]string{"/proc/self/status": "Name:\tx\nNoNewPrivs:\t1\n"}
	newgrp := map[string]string{
		"/etc/passwd":       "ann:x:1000:1000::/home/ann:/bin/sh\n",
		"/proc/self/status": "Gid:\t27\t27\t27\t27\nNoNewPrivs:\t0\n",
	}
	switchedOff := map[string]string{"/proc/sys/user/max_user_namespaces": "0"}
	for _, c := range []struct {
		files     map[string]string
		step      Step
		errno     syscall.Errno
		why, mend string
	}{
		{ubuntu2404, StepIDMap, syscall.EPERM, "AppArmor", "sudo make install"},
		{ubuntu2404, StepMount, syscall.EPERM, "AppArmor", "sudo make install"},
		{ubuntu2404, StepMount, syscall.EACCES, "AppArmor", "sudo make install"},
		{ubuntu2404, StepIDMap, syscall.ENOENT, "not installed", "sudo apt-get install uidmap"},
		{debian10, StepClone, syscall.EPERM, "unprivileged_userns_clone", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{switchedOff, StepClone, syscall.ENOSPC, "max_user_namespaces=0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{nil, StepClone, syscall.ENOSPC, "nesting", "sudo sysctl -w user.max_user_namespaces=15000"},
		{noNewPrivs, StepIDMap, syscall.EPERM, "no_new_privs", ""},
		{newgrp, StepIDMap, syscall.EPERM, "newgrp", "exit"},
		{docker, StepProc, syscall.EPERM, "outer container", ""},
		{docker, StepClone, syscall.EPERM, "seccomp", ""},
		{fedora, StepClone, syscall.EACCES, "SELinux", "sudo ausearch -m AVC -ts recent"},
		{fedora, StepOverlay, syscall.EPERM, "5.11", "sudo dnf install fuse-overlayfs"},
		{initramfs, StepPivotRoot, syscall.EINVAL, "initramfs", ""},
		{inChroot, StepClone, syscall.EPERM, "chroot", ""},
		{nil, StepKeyring, syscall.EDQUOT, "maxkeys", "sudo sysctl -w kernel.keys.maxkeys=20000"},
		{nil, StepTun, syscall.EACCES, "/dev/net/tun", "sudo chmod 0666 /dev/net/tun"},
	} {
		got, ok := advise(machine(t, 1000, c.files), c.step, c.errno)
		if !ok || !strings.Contains(got.Why, c.why) || got.Mend != c.mend {
			t.Errorf("%s, %v: %+v, want a reason with %q and %q", c.step, c.errno, got, c.why, c.mend)
		}
	}
}

func TestAdviseSaysNothingOfTheUnknown(t *testing.T) {
	if got, ok := Advise(StepClone, syscall.EXDEV); ok {
		t.Errorf("advice for clone, EXDEV: %+v", got)
	}
}

// A row after one without a condition for the same step and errno is never reached.
func TestAdvicesAreReachable(t *testing.T) {
	type key struct {
		Step
		syscall.Errno
	}
	final := map[key]bool{}
	for _, a := range advices {
		k := key{a.step, a.errno}
		if final[k] {
			t.Errorf("%s, %v: %q is never reached", a.step, a.errno, a.why)
		}
		final[k] = a.when == nil
		if a.why == "" || strings.HasSuffix(a.why, ".") || a.program != "" && a.mend != "" {
			t.Errorf("%s, %v: %+v", a.step, a.errno, a)
		}
	}
}

func TestInstall(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian": "sudo apt-get install passt",
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"": "sudo apt-get install passt",
		"ID=\"rocky\"\nID_LIKE=\"rhel fedora\"":   "sudo dnf install passt",
		"ID=arch":                                 "sudo pacman -S passt",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse\"":  "sudo zypper install passt",
		"ID=alpine":                               "sudo apk add passt",
		"ID=nixos":                                "install the package of your distribution that holds pasta",
		"":                                        "install the package of your distribution that holds pasta",
	} {
		if got := machine(t, 1000, map[string]string{"/etc/os-release": release}).install("pasta"); got != want {
			t.Errorf("%q: %q, want %q", release, got, want)
		}
	}
	if got := machine(t, 0, ubuntu2404).install("newuidmap"); got != "apt-get install uidmap" {
		t.Errorf("as root: %q", got)
	}
}
