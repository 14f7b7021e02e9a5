package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupWay is how a sandbox can get a cgroup of its own.
type CgroupWay string

// The ways. CgroupNone is none: killing PID 1 ends a sandbox all the same.
const (
	CgroupScope     CgroupWay = "scope"     // systemd makes a transient scope: systemd.scope(5)
	CgroupDelegated CgroupWay = "delegated" // the caller's own cgroup is the caller's to divide
	CgroupNone      CgroupWay = "none"
)

// CallerLeaf is the cgroup to which sbx moves its caller's processes where they are in the way of dividing the caller's
// cgroup: cgroups(7), "no internal processes". Whoever is in there has the cgroup above it to divide.
const CallerLeaf = "sbx-caller"

// CgroupFacts are what this machine offers to limit a sandbox with: cgroups(7), version 2.
type CgroupFacts struct {
	Way CgroupWay
	// Mount is where the v2 tree is mounted, and Own the folder of the caller's own cgroup in it.
	Mount, Own string
	// Root is the cgroup that Mount shows: not "/" where a container has the whole tree's names but not the tree.
	Root string
	// Buses are paths of sockets of the systemd that makes scopes, the best first.
	Buses []Bus
	// Slice is the systemd slice that the caller is in, below its manager; empty for the default.
	Slice string
	// Controllers are those that a cgroup made here can have.
	Controllers []string
	// Why says why there is no way, or why controllers are missing, and Mend is the command that helps.
	Why, Mend string
}

// Bus is a socket that speaks D-Bus. On a private one systemd itself listens, with no daemon between.
type Bus struct {
	Path    string
	Private bool
}

// Can tells whether a controller is to be had.
func (f *CgroupFacts) Can(controller string) bool { return slices.Contains(f.Controllers, controller) }

// Folder is that of a cgroup, as /proc/PID/cgroup names it.
func (f *CgroupFacts) Folder(cgroup string) string {
	return filepath.Join(f.Mount, strings.TrimPrefix(cgroup, strings.TrimSuffix(f.Root, "/")))
}

// FindCgroups finds out who gives a sandbox a cgroup here. It reads small files and connects to nothing.
func FindCgroups() CgroupFacts { return Here().findCgroups() }

func (e *Env) findCgroups() CgroupFacts {
	f := CgroupFacts{Way: CgroupNone}
	mount, found := cgroupMount(e.mounts())
	if !found {
		f.Why = "this machine has cgroup v1 alone, which cannot be delegated"
		return f
	}
	f.Mount = mount.Point
	own, ok := e.ownCgroup()
	if !ok {
		f.Why = "the caller's cgroup is not known"
		return f
	}
	f.Root = mount.Root
	f.Own = f.Folder(own)
	if filepath.Base(f.Own) == CallerLeaf {
		f.Own = filepath.Dir(f.Own)
	}
	switch {
	case e.delegated(&f):
		f.Way, f.Controllers = CgroupDelegated, words(e, f.Own+"/cgroup.controllers")
	case len(e.buses()) > 0:
		f.Way, f.Buses, f.Slice = CgroupScope, e.buses(), e.ownSlice(own)
		f.Controllers = words(e, e.managerCgroup(f.Mount)+"/cgroup.controllers")
	default:
		f.Why, f.Mend = e.whyNoCgroup(&f), e.startUserManager()
		return f
	}
	f.Why, f.Mend = e.whyNoController(&f)
	return f
}

// cgroupMount is the v2 tree: all of /sys/fs/cgroup, or on a hybrid host a part of it.
func cgroupMount(mounts []Mount) (found Mount, ok bool) {
	for _, m := range mounts {
		if m.Type == "cgroup2" && Within(m.Point, "/sys/fs/cgroup") {
			found, ok = m, true
		}
	}
	return found, ok
}

// hybrid tells whether the controllers are in v1 trees, so that the v2 tree has none.
func (f *CgroupFacts) hybrid() bool { return f.Mount != "/sys/fs/cgroup" }

// ownCgroup is the line of the v2 tree in /proc/self/cgroup.
func (e *Env) ownCgroup() (path string, ok bool) {
	text, _ := e.text("/proc/self/cgroup")
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, true
		}
	}
	return "", false
}

