package host

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// The probes about user namespaces and id maps. Those that are Required try the thing itself; the others read the knob
// that explains why it failed.
var (
	UserNamespaces = &Probe{Name: "user-namespaces", What: "user namespaces", Required: true, run: probeUserNamespaces}
	UsernsMounts   = &Probe{Name: "userns-mounts", What: "mounts in a user namespace", Required: true, run: probeUsernsMounts}

	MaxUserNamespaces = &Probe{Name: "max-user-namespaces", What: "user.max_user_namespaces", run: probeMaxUserNamespaces}
	UsernsClone       = &Probe{Name: "unprivileged-userns-clone", What: "kernel.unprivileged_userns_clone", run: probeUsernsClone}
	AppArmorUserns    = &Probe{Name: "apparmor-userns", What: "AppArmor's restriction of user namespaces", run: probeAppArmor}
	SELinux           = &Probe{Name: "selinux", What: "SELinux", run: probeSELinux}

	SubIDsGiven = &Probe{Name: "sub-ids", What: "the user's sub-ids", run: probeSubIDs}
	Newuidmap   = &Probe{Name: "newuidmap", What: "newuidmap", run: func(e *Env) Finding { return probeIDHelper(e, "newuidmap") }}
	Newgidmap   = &Probe{Name: "newgidmap", What: "newgidmap", run: func(e *Env) Finding { return probeIDHelper(e, "newgidmap") }}
	NoNewPrivs  = &Probe{Name: "no-new-privs", What: "no_new_privs on the caller", run: probeNoNewPrivs}
)

const singleID = "sandboxes get level single-id: one user inside, the other ids show as nobody"

func probeUserNamespaces(e *Env) Finding {
	said, err := tryInside(syscall.CLONE_NEWUSER, "true")
	if err == nil {
		return ok("made one, and wrote its id map", "the base of every sandbox")
	}
	return refused(e, StepClone, said, err, "no sandbox can be started")
}

// probeUsernsMounts: Ubuntu's restriction lets the clone pass and takes the capabilities away, so that the first
// mount fails.
func probeUsernsMounts(e *Env) Finding {
	said, err := tryInside(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, "mount", "-t", "tmpfs", "none", "/tmp")
	if err == nil {
		return ok("mounted a tmpfs in one", "a sandbox gets a root filesystem of its own")
	}
	return refused(e, StepMount, said, err, "no sandbox can have a root of its own")
}

// refused is a finding for something that was tried in vain: the advice for its errno is the cure.
func refused(e *Env, step Step, said string, err error, means string) Finding {
	var absent NoHelper
	if errors.As(err, &absent) {
		return unknown("the program "+absent.Name+", which tries it, is not installed", "whether it works is seen at the first start")
	}
	errno := syscall.EPERM // what a program that was started inside met; its exit status does not say
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		errors.As(err, &errno)
	}
	f := missing(whatFailed(said, err), means, "")
	if a, ok := advise(e, step, errno); ok {
		f.Means, f.Mend = means+": "+a.Why, a.Mend
	}
	return f
}

func probeMaxUserNamespaces(e *Env) Finding {
	n, there := e.number("/proc/sys/user/max_user_namespaces")
	switch {
	case !there:
		return unknown("no such setting", "this kernel is older than 4.9, or was built without user namespaces")
	case n == 0:
		return missing("0", whyMaxUserns, e.asRoot(usernsMax))
	}
	return ok(fmt.Sprint(n), "as many user namespaces each user may have")
}

func probeUsernsClone(e *Env) Finding {
	n, there := e.number("/proc/sys/kernel/unprivileged_userns_clone")
	switch {
	case !there:
		return ok("no such setting", "this kernel does not have Debian's old switch")
	case n == 0:
		return missing("0", whyUsernsClone, e.asRoot(usernsOn))
	}
	return ok(fmt.Sprint(n), "ordinary users may make user namespaces")
}

