package host

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The facts below are conditions that both advice and probes ask for. Each reads one file.

func usernsCloneOff(e *Env) bool {
	n, ok := e.number("/proc/sys/kernel/unprivileged_userns_clone")
	return ok && n == 0 && e.UID != 0
}

func maxUserNamespacesZero(e *Env) bool {
	n, ok := e.number("/proc/sys/user/max_user_namespaces")
	return ok && n == 0
}

// appArmorRestricts: Ubuntu's knob. The kernel exempts root by its capabilities, and every program with a profile
// that does not refuse it, which the current label shows.
func appArmorRestricts(e *Env) bool {
	n, ok := e.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
	label := appArmorLabel(e)
	return ok && n == 1 && e.UID != 0 &&
		(label == "" || strings.HasPrefix(label, "unconfined") || strings.HasPrefix(label, "unprivileged_userns"))
}

// appArmorLabel is the caller's; attr/current may be another security module's where two are in use.
func appArmorLabel(e *Env) string {
	if label, ok := e.text("/proc/self/attr/apparmor/current"); ok {
		return label
	}
	label, _ := e.text("/proc/self/attr/current")
	return label
}

func selinuxEnforces(e *Env) bool {
	n, ok := e.number("/sys/fs/selinux/enforce")
	return ok && n == 1
}

func noNewPrivs(e *Env) bool {
	v, _ := e.statusField("NoNewPrivs")
	return v == "1"
}

// statusField is a line of /proc/self/status.
func (e *Env) statusField(name string) (value string, ok bool) {
	text, _ := e.text("/proc/self/status")
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// mounts is empty where mountinfo cannot be read: no fact follows from that.
func (e *Env) mounts() []Mount {
	f, err := os.Open(e.path("/proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	mounts, _ := ParseMountInfo(f)
	return mounts
}

// procMasked: something is mounted below /proc. The kernel's mount_too_revealing() then refuses a fresh proc, empty
// folders that exist for mounting (binfmt_misc) aside.
func procMasked(e *Env) bool { return len(procMasks(e)) > 0 }

func procMasks(e *Env) (masks []string) {
	for _, m := range MountsBelow(e.mounts(), "/proc") {
		if m.Point != "/proc/sys/fs/binfmt_misc" {
			masks = append(masks, m.Point)
		}
	}
	return masks
}

// rootIsInitramfs: pivot_root(2) refuses a root of type rootfs.
func rootIsInitramfs(e *Env) bool {
	root, found := rootMount(e)
	return found && root.Type == "rootfs"
}

// chrooted: the kernel's current_chrooted() compares the process's root with that of its mount namespace. From inside,
// a chroot shows as a root folder that is no mount point.
func chrooted(e *Env) bool {
	_, found := rootMount(e)
	return !found && len(e.mounts()) > 0
}

// rootMount is the last mount on "/", which covers the ones before.
func rootMount(e *Env) (root Mount, found bool) {
	for _, m := range e.mounts() {
		if m.Point == "/" {
			root, found = m, true
		}
	}
	return root, found
}

// inContainer: the marks that docker, podman, systemd-nspawn and LXC leave.
func inContainer(e *Env) bool { return containerMark(e) != "" }

func containerMark(e *Env) string {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/dev/.lxc"} {
		if e.exists(mark) {
			return mark
		}
	}
	return ""
}

func newuidmapPlain(*Env) bool {
	path, err := FindHelper("newuidmap")
	return err == nil && privilege(path) == ""
}

// privilege is what gives a helper its power: "set-uid", "file capabilities" or nothing. The kernel heeds set-uid
// only for root's files and on mounts without nosuid.
func privilege(path string) string {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) == nil && st.Mode&syscall.S_ISUID != 0 && st.Uid == 0 {
		return "set-uid"
	}
	if n, err := unix.Getxattr(path, "security.capability", nil); err == nil && n > 0 {
		return "file capabilities"
	}
	return ""
}
