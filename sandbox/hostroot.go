package sandbox

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
)

// systemFolders are the host's own folders that every sandbox on the host's root shows, read-only.
var systemFolders = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt",
	"/nix/store", "/gnu/store", "/run/current-system",
}

// stateFolders are the parts of /var that toolchains read: package data bases, TeX, Haskell,
// dictionaries, XML catalogues, certificates (SUSE) and fonts.
var stateFolders = []string{
	"/var/lib/dpkg", "/var/lib/rpm", "/var/lib/pacman", "/var/lib/texmf", "/var/lib/ghc",
	"/var/lib/sgml-base", "/var/lib/xml-core", "/var/lib/aspell", "/var/lib/dictionaries-common",
	"/var/lib/ca-certificates", "/var/cache/fontconfig",
}

// cpuFolder is all of /sys that a sandbox shows without a cgroup of its own: nproc(1) and the C
// library count processors there.
const cpuFolder = "/sys/devices/system/cpu"

// devices are the nodes of a minimal /dev.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// deviceLinks are the links of a minimal /dev, as every Linux has them.
var deviceLinks = map[string]string{
	"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
	"/dev/stderr": "/proc/self/fd/2", "/dev/ptmx": "pts/ptmx",
}

// layout collects the entries of a root file system.
type layout struct {
	entries []fuseoverlay.Entry
	// first is how many of them every sandbox of the user has.
	first int
	// base is how many of them are the sandbox's own, which the user's give way to.
	base int
	// home is the home folder inside.
	home string
	// own are sbx's own folders, which are never shown.
	own []string
	// state is the one of them where changes are held.
	state string
	// links are those of an image's own that targets might pass.
	links map[string]string
}

func (l *layout) add(e fuseoverlay.Entry) { l.entries = append(l.entries, e) }

func (l *layout) scratch(target string, mode uint32) {
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.Scratch, Target: target, Mode: mode})
}

// bind shows a host path, which must exist and be free of symlinks.
func (l *layout) bind(source, target string, writable bool) error {
	var st unix.Stat_t
	if err := unix.Lstat(source, &st); err != nil {
		return &os.PathError{Op: "showing", Path: source, Err: err}
	}
	l.add(fuseoverlay.Entry{
		Kind: fuseoverlay.Bind, Source: source, Target: target, Writable: writable, Mode: st.Mode & unix.S_IFMT,
	})
	return nil
}

// system shows the host's system folders: links as links, folders read-only.
func (l *layout) system() { l.entries = append(l.entries, systemEntries()...) }

// systemEntries looks once: a start asks twice, at the beginning and for the whole.
var systemEntries = sync.OnceValue(func() []fuseoverlay.Entry {
	l := &layout{}
	for _, dir := range slices.Concat(systemFolders, stateFolders, []string{cpuFolder}) {
		info, err := os.Lstat(dir)
		switch {
		case err != nil: // this distribution has no such folder
		case info.Mode()&os.ModeSymlink != 0:
			if target, err := os.Readlink(dir); err == nil {
				l.add(fuseoverlay.Entry{Kind: fuseoverlay.Symlink, Target: dir, Content: target})
			}
		case info.IsDir():
			l.bind(dir, dir, false)
		}
	}
	return l.entries
})

// kernel adds what the kernel provides: proc, a minimal /dev, devpts and shared memory.
func (l *layout) kernel() {
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.Proc, Target: "/proc"})
	for _, name := range devices {
		l.add(fuseoverlay.Entry{Kind: fuseoverlay.Device, Source: "/dev/" + name, Target: "/dev/" + name})
	}
	for link, target := range deviceLinks {
		l.add(fuseoverlay.Entry{Kind: fuseoverlay.Symlink, Target: link, Content: target})
	}
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.Pts, Target: "/dev/pts"})
	l.scratch("/dev/shm", 0o1777)
}