func probeAppArmor(e *Env) Finding {
	n, there := e.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
	switch {
	case !there || n == 0:
		return ok("not restricted", "AppArmor lets every program use user namespaces")
	case !appArmorRestricts(e):
		return ok("restricted, but not for this program", "the AppArmor profile of sbx is loaded, or the caller is root")
	}
	return missing("restricted (1)", whyAppArmor+"; sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 would lift it for all programs",
		e.asRoot(loadProfile))
}

func probeSELinux(e *Env) Finding {
	switch {
	case !e.exists("/sys/fs/selinux/enforce"):
		return ok("not in use", "it refuses nothing")
	case !selinuxEnforces(e):
		return ok("permissive", "it logs and refuses nothing")
	case !e.exists("/sys/fs/selinux/class/user_namespace"):
		return ok("enforcing", "its policy has no rule about user namespaces")
	}
	return ok("enforcing, with rules about user namespaces",
		"a policy may refuse them to some domains; the row user-namespaces says whether it does")
}

func probeSubIDs(e *Env) Finding {
	who, err := User()
	if err != nil {
		return unknown(err.Error(), "whose sub-ids to look for is not known")
	}
	uids, gids, source, err := SubIDs(who.UID, who.Name)
	switch {
	case errors.As(err, new(NoSubIDs)):
		return weaker("none", singleID+"; on images apt-get, and what else changes users or owners, fails. "+
			"Whoever administers this machine has to give you some", e.giveSubIDs(who.Name))
	case err != nil:
		return weaker(err.Error(), singleID, "")
	}
	found := fmt.Sprintf("%d uids, %d gids, from %s", total(uids), total(gids), source)
	if min(total(uids), total(gids)) < 65536 {
		return weaker(found, "images use ids up to 65535, and some of those have no place in this range", "")
	}
	return ok(found, "sandboxes get users of their own, apart from the caller")
}

// giveSubIDs words the command that gives a user 65536 sub-ids that nobody has yet. usermod(8) knows the users
// of /etc/passwd alone, and not those of a directory such as LDAP.
func (e *Env) giveSubIDs(user string) string {
	first := max(100000, e.firstFree("/etc/subuid"), e.firstFree("/etc/subgid"))
	if !e.isLocal(user) {
		line := fmt.Sprintf("echo %s:%d:65536 | ", user, first)
		return line + e.asRoot("tee -a /etc/subuid /etc/subgid")
	}
	span := fmt.Sprintf("%d-%d", first, first+65535)
	return e.asRoot("usermod --add-subuids " + span + " --add-subgids " + span + " " + user)
}

// isLocal tells whether a user has a line in /etc/passwd.
func (e *Env) isLocal(user string) bool {
	text, _ := e.text("/etc/passwd")
	return strings.Contains("\n"+text, "\n"+user+":")
}

// firstFree is the first id after all ranges of a file of subuid(5).
func (e *Env) firstFree(file string) (free int) {
	text, _ := e.text(file)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		start, _ := strconv.Atoi(f[1])
		count, _ := strconv.Atoi(f[2])
		free = max(free, start+count)
	}
	return free
}

func total(ranges []IDRange) (n uint64) {
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}

func probeIDHelper(e *Env, name string) Finding {
	path, err := FindHelper(name)
	if err != nil {
		return weaker("not installed", "sub-ids cannot be mapped: "+singleID, e.install(name))
	}
	if power := privilege(path); power != "" {
		return ok(path+", "+power, "maps the sub-ids")
	}
	if e.UID == 0 {
		return ok(path, "maps the sub-ids; root needs no set-uid bit")
	}
	return weaker(path+", without set-uid or file capabilities", "it has no power to map sub-ids: "+singleID, e.asRoot("chmod u+s "+path))
}

func probeNoNewPrivs(e *Env) Finding {
	if noNewPrivs(e) {
		return weaker("set", whyNoNewPrivs+": "+singleID, "")
	}
	return ok("not set", "set-uid helpers such as newuidmap work")
}

// kernelNumbers reads the first two numbers of a release such as "6.1.0-18-amd64".
func kernelNumbers(release string) (major, minor int) {
	fmt.Sscanf(strings.TrimSpace(release), "%d.%d", &major, &minor)
	return major, minor
}
