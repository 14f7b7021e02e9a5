package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/profiles"
)

// Request is what a run asks for: a merged profile, a command, and what its caller is like.
type Request struct {
	Loaded  *profiles.Loaded
	Project profiles.Project
	Account host.Account
	// Command is the payload's argv; empty: the image's own.
	Command []string
	// Shell asks for a shell: the caller's own, or that of the user on an image.
	Shell bool
	// Fetch brings images that are not here; nil: they are an error.
	Fetch Fetch
	// Cwd is the caller's working folder; Workdir one that was asked for, as it is inside.
	Cwd, Workdir string
	// Environ is the caller's environment, EnvFlags the values of --env.
	Environ, EnvFlags []string
	Streams           Streams
	// Count asks for a cgroup where one can be had, for what it counts and that it freezes.
	Count bool
	// Joined is the sandbox whose network or IPC namespace is used; JoinIPC says that it is the latter.
	Joined  *Joined
	JoinIPC bool
	// Upper is the folder on disk for what the sandbox changes; empty: that is in memory.
	Upper string
	// Published says that a port was asked for by a flag, which asks for a network where none is named.
	Published bool
	// Ask says that the caller is asked for what no rule allows.
	Ask bool
}

// onImage tells whether the root is that of an image or a folder, and not the host's own.
func (r *Request) onImage() bool {
	p := &r.Loaded.Profile.Root
	return p.Image.Set || p.Dir.Set
}

// UsageError is a request that cannot be meant: Hint says what to ask for instead.
type UsageError struct{ Problem, Hint string }

func (e *UsageError) Error() string { return e.Problem }

// LevelError is a sandbox that would be less than its profile requires.
type LevelError struct{ Level Level }

func (e *LevelError) Error() string {
	return fmt.Sprintf("this machine gives level %s where %s is required: %s",
		e.Level.Name, e.Level.Require, strings.Join(e.Level.Why, "; "))
}

// Resolve turns a request and the facts of this machine into a Spec. It only looks things up.
func Resolve(r Request) (*Spec, error) {
	p := &r.Loaded.Profile
	s := &Spec{
		Command:      r.Command,
		Hostname:     "sbx",
		Umask:        callerUmask(),
		Network:      p.Network.Mode.V,
		BootTimeZero: p.Root.BootTime.V == profiles.BootTimeZero,
		Project:      Project{Dir: r.Project.Dir, Access: p.Files.Project.V},
		Level:        Level{Name: profiles.LevelFull, Require: p.Harden.Require.V},
	}
	if s.BootTimeZero {
		s.Clocks = readClocks()
	}
	if err := s.inspect(r.Streams); err != nil {
		return nil, err
	}
	if err := checkOpenFiles(); err != nil {
		return nil, err
	}
	s.CaptureBy = cmp.Or(r.Loaded.Config.Storage.Capture.V, captureAuto)
	s.Limits.Time = p.Limits.Time.V
	s.Limits.NoFileSoft, s.Limits.NoFileHard = host.NoFile()
	s.Limits.Cores = s.coreLimit()
	for _, g := range r.Loaded.Grants {
		s.Grants = append(s.Grants, Grant{g.Key, g.String(), g.From.String()})
	}
	if skipped := r.Project.Skipped; skipped != "" {
		s.Level.Warnings = append(s.Level.Warnings, skipped+" belongs to another user, and says nothing here")
	}
	if err := resolveFiles(s, &r, p); err != nil {
		return nil, err
	}
	if len(s.Command) == 0 {
		return nil, &UsageError{"no command given", "write it after --, as in: sbx run -- make"}
	}
	if err := s.findDisks(); err != nil {
		return nil, err
	}
	if !s.Level.Require.Accepts(s.Level.Name) {
		return nil, &LevelError{s.Level}
	}
	return s, nil
}

// resolveFiles finds the ids and lays out the root: the host's own, or that of an image.
func resolveFiles(s *Spec, r *Request, p *profiles.Profile) (err error) {
	var b *base
	onHost := !r.onImage()
	if err := checkProject(r.Project, s.Project.Access); err != nil {
		if onHost || !byDefault(p.Files.Project.From) {
			return err
		}
		// Somebody who opens a shell on an image in the home folder is about no project.
		s.Project.Access = profiles.AccessNone
		s.Level.Warnings = append(s.Level.Warnings, "no project is shown: it would be "+r.Project.Dir)
	}
	if onHost {
		err = resolveIDs(s, r.Account, p.Root.User.V, p.Root.Groups.V)
	} else {
		b, err = resolveBase(s, r, p)
	}
	if err != nil {
		return err
	}
	if r.Joined != nil {
		if err := s.join(r.Joined, r.JoinIPC); err != nil {
			return err
		}
	}
	if err := resolveNetwork(s, r); err != nil {
		return err
	}
	if b != nil {
		s.Image = b.spec
		if s.Image.Driver = r.Loaded.Config.Storage.Driver.V; s.Image.Driver == "" {
			s.Image.Driver = driverAuto
		}
	}
	if err := resolveHarden(s, r, p); err != nil {
		return err
	}
	if err := resolveLimits(s, r, p); err != nil {
		return err
	}
	if onHost {
		return resolveRoot(s, r, p)
	}
	return resolveImageRoot(s, r, p, b)
}

