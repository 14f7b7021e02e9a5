package sandbox

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/profiles"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// specs are the sandboxes whose plans have golden files.
func specs() map[string]*Spec {
	return map[string]*Spec{
		"host":      hostSpec(),
		"terminal":  with(hostSpec(), func(s *Spec) { s.Terminals = [3]bool{true, true, true} }),
		"nethost":   with(hostSpec(), func(s *Spec) { s.Network = profiles.NetHost }),
		"slirp":     with(hostSpec(), func(s *Spec) { s.Network, s.NetProgram = profiles.NetSlirp, "/usr/bin/slirp4netns" }),
		"builtin":   with(hostSpec(), func(s *Spec) { s.Network, s.NetProgram = profiles.NetBuiltin, "/usr/bin/sbx-net" }),
		"singleid":  with(hostSpec(), func(s *Spec) { s.IDs.DropGroups, s.Root.TTYGroup = false, false }),
		"boottime":  with(hostSpec(), func(s *Spec) { s.BootTimeZero, s.Clocks = true, Clocks{1000, 2000} }),
		"outerproc": with(hostSpec(), func(s *Spec) { s.Root.OuterProc = true }),
		"oldkernel": with(hostSpec(), func(s *Spec) {
			s.Root.OldKernel = true
			for i := range s.Root.Entries {
				s.Root.Entries[i].Mounts = []fuseoverlay.Submount{{Path: ".", Flags: unix.MS_NOATIME}, {Path: "below", Flags: unix.MS_NOEXEC}}
			}
		}),
		"cgroup": with(hostSpec(), func(s *Spec) {
			l := &layout{entries: append(s.Root.Entries, fuseoverlay.Entry{Kind: fuseoverlay.Cgroup, Target: cgroupFolder})}
			s.Root.Entries, _ = l.sorted()
			s.Cgroup.Way, s.Root.Resize = host.CgroupScope, 1<<20
		}),
		"capture": with(hostSpec(), func(s *Spec) {
			l := &layout{entries: append(s.Root.Entries,
				fuseoverlay.Entry{Kind: fuseoverlay.Capture, Source: "/home/u/held", Target: "/home/u/held", Upper: "/state/captures/0", NoExec: true, Mode: unix.S_IFDIR},
				fuseoverlay.Entry{Kind: fuseoverlay.Capture, Source: "/home/u/small", Target: "/home/u/small", Upper: "/state/captures/1", Copied: true, Mode: unix.S_IFDIR})}
			s.Root.Entries, _ = l.sorted()
		}),
		"kept":  hostSpecOn("/state/upper"),
		"image": with(hostSpec(), func(s *Spec) { onLayers(s, "a/f", "b/f") }),
		"fuse": with(hostSpec(), func(s *Spec) {
			onLayers(s, "a/f")
			s.Root.Overlay.Fuse, s.Root.Overlay.OtherUser = true, true
		}),
		"setuid": with(hostSpec(), func(s *Spec) {
			onLayers(s, "a/f")
			s.Harden.SetUID, s.Root.Overlay.SetUID, s.Harden.Bounding = true, true, 1
		}),
		"bare": with(hostSpec(), func(s *Spec) { s.Harden = Harden{LastCap: 1} }),
	}
}

// onLayers puts a sandbox on layers, with what an image names as the working folder.
func onLayers(s *Spec, layers ...string) {
	s.Image = &Image{Ref: "docker.io/library/x:latest"}
	s.Root.Overlay = &fuseoverlay.Overlay{
		Folder: "/home/u/.local/share/sbx/images/layers/l", Layers: layers, Upper: "/home/u/.local/state/sbx/uppers/run-1", UID: s.IDs.UID, GID: s.IDs.GID,
		Folders: []fuseoverlay.Folder{{Path: "/srv/app", Mode: 0o755}, {Path: "/tmp", Mode: 0o1777}},
	}
}

