// Package sandbox is where all meets, on the host's side: it resolves a profile and the facts of
// this machine to a Spec, compiles the Spec to a plan, starts and supervises what the plan makes,
// and tells how it ended.
//
// It prints nothing: what a person should read is in the Spec, in the Result and in error types.
package sandbox

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/cgroup"
	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// Spec is a resolved sandbox: absolute paths, numeric ids, nothing left to look up. It is pure
// data, and all that Compile knows.
type Spec struct {
	// Command is the payload's argv. Attempts are the paths of it that are tried in order.
	Command  []string `json:"command"`
	Attempts []string `json:"attempts"`
	// Workdir is the payload's working folder.
	Workdir string `json:"workdir"`
	// Env is the payload's whole environment, KEY=VALUE.
	Env      []string `json:"-"`
	EnvNames []string `json:"env"`
	Hostname string   `json:"hostname"`
	Umask    uint32   `json:"umask"`

	IDs     IDs              `json:"ids"`
	Network profiles.NetMode `json:"network"` // never `on`: what that means is resolved
	// NetProgram is the program outside that serves the network; empty where none does.
	NetProgram string `json:"network_program,omitempty"`
	Egress     Egress `json:"egress"`
	// Ports are those of the host that lead inside.
	Ports []slirp.Port `json:"ports,omitempty"`
	// Join is another sandbox, in whose user namespace this one is made.
	Join Join `json:"join,omitzero"`
	// joined is how that sandbox is reached when this one starts.
	joined *Joined
	// BootTimeZero gives the sandbox a time namespace whose clocks start at zero.
	BootTimeZero bool             `json:"boottime_zero"`
	Clocks       Clocks           `json:"-"`
	Root         fuseoverlay.Root `json:"root"`
	// Terminals says which of 0, 1 and 2 are terminals, and so become the sandbox's own.
	Terminals [3]bool `json:"terminals"`
	// Streams are the Landlock rights to the files that 0, 1 and 2 are; 0 for what is no file.
	Streams [3]uint64    `json:"-"`
	Window  unix.Winsize `json:"-"`
	// Descriptors are what the payload gets beside 0, 1 and 2.
	Descriptors []Descriptor `json:"descriptors,omitempty"`
	Limits      Limits       `json:"limits"`
	Cgroup      Cgroup       `json:"cgroup"`
	Harden      Harden       `json:"harden"`

	// Image is where the root comes from; nil: the host's own system.
	Image *Image `json:"image,omitempty"`

	// Volumes are the named ones that it shows.
	Volumes []Volume `json:"volumes,omitempty"`

	// Caches are folders of the host under changes that are the project's own.
	Caches []Cache `json:"caches,omitempty"`

	// Project is the folder that the run is about, and what the payload may do with it.
	Project Project `json:"project"`
	// Captured are the folders of the host that the payload changes only in appearance, and CaptureBy how.
	Captured  []Captured `json:"captured,omitempty"`
	CaptureBy string     `json:"capture_by,omitempty"`
	Level     Level      `json:"level"`
	// Grants are what the profile asks for beyond the default sandbox.
	Grants []Grant `json:"grants,omitempty"`
}

// Clocks are what the host's clocks show, in whole seconds, when the spec is made.
type Clocks struct{ Monotonic, BootTime int64 }

// IDs are the user inside and the maps that make it so.
type IDs struct {
	// UID and GID are the payload's, inside; outside it has the caller's.
	UID  uint32      `json:"uid"`
	GID  uint32      `json:"gid"`
	Maps userns.Maps `json:"maps"`
	// DropGroups says that the caller's supplementary groups are dropped.
	DropGroups bool `json:"drop_groups"`
}

// Join names a sandbox and what of its namespaces is used.
type Join struct {
	Name string `json:"name"`
	Net  bool   `json:"net"`
	IPC  bool   `json:"ipc"`
}