// delegated tells whether the caller may divide its own cgroup: it may write there, and no systemd that has not given
// it away manages it. systemd marks what it gave away (systemd.resource-control(5), Delegate=) with an xattr; what lies
// below a user's own manager belongs to the user, marked or not, and is the manager's to divide.
func (e *Env) delegated(f *CgroupFacts) bool {
	if !e.exists(f.Own) || !e.mayDivide(f.Own) {
		return false
	}
	if !e.exists("/run/systemd/system") {
		return true
	}
	return e.markedDelegated(f)
}

func (e *Env) mayDivide(dir string) bool {
	for _, name := range []string{"", "/cgroup.procs", "/cgroup.subtree_control"} {
		if unix.Access(e.path(dir+name), unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// markedDelegated looks at the unit that the caller's cgroup belongs to.
func (e *Env) markedDelegated(f *CgroupFacts) bool {
	for dir := f.Own; len(dir) > len(f.Mount); dir = filepath.Dir(dir) {
		name := filepath.Base(dir)
		if strings.HasPrefix(name, "user@") && strings.HasSuffix(name, ".service") {
			return false
		}
		if !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".scope") {
			continue
		}
		for _, mark := range []string{"user.delegate", "trusted.delegate"} {
			buf := make([]byte, 8)
			if n, err := unix.Getxattr(e.path(dir), mark, buf); err == nil && string(buf[:n]) == "1" {
				return true
			}
		}
		return false
	}
	return false
}

// buses are the sockets of the user's systemd, or for root of the system's.
func (e *Env) buses() (list []Bus) {
	add := func(path string, private bool) {
		if st, err := os.Stat(e.path(path)); err == nil && st.Mode()&os.ModeSocket != 0 {
			list = append(list, Bus{e.path(path), private})
		}
	}
	if !e.exists("/run/systemd/system") && e.UID == 0 {
		return nil
	}
	if e.UID == 0 {
		add("/run/systemd/private", true)
		return list
	}
	if dir := e.runtimeDir(); dir != "" {
		add(dir+"/systemd/private", true)
		add(dir+"/bus", false)
	}
	if path, ok := strings.CutPrefix(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), "unix:path="); ok {
		path, _, _ = strings.Cut(path, ",")
		add(path, false)
	}
	return list
}

// runtimeDir is the user's folder for sockets: $XDG_RUNTIME_DIR where that is the user's, which it is not after su, else
// /run/user/UID, which su, cron and ssh may not have told. It is empty where there is neither.
func (e *Env) runtimeDir() string {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", e.UID)} {
		var st unix.Stat_t
		if filepath.IsAbs(dir) && unix.Stat(e.path(dir), &st) == nil && int(st.Uid) == os.Getuid() {
			return dir
		}
	}
	return ""
}

// managerCgroup is the cgroup below which the caller's systemd makes scopes.
func (e *Env) managerCgroup(mount string) string {
	if e.UID == 0 {
		return mount
	}
	return fmt.Sprintf("%s/user.slice/user-%d.slice/user@%d.service", mount, e.UID, e.UID)
}

// ownSlice is the innermost slice of the caller's below its own manager, which for root is the system's: a limit of that
// slice holds for what the caller starts.
func (e *Env) ownSlice(own string) string {
	below, ok := own, true
	if e.UID != 0 {
		_, below, ok = strings.Cut(own, fmt.Sprintf("/user@%d.service/", e.UID))
	}
	if !ok {
		return ""
	}
	slice := ""
	for part := range strings.SplitSeq(below, "/") {
		if strings.HasSuffix(part, ".slice") {
			slice = part
		}
	}
	return slice
}

func (e *Env) whyNoCgroup(f *CgroupFacts) string {
	mount, _ := cgroupMount(e.mounts())
	switch {
	case mount.Has("ro"):
		return "the outer container shows its cgroups read-only"
	case f.hybrid():
		return "this machine has the controllers in cgroup v1, which cannot be delegated, and no cgroup v2 of the user's own"
	case !e.exists("/run/systemd/system"):
		return "no cgroup is delegated to the user: systemd does that, and did not start this machine"
	}
	return "the user's systemd, which gives cgroups, does not run or has no bus"
}

