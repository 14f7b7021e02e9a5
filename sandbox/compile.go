package sandbox

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// Slots of the plan that the supervisor and the payload share.
const (
	masterSlot userns.Slot = "terminal"
	slaveSlot  userns.Slot = "terminal.inside"
)

// keyringStep is known by name, since its failure is told in a sentence of its own.
const keyringStep = "joining a fresh session keyring"

// Compile turns a spec into the plan that makes it so. It looks nothing up and decides nothing
// that the spec does not say.
func Compile(s *Spec) *userns.Plan {
	first, rest := s.Root.Steps()
	return leaveOut(&userns.Plan{
		Namespaces: namespaces(s),
		Init:       initSteps(beginning(s, first, len(rest)), s, rest),
		Payload:    payloadSteps(s),
	})
}

// otherSteps is about how many steps of PID 1 do not build the root.
const otherSteps = 96

func namespaces(s *Spec) uintptr {
	flags := unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
		unix.CLONE_NEWIPC | slirp.Namespaces(s.Network)
	if s.Join.Name != "" {
		flags &^= unix.CLONE_NEWUSER
	}
	if s.Join.IPC {
		flags &^= unix.CLONE_NEWIPC
	}
	return flags
}

// beginning are the first steps of PID 1, those that hardly depend on a profile: they may be walked
// before it is read (Prepare). more are to follow. The network device comes last, so that one that was not foreseen can be
// made after all.
func beginning(s *Spec, root []userns.Step, more int) []userns.Step {
	steps := make([]userns.Step, 0, len(root)+more+otherSteps)
	steps = append(steps, userns.Barrier("waiting for the id maps"))
	if s.IDs.DropGroups {
		steps = append(steps, userns.SetGroups("dropping supplementary groups"))
	}
	steps = append(steps, slirp.Steps(s.Network)...)
	steps = append(steps, root...)
	return append(steps, slirp.Device(s.Network)...)
}

// initSteps adds to the beginning what else PID 1 walks before anything foreign runs.
func initSteps(steps []userns.Step, s *Spec, root []userns.Step) []userns.Step {
	steps = append(steps,
		userns.Barrier("waiting for what is made outside"),
		userns.Unshare("making a cgroup namespace", unix.CLONE_NEWCGROUP))
	if s.BootTimeZero {
		steps = append(steps, bootTimeZero(s)...)
	}
	steps = append(steps,
		userns.SetHostname("setting the host name", s.Hostname),
		userns.SetDomainname("setting the host name", "(none)"))
	steps = append(steps, root...)
	if s.Terminals != [3]bool{} {
		steps = append(steps, userns.OpenTerminal("opening a terminal", fuseoverlay.PtsSlot, masterSlot, slaveSlot, s.Window)...)
		steps = append(steps, userns.Send("handing out the terminal", masterSlot))
	}
	steps = append(steps, slirp.Barrier(s.Network)...)
	steps = append(steps, keyring(s))
	return append(steps, hardenSteps(s)...)
}

// bootTimeZero makes a time namespace, for the children of PID 1, whose clocks start at zero:
// time_namespaces(7).
func bootTimeZero(s *Spec) []userns.Step {
	const do = "making a time namespace"
	return []userns.Step{
		userns.Unshare(do, unix.CLONE_NEWTIME),
		userns.Open(do, "/proc/self/timens_offsets", userns.How{Flags: unix.O_WRONLY}).To("offsets"),
		userns.Write(do, "offsets", fmt.Sprintf("monotonic -%d 0\nboottime -%d 0\n", s.Clocks.Monotonic, s.Clocks.BootTime)),
		userns.Close(do, "offsets"),
	}
}

// keyring leaves the caller's session keyring, which crosses into user namespaces. Where the user
// has too many keyrings, or a filter around this run refuses the call, it goes on only if no keyring call can be
// made inside.
func keyring(s *Spec) userns.Step {
	step := userns.NewSessionKeyring(keyringStep).Tolerate(unix.ENOSYS)
	if s.Harden.KeyringsRefused {
		step = step.Tolerate(unix.EDQUOT, unix.EPERM).Notice()
	}
	return step
}