// minOpenFiles is what the supervisor and the walk need at once, with some room.
const minOpenFiles = 64

func checkOpenFiles() error {
	if _, hard := host.NoFile(); hard < minOpenFiles {
		return &UsageError{fmt.Sprintf("at most %d files may be open here, and sbx needs %d", hard, minOpenFiles), "ulimit -n 1024"}
	}
	return nil
}

// checkProject refuses what nobody means: a whole home or system folder to write to, and the
// kernel's own folders at all.
func checkProject(project profiles.Project, access profiles.Access) error {
	what := ""
	switch {
	case access == profiles.AccessNone:
	case project.Kernel:
		what = "which is the kernel's or the system's own"
	case access != profiles.AccessWrite && access != profiles.AccessReview:
	case project.HoldsHome:
		what = "which holds your whole home folder, to write to"
	case project.System:
		what = "a folder of the system, to write to"
	}
	if what == "" {
		return nil
	}
	return &UsageError{
		Problem: fmt.Sprintf("the project would be %s, %s", project.Dir, what),
		Hint:    "change into a project's folder, or pass --project none",
	}
}

func readClocks() Clocks {
	var monotonic, boot unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic)
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return Clocks{monotonic.Sec, boot.Sec}
}

// callerUmask reads the caller's umask; umask(2) can only be read by setting it.
func callerUmask() uint32 {
	old := unix.Umask(0o077)
	unix.Umask(old)
	return uint32(old)
}

func resolveHarden(s *Spec, r *Request, p *profiles.Profile) error {
	nested := p.Harden.Nested.V
	if nested && r.Account.UID == 0 {
		return &UsageError{"a nested sandbox has nothing over /proc, so that this run's root could set what the whole machine does",
			"run sbx as an ordinary user, or without [harden] nested"}
	}
	program, err := harden.ProgramFor(string(p.Harden.Seccomp.V), nested, p.Harden.Syscalls.Values())
	if bad := new(harden.SyscallError); errors.As(err, &bad) {
		return &UsageError{bad.Error(), "see [harden] syscalls in docs/profile.md"}
	}
	if err != nil {
		return err
	}
	last, err := harden.LastCap()
	if err != nil {
		return err
	}
	s.Harden = Harden{
		Seccomp: program.Policy, Filter: program.Filter, KeyringsRefused: program.RefusesKeyrings,
		Landlock: harden.LandlockFor(harden.LandlockABI()), LastCap: uint8(last), Nested: nested,
	}
	if nested {
		// A right to files that Landlock handles makes it refuse all mounts.
		s.Harden.Landlock.Files = 0
	}
	if s.Harden.SetUID = p.Harden.SetUID.V; s.Harden.SetUID {
		if err := s.checkSetUID(r); err != nil {
			return err
		}
		s.Harden.Bounding = rootPowers
	}
	if s.Image != nil && s.IDs.UID == 0 {
		s.Harden.Capabilities = rootPowers
	}
	s.warnOfStreams()
	return s.keepCapabilities(p.Harden.CapAdd.Values(), p.Harden.CapDrop.Values())
}

// checkSetUID refuses set-user-ID programs where they would be whose the host knows, or nobody's, and where the walls
// that are left would be too few.
func (s *Spec) checkSetUID(r *Request) error {
	refuse := func(why, hint string) error { return &UsageError{"[harden] set_uid: " + why, hint} }
	switch {
	case s.Image == nil || s.Image.Ref == "":
		return refuse("it is for images, since the set-user-ID programs here are the host's own", "name an image: sbx run -i IMAGE")
	case r.Account.UID == 0:
		return refuse("sbx was started as root, so that root inside is root of this machine", "run sbx as an ordinary user, or leave it out")
	case s.singleID():
		return refuse("there is one user inside, without sub-ids, and so nobody else to become", "sbx doctor says how you get sub-ids")
	case s.Harden.Nested:
		return refuse("a nested sandbox goes without Landlock's rules for files and covers over /proc, and keeps no_new_privs for that", "leave one of [harden] set_uid and nested out")
	}
	return nil
}