// Whatever an image names, its working folder is entered without magic links, and nothing of the old root is left
// when anything of the image is followed.
func TestImagePlanShutsTheHostFirst(t *testing.T) {
	s := hostSpec()
	onLayers(s, "a/f")
	s.Workdir = "/proc/self/fd/7"
	text := Compile(s).String()
	if !strings.Contains(text, `openat2(AT_FDCWD, "/proc/self/fd/7", [O_PATH|O_DIRECTORY|O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS]`) {
		t.Error("the working folder is entered in another way")
	}
	pivot, made := strings.Index(text, "pivot_root("), strings.Index(text, `mkdirat(AT_FDCWD, "/srv`)
	if pivot < 0 || made < pivot || strings.Count(text[pivot:made], "umount2(") != 2 {
		t.Error("folders of the image are made before the old root is gone")
	}
}

func with(s *Spec, change func(*Spec)) *Spec {
	change(s)
	return s
}

// hostSpec is a small sandbox on the host's root.
func hostSpec() *Spec { return hostSpecOn("") }

// hostSpecOn is one whose own files lie in a folder on disk, if there is one.
func hostSpecOn(upper string) *Spec {
	policy := harden.Default()
	filter, err := harden.Compile(policy, harden.AMD64)
	if err != nil {
		panic(err)
	}
	s := &Spec{
		Command: []string{"make", "a b"}, Attempts: []string{"/usr/bin/make", "/bin/make"},
		Workdir: "/home/u/p", Env: []string{"HOME=/home/u", "TOKEN=hunter2"}, Hostname: "sbx", Umask: 0o022,
		Network: profiles.NetNone,
		IDs:     IDs{UID: 1000, GID: 1000, DropGroups: true},
		Limits:  Limits{NoFileSoft: 1024, NoFileHard: 4096, Cores: noCores, Processes: 4096},
		Harden:  Harden{Seccomp: "default", Filter: filter, KeyringsRefused: true, Landlock: harden.LandlockFor(7), LastCap: 1},
		Streams: [3]uint64{harden.LandlockReadFile, 0, 0},
	}
	l := &layout{}
	l.kernel()
	l.memory("/home/u", upper)
	l.first = len(l.entries)
	for _, e := range []fuseoverlay.Entry{
		{Kind: fuseoverlay.Bind, Source: "/usr", Target: "/usr", Mode: unix.S_IFDIR},
		{Kind: fuseoverlay.Bind, Source: "/etc", Target: "/etc", Mode: unix.S_IFDIR},
		{Kind: fuseoverlay.Symlink, Target: "/bin", Content: "usr/bin"},
		{Kind: fuseoverlay.File, Target: "/etc/hosts", Content: "127.0.0.1 localhost\n", Mode: 0o644},
		{Kind: fuseoverlay.Bind, Source: "/home/u/p", Target: "/home/u/p", Writable: true, Mode: unix.S_IFDIR},
		{Kind: fuseoverlay.Bind, Source: "/home/u/p/.envrc", Target: "/home/u/p/.envrc", Mode: unix.S_IFREG},
		{Kind: fuseoverlay.HideDir, Target: "/home/u/p/secrets"},
		{Kind: fuseoverlay.HideFile, Target: "/home/u/p/agent.sock"},
		{Kind: fuseoverlay.Lock, Target: "/proc/sys"},
		{Kind: fuseoverlay.HideFile, Target: "/proc/keys"},
		{Kind: fuseoverlay.Scratch, Target: "/home/u/p/cache", Mode: 0o1777},
	} {
		l.add(e)
	}
	s.Root = fuseoverlay.Root{Size: 1 << 30, Inodes: 1 << 20, TTYGroup: true}
	s.Root.Entries, s.Root.First = l.sorted()
	return s
}

func TestPlans(t *testing.T) {
	for name, s := range specs() {
		got := Compile(s).String()
		path := filepath.Join("testdata", name+".plan")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the plan differs from its golden file; go test -update writes it anew and git diff shows how", name)
		}
	}
}