// hardenSteps shut PID 1 and take from it all that the payload must not inherit.
func hardenSteps(s *Spec) []userns.Step {
	// From here on nobody inside can trace PID 1 or read its memory, which is the supervisor's.
	hide := userns.Prctl("hiding PID 1", unix.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")
	if s.Harden.SetUID {
		// The kernel takes Landlock's rules and the filter from who can get no more, or has CAP_SYS_ADMIN here
		// (landlock_restrict_self(2), seccomp(2)): so they come first, and the capabilities go under them.
		return slices.Concat([]userns.Step{hide}, confiningSteps(s), capabilitySteps(s))
	}
	forbid := userns.Prctl("forbidding new privileges", unix.PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")
	return slices.Concat([]userns.Step{hide, forbid}, capabilitySteps(s), confiningSteps(s))
}

// confiningSteps put PID 1, and all that it starts, under Landlock's rules and the filter.
func confiningSteps(s *Spec) []userns.Step {
	steps := append(landlockSteps(s), announceRenames(s)...)
	if len(s.Harden.Filter) > 0 {
		steps = append(steps, userns.Seccomp("installing the seccomp filter", s.Harden.Filter))
	}
	return steps
}

// capabilitySteps leave the payload the capabilities of the spec, and no way to others. Root inside has by
// execve what the bounding set holds (capabilities(7)); another user keeps what is ambient.
func capabilitySteps(s *Spec) []userns.Step {
	keep := s.Harden.Capabilities
	steps := []userns.Step{userns.Prctl("dropping ambient capabilities", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT")}
	for c := uintptr(0); c <= uintptr(s.Harden.LastCap); c++ {
		if s.Harden.Bounding>>c&1 == 0 {
			steps = append(steps, userns.Prctl("dropping capabilities for good", unix.PR_CAPBSET_DROP, c, "PR_CAPBSET_DROP"))
		}
	}
	ambient := keep
	if s.IDs.UID == 0 {
		ambient = 0 // nor need it be inheritable, from which files could give it to other users inside
	}
	steps = append(steps, userns.SetCapabilities("dropping capabilities", keep, ambient))
	for c := uintptr(0); c <= uintptr(s.Harden.LastCap); c++ {
		if ambient>>c&1 != 0 {
			steps = append(steps, userns.RaiseAmbient("keeping capabilities", c))
		}
	}
	return steps
}

// rootFD is the number under which a Landlock rule finds the root.
const rootFD = 41

// handedFD is that for descriptors that are handed in, one after the other.
const handedFD = 42

// landlockSteps let the payload open what lies below its own root, and the files that are its
// streams as they are open already; nothing else, by whatever descriptor.
func landlockSteps(s *Spec) []userns.Step {
	const do = "confining files with Landlock"
	wall := s.Harden.Landlock
	if wall.Files|wall.Scopes == 0 {
		return nil
	}
	steps := []userns.Step{userns.LandlockRules(do, wall.Files, wall.Scopes, "landlock")}
	if wall.Files == 0 {
		return append(steps, userns.LandlockEnforce(do, "landlock"))
	}
	steps = append(steps,
		userns.Open(do, "/", userns.How{Flags: unix.O_PATH}).To("landlock.root"),
		userns.DupTo(do, "landlock.root", rootFD),
		userns.LandlockAllow(do, "landlock", wall.Files, rootFD),
	)
	for fd, rights := range s.Streams {
		if rights &= wall.Files; rights != 0 {
			// EBADFD: a pipe, which Landlock does not handle.
			steps = append(steps, userns.LandlockAllow(do, "landlock", rights, fd).Tolerate(unix.EBADFD))
		}
	}
	for _, d := range s.Descriptors {
		if rights := d.Rights & wall.Files; rights != 0 {
			steps = append(steps, userns.DupTo(do, handedSlot(d.Number), handedFD),
				userns.LandlockAllow(do, "landlock", rights, handedFD).Tolerate(unix.EBADFD))
		}
	}
	return append(steps, userns.LandlockEnforce(do, "landlock"))
}

// payloadSteps are walked by the child of PID 1 that becomes the payload.
func payloadSteps(s *Spec) []userns.Step {
	steps := []userns.Step{userns.SetSession("making a session")}
	if s.Terminals != [3]bool{} {
		steps = append(steps, userns.ControllingTerminal("taking the terminal", slaveSlot))
	}
	for fd, terminal := range s.Terminals {
		if terminal {
			steps = append(steps, userns.Dup("taking the terminal", slaveSlot, fd))
		}
	}
	steps = append(steps,
		userns.SetLimit("limiting cores", unix.RLIMIT_CORE, "RLIMIT_CORE", s.Limits.Cores, s.Limits.Cores),
		userns.SetLimit("limiting open files", unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", s.Limits.NoFileSoft, s.Limits.NoFileHard),
		userns.SetLimit("limiting processes", unix.RLIMIT_NPROC, "RLIMIT_NPROC", s.Limits.Processes, s.Limits.Processes),
		userns.Umask("restoring the umask", s.Umask))
	steps = append(steps, enterWorkdir(s)...)
	steps = append(steps, descriptorSteps(s)...)
	return append(steps, userns.Exec("executing "+s.Command[0], s.Attempts, s.Command, s.Env)...)
}

// outerProc tells whether a notice says that the outer proc had to serve.
func outerProc(n userns.StepError) bool {
	return n.Step.Name() == "fsmount" && n.Errno == unix.EPERM
}

// lowerByNotices takes the level down by what showed only in the walk.
func lowerByNotices(l *Level, notices []userns.StepError) {
	for _, n := range notices {
		switch {
		case outerProc(n):
			l.lower(profiles.LevelOuterProc, "no fresh /proc can be mounted here, so names of outer processes show")
		case n.Step.Do == renamesStep:
			l.Warnings = append(l.Warnings, "folders in what is held for review cannot be renamed, only copied: somebody listens to the system calls of this run already ("+n.Errno.Error()+")")
		case n.Step.Do == keyringStep:
			l.Warnings = append(l.Warnings, "no session keyring of its own: "+n.Errno.Error()+" (the seccomp filter refuses all keyring calls)")
		}
	}
}

// enterWorkdir changes into the working folder. One that an image names, or to which a payload makes a link meanwhile, must
// not be /proc/self/fd/7: that is something that the walk has open (CVE-2024-21626).
func enterWorkdir(s *Spec) []userns.Step {
	do := "entering the working folder " + s.Workdir
	return []userns.Step{
		userns.Open(do, s.Workdir, userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_MAGICLINKS}).To("workdir"),
		userns.Fchdir(do, "workdir"),
	}
}
