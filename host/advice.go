package host

import (
	"strings"
	"syscall"
)

// Step is a kind of system call, of those that fail on real hosts for reasons that have a cure.
type Step string

// The steps that Advise knows.
const (
	StepClone     Step = "clone"      // clone or unshare with namespaces
	StepIDMap     Step = "id-map"     // uid_map and gid_map: written, or by newuidmap and newgidmap
	StepMount     Step = "mount"      // any mount but proc and overlay
	StepProc      Step = "proc"       // a fresh proc
	StepOverlay   Step = "overlay"    // an overlay
	StepCgroup    Step = "cgroup"     // entering or making a cgroup, setting a limit
	StepFuse      Step = "fuse"       // opening /dev/fuse, mounting a fuse file system
	StepTun       Step = "tun"        // opening /dev/net/tun, making a tap
	StepKeyring   Step = "keyring"    // joining a new session keyring
	StepPivotRoot Step = "pivot-root" // pivot_root
	StepSetns     Step = "setns"      // entering the namespaces of another sandbox
	StepSeccomp   Step = "seccomp"    // installing a filter
	StepWorkdir   Step = "workdir"    // entering the working folder
	StepExec      Step = "exec"       // executing the payload
)

// Advice is what lies behind an errno on this machine: a sentence, and the one command that mends it (empty where
// there is none).
type Advice struct{ Why, Mend string }

// advice is a row of the table. when asks the machine whether this reason is the one; nil is always. root marks a
// command that needs root; program a helper to install instead of a command.
type advice struct {
	step    Step
	errno   syscall.Errno
	when    func(*Env) bool
	why     string
	mend    string
	root    bool
	program string
	cure    func(*Env) string // where the command depends on the machine
}

// Advise tells the likely reason for an errno of a step, and its cure. ok is false where there is nothing to add to
// the error itself. It reads some small files, so it is for the way out.
func Advise(step Step, errno syscall.Errno) (Advice, bool) { return advise(Here(), step, errno) }

func advise(e *Env, step Step, errno syscall.Errno) (Advice, bool) {
	for _, a := range advices {
		if a.step == step && a.errno == errno && (a.when == nil || a.when(e)) {
			return Advice{a.why, a.command(e)}, true
		}
	}
	return Advice{}, false
}

func (a advice) command(e *Env) string {
	switch {
	case a.cure != nil:
		return a.cure(e)
	case a.program != "":
		return e.install(a.program)
	case a.root:
		return e.asRoot(a.mend)
	}
	return a.mend
}

// The cures that several rows and probes share.
const (
	loadProfile    = "make install" // puts packaging/apparmor/sbx in place and loads it
	usernsOn       = "sysctl -w kernel.unprivileged_userns_clone=1"
	usernsMax      = "sysctl -w user.max_user_namespaces=15000"
	fuseForUsers   = "chmod 0666 /dev/fuse"
	tunForUsers    = "chmod 0666 /dev/net/tun"
	whyAppArmor    = "AppArmor lets no program without a profile use a user namespace (kernel.apparmor_restrict_unprivileged_userns=1, as Ubuntu sets it)"
	whyNoNewPrivs  = "the caller runs under no_new_privs, where set-uid helpers such as newuidmap have no power"
	whyMaskedProc  = "the outer container has mounts over parts of /proc, and the kernel then allows no fresh one"
	whyMaxUserns   = "user namespaces are switched off (user.max_user_namespaces=0)"
	whyUsernsClone = "user namespaces are shut to ordinary users (kernel.unprivileged_userns_clone=0)"
)