// Limits are what the payload may use.
type Limits struct {
	// Time is how long the payload may run; 0: as long as it likes.
	Time time.Duration `json:"time"`
	// NoFileSoft and NoFileHard are the caller's own limit on open files.
	NoFileSoft uint64 `json:"nofile_soft"`
	NoFileHard uint64 `json:"nofile_hard"`
	// Cores bounds core files, in bytes.
	Cores uint64 `json:"cores"`
	// Processes is RLIMIT_NPROC of the user namespace.
	Processes uint64 `json:"processes"`
}

// Cgroup is the cgroup that a sandbox gets, and what it limits.
type Cgroup struct {
	// Way is who makes it. With host.CgroupNone there is none, and nobody is asked for one.
	Way    host.CgroupWay `json:"way"`
	Limits cgroup.Limits  `json:"limits"`
	// Optional says that the run goes on without it where it cannot be had.
	Optional bool             `json:"optional"`
	Facts    host.CgroupFacts `json:"-"`
}

// Harden are the walls behind the namespaces.
type Harden struct {
	Seccomp string `json:"seccomp"`
	// Filter is the compiled seccomp filter; none where seccomp is off.
	Filter []unix.SockFilter `json:"-"`
	// KeyringsRefused says that the filter refuses all keyring calls.
	KeyringsRefused bool `json:"keyrings_refused"`
	// Landlock is the second wall before files.
	Landlock harden.Landlock `json:"landlock"`
	// Nested says that the payload may make namespaces of its own, and mount in them.
	Nested bool `json:"nested,omitempty"`
	// Capabilities are those that the payload keeps inside: bit n stands for capability n.
	Capabilities uint64 `json:"capabilities"`
	// Bounding are those that any program inside can come to have: Capabilities, and with SetUID those of root inside.
	Bounding uint64 `json:"bounding"`
	// SetUID says that set-user-ID programs of the image have effect: the payload goes without no_new_privs.
	SetUID bool `json:"set_uid,omitempty"`
	// LastCap is the kernel's highest capability.
	LastCap uint8 `json:"last_cap"`
}

// Project is the project of a run.
type Project struct {
	Dir    string          `json:"dir"`
	Access profiles.Access `json:"access"`
	// Protected are the places that the host executes later, as they are covered in this run.
	Protected []Place `json:"protected,omitempty"`
	// GitReadOnly says that the project has a .git that is covered.
	GitReadOnly bool `json:"git_read_only"`
	// Hidden are the paths of the project that are covered.
	Hidden []Place `json:"hidden,omitempty"`
}

// Place is a path of the project, and where it is seen inside: a second mount of the project, or of
// a folder of it, shows it again.
type Place struct {
	Path    string   `json:"path"` // absolute, on the host
	Targets []string `json:"targets"`
}

// Level is how much of what sbx promises this sandbox has.
type Level struct {
	Name profiles.Level `json:"name"`
	// Why are the reasons for which it is less than full.
	Why []string `json:"why,omitempty"`
	// Require is the bar below which a run is refused.
	Require profiles.Level `json:"require"`
	// Warnings are weaknesses that no level stands for.
	Warnings []string `json:"warnings,omitempty"`
}

// Grant is one thing that a profile asks for beyond the default sandbox.
type Grant struct {
	Key   string `json:"key"`   // the profile's, such as "network.mode"
	Words string `json:"words"` // plain ones
	From  string `json:"from"`  // file, line and column, or the flag
}

// Opens tells whether the grant opens a wall of the sandbox, where others only show more files.
func (g Grant) Opens() bool {
	switch g.Key {
	case "network.mode", "root.groups", "files.git", "files.devices":
		return true
	}
	return strings.HasPrefix(g.Key, "harden.")
}

// lower takes the level down, for a reason.
func (l *Level) lower(to profiles.Level, why string) {
	if to.Accepts(l.Name) && to != l.Name {
		l.Name = to
	}
	l.Why = append(l.Why, why)
}