// lockedProc are the parts of proc that set what the whole machine does, some by the uid of root alone; and
// maskedProc those that tell of it what no build needs. Both are the usual ones of the OCI's runtimes.
var (
	lockedProc = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	maskedProc = []string{"acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
)

// maskProc covers what this kernel has of these; nothing where a sandbox may be nested in this one: with one cover
// on its proc the kernel allows no fresh one below (mount_too_revealing in fs/namespace.c).
func (l *layout) maskProc(s *Spec) {
	if s.Harden.Nested {
		return
	}
	for _, name := range lockedProc {
		if target := "/proc/" + name; exists(target) {
			l.add(fuseoverlay.Entry{Kind: fuseoverlay.Lock, Target: target})
		}
	}
	for _, name := range maskedProc {
		if info, err := os.Lstat("/proc/" + name); err == nil {
			l.add(fuseoverlay.Entry{Kind: hideKind(info), Target: "/proc/" + name})
		}
	}
}

// memory adds the folders that are empty and the payload's own. What a kept sandbox has in them lies in
// its upper folder, but for /run, which no machine keeps.
func (l *layout) memory(home, upper string) {
	l.scratch("/run", 0o755)
	own := []fuseoverlay.Entry{{Target: "/tmp", Mode: 0o1777}, {Target: "/var", Mode: 0o755}, {Target: "/var/tmp", Mode: 0o1777}}
	if home != "/" {
		own = append(own, fuseoverlay.Entry{Target: home, Mode: 0o700})
	}
	for _, e := range own {
		e.Kind = fuseoverlay.Scratch
		if upper != "" {
			e.Kind, e.Source = fuseoverlay.Kept, filepath.Join(upper, strings.ReplaceAll(e.Target[1:], "/", "-"))
		}
		l.add(e)
	}
}

// sorted returns the entries with folders before what lies in them; of two at one place the later
// stays on top. The first ones, of which there are as many as it says, come before all others, unless
// one of these covers a folder that one of them lies in.
func (l *layout) sorted() (list []fuseoverlay.Entry, first int) {
	byPath := func(a, b fuseoverlay.Entry) int { return comparePaths(a.Target, b.Target) }
	own, others := l.entries[:l.first], l.entries[l.first:]
	for _, e := range others {
		if slices.ContainsFunc(own, func(o fuseoverlay.Entry) bool { return o.Target != e.Target && host.Within(o.Target, e.Target) }) {
			slices.SortStableFunc(l.entries, byPath)
			return l.entries, 0
		}
	}
	slices.SortStableFunc(own, byPath)
	slices.SortStableFunc(others, byPath)
	return l.entries, l.first
}

// comparePaths orders paths by their components, so that a folder comes before all that is in it
// and before every other name that begins alike.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

// shows returns the entry through which a path is seen inside, and the host path behind it, if a
// bind or a capture shows it.
func (l *layout) shows(target string) (source string, entry *fuseoverlay.Entry) {
	deepest := -1
	for i := range l.entries {
		e := &l.entries[i]
		if host.Within(target, e.Target) && (deepest < 0 || len(e.Target) >= len(l.entries[deepest].Target)) {
			deepest = i
		}
	}
	if deepest < 0 {
		return "", nil
	}
	e := &l.entries[deepest]
	if !e.Shows() {
		return "", e
	}
	return filepath.Join(e.Source, strings.TrimPrefix(target, e.Target)), e
}

// throughLinks rewrites a target that passes one of the root's own links, such as /bin or /lib.
func (l *layout) throughLinks(target string) string {
	for _, e := range l.entries {
		if e.Kind == fuseoverlay.Symlink && host.Within(target, e.Target) {
			return filepath.Join(filepath.Dir(e.Target), e.Content, strings.TrimPrefix(target, e.Target))
		}
	}
	return throughImageLinks(l.links, target)
}

// throughImageLinks rewrites a target that passes links of an image, such as /lib and /var/run.
func throughImageLinks(links map[string]string, target string) string {
	for range len(links) {
		before := target
		for link, to := range links {
			if !host.Within(target, link) {
				continue
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(link), to)
			}
			target = filepath.Join("/", to, strings.TrimPrefix(target, link))
		}
		if target == before {
			break
		}
	}
	return target
}

// coverSockets lays something inert over every socket of the host that a bind shows: a read-only
// mount does not stop connect(2). A socket that was bound by a relative name is looked for in the
// project, from where developers start such servers.
func (l *layout) coverSockets(project string) error {
	sockets, relative, err := host.Sockets()
	if err != nil {
		return err
	}
	for _, name := range relative {
		sockets = append(sockets, filepath.Join(project, name))
	}
	for _, socket := range sockets {
		if real, err := filepath.EvalSymlinks(socket); err == nil {
			l.coverSocket(real)
		}
	}
	return nil
}

func (l *layout) coverSocket(socket string) {
	info, err := os.Lstat(socket)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return
	}
	for _, v := range l.views(socket) {
		l.add(fuseoverlay.Entry{Kind: fuseoverlay.HideFile, Target: v.target})
	}
}

// rootsSecrets are files of /etc that only root reads, which a payload with root's uid would.
var rootsSecrets = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssl/private",
	"/etc/krb5.keytab", "/etc/ssh/ssh_host_*_key", "/etc/NetworkManager/system-connections", "/etc/wireguard", "/etc/kubernetes",
	"/etc/docker/key.json", "/etc/crypttab",
}

func (l *layout) hideRootsSecrets() {
	for _, pattern := range rootsSecrets {
		list, _ := filepath.Glob(pattern)
		for _, path := range list {
			info, err := os.Lstat(path)
			if err != nil || info.Mode()&os.ModeSymlink != 0 {
				continue
			}
			for _, v := range l.views(path) {
				l.add(fuseoverlay.Entry{Kind: hideKind(info), Target: v.target})
			}
		}
	}
}

// oldKernel notes the mounts below every bind, for a kernel without mount_setattr(2).
func (l *layout) oldKernel() error {
	mounts, err := host.Mounts()
	if err != nil {
		return err
	}
	for i := range l.entries {
		if e := &l.entries[i]; e.Kind == fuseoverlay.Bind || e.Kind == fuseoverlay.Kept {
			e.Mounts = submounts(mounts, e.Source)
		}
	}
	return nil
}

func submounts(mounts []host.Mount, source string) []fuseoverlay.Submount {
	holds, _ := host.MountOf(mounts, source)
	list := []fuseoverlay.Submount{{Path: ".", Flags: holds.LockedFlags()}}
	for _, m := range host.MountsBelow(mounts, source) {
		rel, err := filepath.Rel(source, m.Point)
		if err == nil {
			list = append(list, fuseoverlay.Submount{Path: rel, Flags: m.LockedFlags()})
		}
	}
	return list
}