// advices is read from above: for one step and errno the first row whose condition holds is the answer. The reasons
// are those of clone(2), user_namespaces(7), mount(2), pivot_root(2), setns(2), keyctl(2) and of the distributions'
// own knobs.
var advices = []advice{
	{step: StepClone, errno: syscall.EPERM, when: usernsCloneOff, why: whyUsernsClone, mend: usernsOn, root: true},
	{step: StepClone, errno: syscall.EPERM, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepClone, errno: syscall.EACCES, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepClone, errno: syscall.EACCES, when: selinuxEnforces,
		why: "SELinux refuses user namespaces to the caller's domain (class user_namespace)", mend: "ausearch -m AVC -ts recent", root: true},
	{step: StepClone, errno: syscall.EPERM, when: chrooted, why: "the caller is in a chroot, where the kernel makes no user namespaces"},
	{step: StepClone, errno: syscall.EPERM, when: inContainer,
		why: "the outer container's seccomp filter refuses user namespaces; start it with one that allows them"},
	{step: StepClone, errno: syscall.ENOSPC, when: maxUserNamespacesZero, why: whyMaxUserns, mend: usernsMax, root: true},
	{step: StepClone, errno: syscall.ENOSPC,
		why: "there are as many namespaces as the limits in /proc/sys/user allow, or 32 levels of nesting", mend: usernsMax, root: true},
	{step: StepClone, errno: syscall.EUSERS, why: "user namespaces are nested 32 deep, which is all that the kernel allows"},
	{step: StepClone, errno: syscall.EINVAL, why: "this kernel was built without one of the namespaces, or is older than the flag for it"},
	{step: StepClone, errno: syscall.EAGAIN, why: "the user has as many processes as RLIMIT_NPROC or the cgroup's pids.max allows"},

	{step: StepIDMap, errno: syscall.EPERM, when: noNewPrivs, why: whyNoNewPrivs},
	{step: StepIDMap, errno: syscall.EPERM, when: otherGroup,
		why: "the shell was started by newgrp or sg, so that newuidmap takes the process as owned by a different user", mend: "exit"},
	{step: StepIDMap, errno: syscall.EPERM, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepIDMap, errno: syscall.EPERM, when: newuidmapPlain,
		why: "newuidmap has neither the set-uid bit nor the capability cap_setuid", mend: "chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap", root: true},
	{step: StepIDMap, errno: syscall.EPERM, why: "the map has an id that the user was not given in /etc/subuid and /etc/subgid", program: "newuidmap"},
	{step: StepIDMap, errno: syscall.EACCES, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepIDMap, errno: syscall.ENOENT, why: "newuidmap or newgidmap is not installed", program: "newuidmap"},
	{step: StepIDMap, errno: syscall.EINVAL, why: "ranges of the map overlap, or are more than this kernel takes"},

	{step: StepMount, errno: syscall.EPERM, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepMount, errno: syscall.EACCES, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepMount, errno: syscall.EPERM, why: "the mount has options that are locked in a user namespace, or its file system is not allowed there"},
	{step: StepMount, errno: syscall.ENOSPC, why: "the namespace has as many mounts as fs.mount-max allows", mend: "sysctl -w fs.mount-max=200000", root: true},
	{step: StepMount, errno: syscall.ENODEV, why: "this kernel has no such file system"},
	{step: StepProc, errno: syscall.EPERM, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepProc, errno: syscall.EACCES, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepProc, errno: syscall.EPERM, when: procMasked, why: whyMaskedProc + "; start the container with an unmasked /proc (docker: --security-opt systempaths=unconfined)"},
	{step: StepProc, errno: syscall.EPERM, why: "no full view of /proc is mounted here, and the kernel then allows no fresh one"},
	{step: StepOverlay, errno: syscall.EPERM, when: appArmorRestricts, why: whyAppArmor, mend: loadProfile, root: true},
	{step: StepOverlay, errno: syscall.EPERM, why: "kernels before 5.11 mount no overlay in a user namespace; fuse-overlayfs does", program: "fuse-overlayfs"},
	{step: StepOverlay, errno: syscall.ENODEV, why: "the overlay module is not loaded, and users cannot load it", mend: "modprobe overlay", root: true},
	{step: StepOverlay, errno: syscall.EINVAL, why: "the file system of the upper folder cannot carry an overlay (no user xattrs, or an overlay itself), or mounts lie below a lower folder"},

	{step: StepCgroup, errno: syscall.EACCES, why: "no cgroup is delegated to the user: systemd does that for a user session", mend: "loginctl enable-linger"},
	{step: StepCgroup, errno: syscall.EPERM, why: "no cgroup is delegated to the user: systemd does that for a user session", mend: "loginctl enable-linger"},
	{step: StepCgroup, errno: syscall.EROFS, why: "the outer container shows its cgroups read-only, so no limit can be set"},
	{step: StepCgroup, errno: syscall.ENOENT, why: "the controller is not enabled for users", cure: (*Env).delegateCommand},
	{step: StepCgroup, errno: syscall.EBUSY, why: "the cgroup still has processes of its own, and a controller is enabled only above them"},

	{step: StepFuse, errno: syscall.EACCES, why: "/dev/fuse is shut to users", mend: fuseForUsers, root: true},
	{step: StepFuse, errno: syscall.EPERM, why: "the device cgroup or the sandbox around sbx refuses /dev/fuse"},
	{step: StepFuse, errno: syscall.ENOENT, why: "there is no /dev/fuse: the module is not loaded", mend: "modprobe fuse", root: true},
	{step: StepFuse, errno: syscall.ENODEV, why: "the fuse module is not loaded", mend: "modprobe fuse", root: true},
	{step: StepTun, errno: syscall.EACCES, why: "/dev/net/tun is shut to users", mend: tunForUsers, root: true},
	{step: StepTun, errno: syscall.EPERM, why: "the device cgroup or the sandbox around sbx refuses /dev/net/tun"},
	{step: StepTun, errno: syscall.ENOENT, why: "there is no /dev/net/tun: the module is not loaded", mend: "modprobe tun", root: true},
	{step: StepTun, errno: syscall.ENODEV, why: "the tun module is not loaded", mend: "modprobe tun", root: true},

	{step: StepKeyring, errno: syscall.EDQUOT,
		why: "the user has as many keyrings as kernel.keys.maxkeys allows, and freed ones count for a while", mend: "sysctl -w kernel.keys.maxkeys=20000", root: true},
	{step: StepKeyring, errno: syscall.ENOSYS, why: "this kernel has no keyrings, so there is nothing to keep apart"},
	{step: StepPivotRoot, errno: syscall.EINVAL, when: rootIsInitramfs,
		why: "the root is an initramfs, which cannot be pivoted away; sbx does not use chroot instead, which whoever has CAP_SYS_CHROOT could leave again"},
	{step: StepPivotRoot, errno: syscall.EINVAL, when: chrooted, why: "the caller is in a chroot whose root is no mount point"},
	{step: StepPivotRoot, errno: syscall.EBUSY, why: "the new root lies on the mount of the old one"},
	{step: StepSetns, errno: syscall.EPERM, why: "the namespace belongs to a sandbox of another user, or is entered before its user namespace"},
	{step: StepSetns, errno: syscall.EINVAL, why: "the process has several threads, or is in that user namespace already"},
	{step: StepSetns, errno: syscall.ESRCH, why: "the sandbox has ended"},
	{step: StepSeccomp, errno: syscall.EINVAL, why: "this kernel was built without seccomp filters (CONFIG_SECCOMP_FILTER)"},
	{step: StepSeccomp, errno: syscall.EACCES, why: "the filter needs no_new_privs, or the capability SYS_ADMIN in the sandbox"},
	{step: StepWorkdir, errno: syscall.ENOENT, why: "no such folder is shown inside", mend: "sbx explain lists what is shown; -w names one of these"},
	{step: StepWorkdir, errno: syscall.ELOOP, why: "its links lead in a circle, or to what a process has open (/proc/PID/fd)", mend: "-w names the folder itself"},
	{step: StepExec, errno: syscall.ENOEXEC, why: "the file is neither a program of this machine's kind nor a script that names its interpreter"},
	{step: StepExec, errno: syscall.E2BIG, why: "the arguments and the environment are longer than the kernel takes (a quarter of RLIMIT_STACK)"},
}

// otherGroup: newuidmap compares the owner of /proc/PID, which has the current group, with the user's passwd entry.
func otherGroup(e *Env) bool {
	b, _ := e.text("/etc/passwd")
	f := strings.Split(findUID(b, e.UID, ""), ":")
	gid, ok := e.statusField("Gid")
	return len(f) == 7 && ok && strings.Fields(gid + " ")[0] != f[3]
}
