package host

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The probes about helpers, devices, limits and the place where sbx runs.
var (
	FuseDevice = &Probe{Name: "dev-fuse", What: "/dev/fuse", run: func(e *Env) Finding {
		return probeDevice(e, "/dev/fuse", StepFuse, "fuse-overlayfs")
	}}
	TunDevice = &Probe{Name: "dev-net-tun", What: "/dev/net/tun", run: func(e *Env) Finding {
		return probeDevice(e, "/dev/net/tun", StepTun, "networks other than none and host")
	}}
	FuseOverlayfs = &Probe{Name: "fuse-overlayfs", What: "fuse-overlayfs", run: func(e *Env) Finding {
		return probeProgram(e, "fuse-overlayfs", "the fallback where the kernel mounts no overlay")
	}}
	Slirp4netns = &Probe{Name: "slirp4netns", What: "slirp4netns", run: func(e *Env) Finding {
		return probeProgram(e, "slirp4netns", "--net slirp")
	}}
	Pasta   = &Probe{Name: "pasta", What: "pasta", run: func(e *Env) Finding { return probeProgram(e, "pasta", "--net pasta") }}
	Cgroups = &Probe{Name: "cgroups", What: "cgroups for limits", run: probeCgroups}
	UserBus = &Probe{Name: "user-bus", What: "the user's systemd", run: probeUserBus}

	Seccomp  = &Probe{Name: "seccomp", What: "seccomp filters", run: probeSeccomp}
	Landlock = &Probe{Name: "landlock", What: "Landlock", run: probeLandlock}
	Keyrings = &Probe{Name: "keyrings", What: "session keyrings", run: probeKeyrings}
	TIOCSTI  = &Probe{Name: "tiocsti", What: "TIOCSTI, typing into a terminal", run: probeTIOCSTI}

	RunningAsRoot = &Probe{Name: "running-as-root", What: "the caller", run: probeRunningAsRoot}
	Container     = &Probe{Name: "container", What: "an outer container", run: probeContainer}
	WSL           = &Probe{Name: "wsl", What: "Windows Subsystem for Linux", run: probeWSL}
)

// probeDevice opens the device as sbx would, and closes it.
func probeDevice(e *Env, path string, step Step, use string) Finding {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return refused(e, step, "", err, use+" cannot be had").softened()
	}
	unix.Close(fd)
	return ok("opens for users", "needed for "+use)
}

func probeProgram(e *Env, name, use string) Finding {
	path, err := FindHelper(name)
	if err != nil {
		return weaker("not installed", "without it there is no "+use, e.install(name))
	}
	said, err := tryInside(0, name, "--version")
	if err != nil {
		return weaker(path+", which does not start: "+whatFailed(said, err), "without it there is no "+use, e.install(name))
	}
	return ok(path+", "+said, "used for "+use)
}

func probeSeccomp(e *Env) Finding {
	actions := words(e, "/proc/sys/kernel/seccomp/actions_avail")
	if !slices.Contains(actions, "errno") {
		return missing("none", "sandboxes have no system call filter, so they are refused unless the profile says off", "")
	}
	return ok(strings.Join(actions, " "), "system calls can be filtered")
}

func probeLandlock(*Env) Finding {
	abi, err := landlockABI()
	if err != nil {
		return weaker(err.Error(), "a second wall, behind namespaces and seccomp, is not there; add landlock to the kernel's lsm= list", "")
	}
	return ok(fmt.Sprintf("ABI %d", abi), "a second wall behind namespaces and seccomp")
}

// probeKeyrings reads /proc/key-users: "UID: USAGE NKEYS/NIKEYS QNKEYS/MAXKEYS QNBYTES/MAXBYTES" (keyrings(7)).
func probeKeyrings(e *Env) Finding {
	used, limit, there := keyQuota(e)
	switch {
	case !e.exists("/proc/key-users"):
		return ok("none in this kernel", "nothing to keep apart")
	case !there:
		return ok("none in use", "each sandbox gets a fresh one")
	case limit-used < 20:
		return weaker(fmt.Sprintf("%d of %d used", used, limit), "each running sandbox takes one; the next ones may be refused (EDQUOT)",
			e.asRoot("sysctl -w kernel.keys.maxkeys=20000"))
	}
	return ok(fmt.Sprintf("%d of %d used", used, limit), "each sandbox gets a fresh one")
}

func keyQuota(e *Env) (used, limit int, there bool) {
	text, _ := e.text("/proc/key-users")
	for line := range strings.Lines(text) {
		var uid, usage, keys, live int
		n, _ := fmt.Sscanf(strings.TrimSpace(line), "%d: %d %d/%d %d/%d", &uid, &usage, &keys, &live, &used, &limit)
		if n == 6 && uid == e.UID {
			return used, limit, true
		}
	}
	return 0, 0, false
}

func probeTIOCSTI(e *Env) Finding {
	if n, there := e.number("/proc/sys/dev/tty/legacy_tiocsti"); there && n == 0 {
		return ok("switched off", "no program can type into a terminal that it shares")
	}
	return ok("possible", "sandboxes get terminals of their own, and the filter refuses it; dev.tty.legacy_tiocsti=0 would close it for all")
}

func probeRunningAsRoot(e *Env) Finding {
	if e.UID == 0 {
		return weaker("root", "works; but a hole in a sandbox is then a hole into root's account: run sbx as a normal user", "")
	}
	return ok(fmt.Sprintf("uid %d", e.UID), "a normal user")
}

func probeContainer(e *Env) Finding {
	if mark := containerMark(e); mark != "" {
		return ok("it looks like one: "+mark, "its own filter and mounts may refuse what a sandbox needs; the other rows say what")
	}
	return ok("none", "nothing around sbx refuses what a sandbox needs")
}

func probeWSL(e *Env) Finding {
	release, _ := e.text("/proc/sys/kernel/osrelease")
	switch low := strings.ToLower(release); {
	case strings.Contains(low, "wsl2"):
		return ok("WSL 2", "a real kernel; the Windows drives below /mnt are host files like others")
	case strings.Contains(low, "microsoft"):
		return missing("WSL 1", "it is no Linux kernel and has no user namespaces", "wsl.exe --set-version DISTRIBUTION 2")
	}
	return ok("no", "an ordinary Linux")
}
