package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
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
	// Command is the payload's argv; empty: the user's shell.
	Command []string
	// Cwd is the caller's working folder; Workdir one that was asked for, as it is inside.
	Cwd, Workdir string
	// Environ is the caller's environment, EnvFlags the values of --env.
	Environ, EnvFlags []string
	Streams           Streams
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

// defaultProcesses is RLIMIT_NPROC of a sandbox that asks for no limit.
const defaultProcesses = 4096

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
	s.Limits.Time, s.Limits.Processes = p.Limits.Time.V, processLimit()
	s.Limits.NoFileSoft, s.Limits.NoFileHard = host.NoFile()
	for _, g := range r.Loaded.Grants {
		s.Grants = append(s.Grants, Grant{g.Key, g.String()})
	}
	if skipped := r.Project.Skipped; skipped != "" {
		s.Level.Warnings = append(s.Level.Warnings, skipped+" belongs to another user, and says nothing here")
	}
	if err := checkProject(r.Project, s.Project.Access); err != nil {
		return nil, err
	}
	if err := resolveIDs(s, r.Account, p.Root.User.V, p.Root.Groups.V); err != nil {
		return nil, err
	}
	if err := resolveHarden(s, p); err != nil {
		return nil, err
	}
	if err := resolveRoot(s, &r, p); err != nil {
		return nil, err
	}
	// Whether a fresh proc can be mounted shows only when it is tried.
	s.Root.OuterProc = s.Level.Require.Accepts(profiles.LevelOuterProc)
	if !s.Level.Require.Accepts(s.Level.Name) {
		return nil, &LevelError{s.Level}
	}
	return s, nil
}

// minOpenFiles is what the supervisor and the walk need at once, with some room.
const minOpenFiles = 64

func checkOpenFiles() error {
	if _, hard := host.NoFile(); hard < minOpenFiles {
		return &UsageError{fmt.Sprintf("at most %d files may be open here, and sbx needs %d", hard, minOpenFiles), "ulimit -n 1024"}
	}
	return nil
}

// processLimit is the default, or the caller's own limit where that is lower.
func processLimit() uint64 {
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &own) != nil {
		return defaultProcesses
	}
	return min(own.Max, defaultProcesses)
}

// checkProject refuses what nobody means: a whole home or system folder to write to, and the
// kernel's own folders at all.
func checkProject(project profiles.Project, access profiles.Access) error {
	what := ""
	switch {
	case access == profiles.AccessNone:
	case project.Kernel:
		what = "which is the kernel's or the system's own"
	case access != profiles.AccessWrite:
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

func resolveHarden(s *Spec, p *profiles.Profile) error {
	policy, err := harden.PolicyNamed(string(p.Harden.Seccomp.V))
	if err != nil {
		return err
	}
	last, err := harden.LastCap()
	if err != nil {
		return err
	}
	filter, err := harden.Compile(policy, harden.HostArch())
	if err != nil {
		return fmt.Errorf("compiling the seccomp filter: %w", err)
	}
	s.Harden = Harden{
		Seccomp: policy.Name, Filter: filter, KeyringsRefused: harden.RefusesKeyrings(policy),
		Landlock: harden.LandlockFor(harden.LandlockABI()), LastCap: uint8(last),
	}
	s.warnOfStreams()
	return nil
}

// warnOfStreams says what a kernel without Landlock, or with an early one, cannot prevent.
func (s *Spec) warnOfStreams() {
	const files = harden.LandlockReadFile | harden.LandlockWriteFile
	for i, rights := range s.Streams {
		switch {
		case rights == 0 || rights&files == files:
		case s.Harden.Landlock.Files == 0:
			s.Level.Warnings = append(s.Level.Warnings, "this kernel has no Landlock: the payload can open the file that is its "+streamNames[i]+" anew, for reading and writing")
		case s.Harden.Landlock.Files&harden.LandlockTruncate == 0 && rights&harden.LandlockWriteFile == 0:
			s.Level.Warnings = append(s.Level.Warnings, "this kernel's Landlock does not know truncate(2): the payload can empty the file that is its "+streamNames[i])
		}
	}
}

// resolveRoot lays out the root file system, the environment and the command.
func resolveRoot(s *Spec, r *Request, p *profiles.Profile) error {
	home := homeInside(s, r.Account)
	l := &layout{}
	l.system()
	l.kernel()
	l.memory(home)
	if home != r.Account.Home {
		l.scratch(r.Account.Home, 0o700)
	}
	pathFolders, variables := l.toolchains(r)
	l.base = len(l.entries)
	if err := l.files(s, r, p); err != nil {
		return err
	}
	l.identity(s, r.Account, home)
	if r.Account.UID == 0 {
		l.hideRootsSecrets()
	}
	if err := l.coverSockets(r.Project.Dir); err != nil {
		return err
	}
	s.Root = fuseoverlay.Root{Size: memoryShare(), Inodes: inodeCap, TTYGroup: mapsTTYGroup(s), CallerIsRoot: r.Account.UID == 0}
	if !host.MountSetattr.OK() {
		s.Root.OldKernel = true
		if err := l.oldKernel(); err != nil {
			return err
		}
	}
	s.Root.Entries = l.sorted()
	if err := l.resolveWorkdir(s, r, home); err != nil {
		return err
	}
	resolveCommand(s, r, home, l.shownFolders(pathFolders), variables)
	return nil
}

// homeInside is the payload's home folder: root has its own.
func homeInside(s *Spec, account host.Account) string {
	if s.IDs.UID == 0 && account.UID != 0 {
		return "/root"
	}
	return account.Home
}

// inodeCap bounds the files in memory, each of which costs kernel memory that no size counts.
const inodeCap = 1 << 20

// memoryShare is a quarter of the machine's memory, in bytes: the bound of all that a sandbox
// without a memory limit holds in its folders in memory.
func memoryShare() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 1 << 30
	}
	return uint64(info.Totalram) * uint64(info.Unit) / 4
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

// toolchains shows what the caller's PATH leads to outside the system folders. It returns the
// folders of PATH, and the variables that tell tools where they were moved to.
func (l *layout) toolchains(r *Request) (folders, variables []string) {
	env := environment(r.Environ)
	folders = absolute(filepath.SplitList(env["PATH"]))
	shown := profiles.Toolchains(folders, profiles.Lookup{
		Home: r.Account.Home, PasswdHome: r.Account.PasswdHome, Project: r.Project.Dir,
		Getenv: func(name string) string { return env[name] },
		Exists: func(path string) bool { _, err := os.Stat(path); return err == nil },
		Glob:   func(pattern string) []string { list, _ := filepath.Glob(pattern); return list },
		Real:   realPath,
	})
	for _, tool := range shown {
		l.showTool(tool.Path)
		if tool.Env != "" {
			variables = append(variables, tool.Env)
		}
	}
	return folders, variables
}

// realPath is a path with its symlinks resolved, or as it is where that cannot be done.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// showTool shows a toolchain's folder at its own path; where that passes a symlink, at the real
// path, with the link made again inside.
func (l *layout) showTool(path string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return
	}
	if source, _ := l.shows(real); source == "" {
		l.bind(real, real, false)
	}
	if real != path {
		if source, _ := l.shows(path); source == "" {
			l.add(fuseoverlay.Entry{Kind: fuseoverlay.Symlink, Target: path, Content: real})
		}
	}
}