// whyNoController says why some controllers that a limit may need are missing.
func (e *Env) whyNoController(f *CgroupFacts) (why, mend string) {
	switch {
	case f.hybrid():
		return "this machine has the controllers in cgroup v1, which cannot be delegated", ""
	case f.Way == CgroupScope && e.UID != 0:
		return "systemd does not delegate it to users", e.delegateCommand()
	case f.Way == CgroupScope:
		return "this kernel does not have it", ""
	}
	return "it is not enabled for " + f.Own, ""
}

// ProcessLimitCounts tells whether RLIMIT_NPROC counts the processes of one sandbox alone, so that it can stand in for
// the controller pids: since Linux 5.14 it counts for each user namespace, and never for root.
func ProcessLimitCounts() bool { return Here().processLimitCounts() }

func (e *Env) processLimitCounts() bool {
	release, _ := e.text("/proc/sys/kernel/osrelease")
	major, minor := kernelNumbers(release)
	return e.UID != 0 && (major > 5 || major == 5 && minor >= 14)
}

// delegateCommand has systemd delegate all controllers to every user's manager, from now on, and has the caller's
// manager see it: systemd.resource-control(5), Delegate=. A template has no `systemctl set-property`.
func (e *Env) delegateCommand() string {
	const dir = "/etc/systemd/system/user@.service.d"
	return e.asRoot(`sh -c "mkdir -p `+dir+` && printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > `+dir+
		`/sbx.conf && systemctl daemon-reload"`) + " && systemctl --user daemon-reexec"
}

// Where limits come from: the unified tree is of cgroup v2; hybrid hosts have the controllers in v1 trees, which
// cannot be delegated.
func probeCgroups(e *Env) Finding {
	mounts := e.mounts()
	mount, unified := cgroupMount(mounts)
	root, found := MountOf(mounts, "/sys/fs/cgroup")
	switch {
	case !found || !strings.HasPrefix(root.Point, "/sys/fs/cgroup"):
		return weaker("not mounted", unenforced, "")
	case !unified:
		return weaker("v1", unenforced+"; boot with systemd.unified_cgroup_hierarchy=1", "")
	case mount.Point != "/sys/fs/cgroup":
		return weaker("hybrid: v1, with a v2 tree that has no controllers", unenforced+"; boot with systemd.unified_cgroup_hierarchy=1", "")
	}
	return probeDelegation(e)
}

const unenforced = "limits on memory, processes and cpu cannot be enforced: a sandbox that asks for them is of level unlimited"

// probeDelegation asks what the caller's own cgroup gives, if it is delegated, or what systemd gives the user.
func probeDelegation(e *Env) Finding {
	f := e.findCgroups()
	if f.Way != CgroupDelegated {
		f.Controllers, f.Mend = words(e, e.managerCgroup(f.Mount)+"/cgroup.controllers"), e.delegateCommand()
	}
	if len(f.Controllers) == 0 {
		return weaker("v2, nothing delegated", unenforced, e.startUserManager())
	}
	found := "v2, with " + strings.Join(f.Controllers, " ")
	for _, want := range []string{"cpu", "memory", "pids"} {
		if !f.Can(want) {
			return weaker(found, "no limits by the controller "+want, f.Mend)
		}
	}
	return ok(found, "limits can be enforced")
}

func probeUserBus(e *Env) Finding {
	if e.UID == 0 && e.exists("/run/systemd/private") {
		return ok("/run/systemd/private", "systemd gives each sandbox a scope of its own")
	}
	list := e.buses()
	if len(list) == 0 {
		return weaker("no bus in "+fmt.Sprintf("/run/user/%d", e.UID), "systemd gives no cgroup to a sandbox, so that limits cannot be enforced", e.startUserManager())
	}
	return ok(list[0].Path, "systemd gives each sandbox a scope of its own")
}

// startUserManager: lingering starts the user's systemd; where it runs, what is missing is the D-Bus package of it.
// Nothing mends a machine that systemd did not boot.
func (e *Env) startUserManager() string {
	switch {
	case !e.exists("/run/systemd/system"):
		return ""
	case e.exists(fmt.Sprintf("/run/user/%d/systemd", e.UID)):
		return e.install("user-bus")
	}
	return "loginctl enable-linger"
}