// Programs that serve a network enter by /proc/PID/ns, which is shut once PID 1 is not dumpable.
func TestNetworkComesBeforePIDOneIsHidden(t *testing.T) {
	spec := with(hostSpec(), func(s *Spec) { s.Network = profiles.NetSlirp })
	text := Compile(spec).String()
	if network := strings.Index(text, "waiting for the network"); network < 0 || network > strings.Index(text, "PR_SET_DUMPABLE") {
		t.Error("the plan does not wait for the network while PID 1 is dumpable")
	}
}

// A plan is shown to people, and kept: it must not hold the values of the environment.
func TestPlanHidesValues(t *testing.T) {
	if strings.Contains(Compile(hostSpec()).String(), "hunter2") {
		t.Error("the plan shows the value of a variable")
	}
}

// The order of the plan is what makes it safe.
func TestOrder(t *testing.T) {
	text := Compile(hostSpec()).String()
	order := []string{
		"barrier(", "setgroups(", "MS_REC|MS_PRIVATE", "pivot_root(", "umount2(", "keyctl(", "PR_SET_DUMPABLE", "PR_SET_NO_NEW_PRIVS",
		"PR_CAPBSET_DROP", "capset(", "landlock_restrict_self(", "seccomp(", "# payload", "setsid(", "close_range(", "execve(",
	}
	at := 0
	for _, part := range order {
		i := strings.Index(text[at:], part)
		if i < 0 {
			t.Fatalf("%s does not come after what goes before it", part)
		}
		at += i
	}
}

// Without no_new_privs the kernel takes Landlock's rules and the filter only from who still has capabilities; and of all
// mounts the layers' own alone lets set-user-ID programs have effect.
func TestSetUIDPlan(t *testing.T) {
	text := Compile(specs()["setuid"]).String()
	at := 0
	for _, part := range []string{"PR_SET_DUMPABLE", "landlock_restrict_self(", "seccomp(", "PR_CAP_AMBIENT", "PR_CAPBSET_DROP", "capset(", "# payload"} {
		i := strings.Index(text[at:], part)
		if i < 0 {
			t.Fatalf("%s does not come after what goes before it", part)
		}
		at += i
	}
	if strings.Contains(text, "NO_NEW_PRIVS") {
		t.Error("it forbids new privileges")
	}
	kinds := regexp.MustCompile(`(?m)^(fsmount\(|mount\("|mount_setattr\().*$`).FindAllString(text, -1)
	open := slices.DeleteFunc(kinds, func(line string) bool { return strings.Contains(line, "NOSUID") })
	if len(open) != 1 || !strings.HasPrefix(open[0], `mount("overlay"`) {
		t.Errorf("without nosuid: %q", open)
	}
}

// The tree of cgroups is mounted only where the sandbox has one of its own, after its namespace was made, and read-only:
// elsewhere its root is the cgroup of the caller's session.
func TestCgroupsAreShownOnlyAsOnesOwn(t *testing.T) {
	if strings.Contains(Compile(hostSpec()).String(), "cgroup2") {
		t.Error("a sandbox without a cgroup of its own sees cgroups")
	}
	text := Compile(specs()["cgroup"]).String()
	unshare, mount := strings.Index(text, "unshare(CLONE_NEWCGROUP)"), strings.Index(text, `fsopen("cgroup2"`)
	if unshare < 0 || mount < unshare || !strings.Contains(text, "fsmount($cgroup.fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC)") {
		t.Errorf("unshare at %d, mount at %d:\n%s", unshare, mount, text)
	}
}

// No plan shows a host path that its spec does not name.
func TestPlanOpensOnlyWhatTheSpecNames(t *testing.T) {
	s := hostSpec()
	allowed := map[string]bool{`"/dev/null"`: true, `"/"`: true}
	for _, e := range s.Root.Entries {
		if e.Source != "" {
			allowed[`"`+e.Source+`"`] = true
		}
	}
	for _, line := range strings.Split(Compile(s).String(), "\n") {
		path, ok := strings.CutPrefix(line, "openat2(AT_FDCWD, ")
		if path, _, _ = strings.Cut(path, ","); ok && !allowed[path] {
			t.Errorf("opens %s", path)
		}
	}
}