func absolute(list []string) []string {
	var out []string
	for _, dir := range list {
		if path.IsAbs(dir) && !slices.Contains(out, path.Clean(dir)) {
			out = append(out, path.Clean(dir))
		}
	}
	return out
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// files lays out what [files] and its flags ask for.
func (l *layout) files(s *Spec, r *Request, p *profiles.Profile) error {
	if err := l.project(s, r, p); err != nil {
		return err
	}
	for _, read := range p.Files.Read.Items {
		if err := l.mount(s, profiles.Mount{Src: read.V, Dst: read.V, ReadOnly: true}, read.From); err != nil {
			return err
		}
	}
	for _, write := range p.Files.Write.Items {
		if err := l.mount(s, profiles.Mount{Src: write.V, Dst: write.V}, write.From); err != nil {
			return err
		}
	}
	for _, m := range p.Files.Mounts.Items {
		if err := l.mount(s, m.V, m.From); err != nil {
			return err
		}
	}
	for _, target := range p.Files.Tmpfs.Values() {
		target = l.throughLinks(target)
		if err := l.checkTarget(target, true); err != nil {
			return err
		}
		l.replace(target)
		l.scratch(target, 0o1777)
	}
	if s.Project.Access == profiles.AccessWrite {
		l.protect(s, p.Files.Git.V)
	}
	return l.hide(s, p.Files.Hide.Values())
}

func (l *layout) project(s *Spec, r *Request, p *profiles.Profile) error {
	writable := s.Project.Access == profiles.AccessWrite
	if s.Project.Access == profiles.AccessNone {
		return nil
	}
	if r.Project.Dir == "/" {
		return &UsageError{"the project would be / itself", "change into a project's folder, or pass --project none"}
	}
	if err := l.bind(r.Project.Dir, r.Project.Dir, writable); err != nil {
		return err
	}
	l.worktree(r.Project.Dir, r.Account.UID)
	return nil
}

// mount shows a host path at a target. Symlinks in the source are resolved now; the walk follows
// none. A source that was written below the project has to lie there: an earlier run may have put a
// link in its place. What a project's file names was compared with what the user allows in its
// resolved form, so it must not have become a link since either.
func (l *layout) mount(s *Spec, m profiles.Mount, from profiles.Origin) error {
	real, err := filepath.EvalSymlinks(m.Src)
	if err != nil {
		return &UsageError{fmt.Sprintf("mounting %s: %v", m.Src, plainError(err)), "name a path that exists"}
	}
	planted := host.Within(m.Src, s.Project.Dir) && !host.Within(real, s.Project.Dir)
	if planted || from.Layer == profiles.LayerProject && real != m.Src {
		return &UsageError{fmt.Sprintf("mounting %s: a symbolic link in the project leads to %s", m.Src, real), "name that path itself if you mean it"}
	}
	target := l.throughLinks(m.Dst)
	info, err := os.Lstat(real)
	if err != nil {
		return fmt.Errorf("mounting %s: %w", m.Src, plainError(err))
	}
	if err := l.checkTarget(target, info.IsDir()); err != nil {
		return err
	}
	l.replace(target)
	return l.bind(real, target, !m.ReadOnly)
}

// replace drops what the sandbox itself would show at or below a target that the user fills.
func (l *layout) replace(target string) {
	kept := l.entries[:0]
	for i, e := range l.entries {
		if i < l.base && host.Within(e.Target, target) && e.Kind != fuseoverlay.Device && e.Kind != fuseoverlay.Pts {
			continue
		}
		kept = append(kept, e)
	}
	l.base -= len(l.entries) - len(kept)
	l.entries = kept
}

// plainError is an error without the call and path that the sentence already says.
func plainError(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// checkTarget holds a target against what is there: in a folder of the host nothing is made for it.
func (l *layout) checkTarget(target string, dir bool) error {
	source, entry := l.shows(target)
	if entry != nil && entry.Kind != fuseoverlay.Bind && entry.Kind != fuseoverlay.Scratch {
		return &UsageError{fmt.Sprintf("mounting on %s: it lies in what the sandbox makes itself", target), "choose another target"}
	}
	if source == "" {
		return nil
	}
	info, err := os.Lstat(source)
	switch {
	case err != nil:
		return &UsageError{fmt.Sprintf("mounting on %s: %v", target, plainError(err)),
			"sbx makes no mount point in the host's folders: create it yourself, or choose a target elsewhere, such as below /tmp"}
	case info.Mode()&os.ModeSymlink != 0:
		return &UsageError{fmt.Sprintf("mounting on %s: it is a symbolic link", target), "name what it points to"}
	case info.IsDir() != dir:
		return &UsageError{fmt.Sprintf("mounting on %s: a folder goes on a folder, a file on a file", target), "choose another target"}
	}
	return nil
}

// resolveWorkdir is the folder asked for, else the caller's where it is shown, else the home.
func (l *layout) resolveWorkdir(s *Spec, r *Request, home string) error {
	if r.Workdir != "" {
		if !path.IsAbs(r.Workdir) {
			return &UsageError{fmt.Sprintf("the working folder %q is not absolute", r.Workdir), "give its path inside the sandbox"}
		}
		s.Workdir = r.Workdir
		return nil
	}
	s.Workdir = home
	if source, _ := l.shows(r.Cwd); source != "" {
		s.Workdir = r.Cwd
	}
	return nil
}

// shownFolders are the folders of PATH that exist inside.
func (l *layout) shownFolders(folders []string) []string {
	var list []string
	for _, dir := range folders {
		if source, _ := l.shows(l.throughLinks(dir)); source != "" {
			list = append(list, dir)
		}
	}
	return list
}

// standardPath is searched after the caller's own folders.
var standardPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func resolveCommand(s *Spec, r *Request, home string, folders, variables []string) {
	for _, dir := range standardPath {
		if !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	name := nameInside(s.IDs.UID, r.Account)
	s.Env = profiles.BuildEnv(profiles.EnvInput{
		Caller: r.Environ,
		Base: map[string]string{
			"HOME": home, "USER": name, "LOGNAME": name, "SHELL": r.Account.Shell,
			"PATH": strings.Join(folders, ":"), "SBX": "1",
		},
		Pass:  append(variables, r.Loaded.Profile.Env.Pass.Values()...),
		Set:   r.Loaded.Profile.Env.SetValues(),
		Flags: r.EnvFlags,
	})
	env := environment(s.Env)
	for name := range env {
		s.EnvNames = append(s.EnvNames, name)
	}
	slices.Sort(s.EnvNames)
	if len(s.Command) == 0 {
		s.Command = []string{r.Account.Shell}
	}
	s.Attempts = attempts(s.Command[0], env["PATH"])
}

// attempts are the paths of a command, in the order in which execvp(3) tries them.
func attempts(command, pathList string) []string {
	if command == "" || strings.Contains(command, "/") {
		return []string{command}
	}
	var list []string
	for _, dir := range absolute(filepath.SplitList(pathList)) {
		list = append(list, path.Join(dir, command))
	}
	return list
}