// keepCapabilities finds out what the payload keeps: nothing but what is added, and what is dropped by any
// layer is not.
func (s *Spec) keepCapabilities(add, drop []string) error {
	for _, name := range add {
		c, err := harden.ParseCap(name)
		if err != nil {
			return err
		}
		if uint8(c) > s.Harden.LastCap {
			return &UsageError{"this kernel has no " + c.String(), "leave it out"}
		}
		s.Harden.Capabilities |= 1 << c
	}
	for _, name := range drop {
		c, err := harden.ParseCap(name)
		if err != nil {
			return err
		}
		s.Harden.Capabilities &^= 1 << c
		s.Harden.Bounding &^= 1 << c
	}
	s.Harden.Bounding |= s.Harden.Capabilities
	return nil
}

// warnOfStreams says what a kernel without Landlock, or with an early one, cannot prevent.
func (s *Spec) warnOfStreams() {
	const files = harden.LandlockReadFile | harden.LandlockWriteFile
	var nested []string
	names, all := slices.Clone(streamNames[:]), slices.Clone(s.Streams[:])
	for _, d := range s.Descriptors {
		names, all = append(names, "descriptor "+strconv.Itoa(d.Number)), append(all, d.Rights)
	}
	for i, rights := range all {
		switch {
		case rights == 0 || rights&files == files:
		case s.Harden.Nested:
			nested = append(nested, names[i])
		case s.Harden.Landlock.Files == 0:
			s.Level.Warnings = append(s.Level.Warnings, "this kernel has no Landlock: the payload can open the file that is its "+names[i]+" anew, for reading and writing")
		case s.Harden.Landlock.Files&harden.LandlockTruncate == 0 && rights&harden.LandlockTruncate == 0:
			s.Level.Warnings = append(s.Level.Warnings, "this kernel's Landlock does not know truncate(2): the payload can empty the file that is its "+names[i])
		}
	}
	if nested != nil {
		s.Level.Warnings = append(s.Level.Warnings, "a nested sandbox goes without Landlock's rules for files: the payload can open the file that is its "+strings.Join(nested, ", ")+" anew, for reading and writing")
	}
}

// resolveRoot lays out the root file system, the environment and the command.
func resolveRoot(s *Spec, r *Request, p *profiles.Profile) error {
	home := homeInside(s, r.Account)
	l := firstEntries(s, home, r.Account, r.Upper)
	if s.Cgroup.Way != host.CgroupNone {
		l.add(fuseoverlay.Entry{Kind: fuseoverlay.Cgroup, Target: cgroupFolder})
	}
	pathFolders, variables := l.toolchains(r)
	l.base, l.home = len(l.entries), home
	l.own, l.state = ownFolders(r.Account.Home, r.Account.UID), StateFolder(r.Account.Home)
	if err := l.keepHome(s, r, p, home); err != nil {
		return err
	}
	if err := l.files(s, r, p); err != nil {
		return err
	}
	l.certificates(s)
	if err := l.coverOwnFolders(); err != nil {
		return err
	}
	l.identity(s, r.Account, home)
	if r.Account.UID == 0 {
		l.hideRootsSecrets()
	}
	if err := l.coverSockets(r.Project.Dir); err != nil {
		return err
	}
	if err := l.finish(s, r.Account); err != nil {
		return err
	}
	s.Root.Resize = memoryBound(s, p)
	if err := l.resolveWorkdir(s, r, home); err != nil {
		return err
	}
	resolveCommand(s, r, home, l.shownFolders(pathFolders), variables)
	return nil
}

// firstEntries are those of a user's every sandbox on the host's root, whatever its profile says. upper is
// where what they change is kept; empty: in memory.
func firstEntries(s *Spec, home string, account host.Account, upper string) *layout {
	l := &layout{}
	l.system()
	l.kernel()
	l.maskProc(s)
	l.memory(home, upper)
	if home != account.Home {
		l.scratch(account.Home, 0o700)
	}
	l.first = len(l.entries)
	return l
}

// finish makes the root file system of what is laid out.
func (l *layout) finish(s *Spec, account host.Account) error {
	s.Root = fuseoverlay.Root{
		Size: memoryShare(), Inodes: filesInMemory(), TTYGroup: mapsTTYGroup(s),
		// Whether a fresh proc can be mounted shows only when it is tried.
		OuterProc: s.Level.Require.Accepts(profiles.LevelOuterProc),
	}
	if !host.MountSetattr.OK() {
		s.Root.OldKernel = true
		if err := l.oldKernel(); err != nil {
			return err
		}
	}
	s.Root.Entries, s.Root.First = l.sorted()
	return nil
}

// homeInside is the payload's home folder: root has its own.
func homeInside(s *Spec, account host.Account) string {
	if s.IDs.UID == 0 && account.UID != 0 {
		return "/root"
	}
	return account.Home
}

// mapsTTYGroup tells whether group 5, tty, exists in the sandbox.
func mapsTTYGroup(s *Spec) bool {
	const tty = 5
	for _, r := range s.IDs.Maps.GID {
		if tty >= r.Inside && tty-r.Inside < r.Count {
			return true
		}
	}
	return false
}
