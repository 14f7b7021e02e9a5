// Package profiles turns what people write in TOML, and the flags of one run,
// into one Profile: the schema and its checks, the layers and how they merge,
// what counts as a grant, the search for the project, the table of toolchains
// outside the system folders, and the environment that a payload gets.
//
// It does not decide how a sandbox is made: nothing here mounts, clones or
// starts anything, looks up users, or asks what the host can do. It prints
// nothing; what a person should read is in the errors and in Grant.
//
// Every path in a loaded profile is absolute and clean. Who hands a profile
// over is part of each value (Origin), since a project's own file is written
// by somebody who is not trusted, and may only tighten.
package profiles

import (
	"net/netip"
	"strings"
	"time"
)

// Layer says who wrote a value. Later layers override earlier ones.
type Layer int

// The layers, in the order in which they are laid over each other.
const (
	LayerDefault Layer = iota // the built-in profile "host", beneath everything
	LayerUser                 // the user's default profile, and the one of -p
	LayerProject              // the project's sbx.toml and its variants: not trusted
	LayerFlag                 // the command line
)

// Origin is where a value was written.
type Origin struct {
	Layer        Layer
	File         string // path, or "built-in NAME"; empty for a flag
	Line, Column int    // from 1; the column counts characters
	Flag         string // the flag, as in "--net"
	Optional     bool   // of a built-in profile: a path that the host does not have is left out
	Via          string // the profile named by `extends` that the value came by, when a project's file extends it
}

// Val is one value of a profile. The zero Val is a value that nobody set.
type Val[T any] struct {
	V    T
	Set  bool
	From Origin
}

// List is a list of a profile. A list that is set and empty differs from one
// that is not set: `allow = []` refuses everything.
type List[T any] struct {
	Items []Val[T]
	Set   bool
	From  Origin
}

// Values returns the plain values of the list.
func (l List[T]) Values() []T {
	out := make([]T, len(l.Items))
	for i, item := range l.Items {
		out[i] = item.V
	}
	return out
}

// Profile is what a person writes in TOML. Files, layers and the merged whole
// have this one type.
type Profile struct {
	Extends  Val[string]
	Root     Root
	Files    Files
	Network  Network
	Limits   Limits
	Env      Env
	Harden   Harden
	Tasks    map[string]Task
	Variants map[string]*Profile // the [profiles.NAME] tables of the file
}

// Root is the table [root].
type Root struct {
	Image    Val[string]
	Dir      Val[string]
	User     Val[User]
	Groups   Val[Groups]
	BootTime Val[BootTime]
}

// Files is the table [files].
type Files struct {
	Project Val[Access]
	Parent  Val[Parent]
	Git     Val[Access]
	Read    List[string]
	Write   List[string]
	Hide    List[string] // absolute, below the project
	Tmpfs   List[string]
	Mounts  List[Mount] // of two with one Dst the later is kept
	Volumes List[Volume]
	Devices List[string]
	Capture List[string]
	Caches  List[string] // folders of the host, each with changes of the project's own
	Home    Val[Home]
	GitUser Val[bool]
}

// Network is the table [network].
type Network struct {
	Mode  Val[NetMode]
	Allow List[Rule]
	Ports List[Port]
}

// Limits is the table [limits].
type Limits struct {
	Memory     Val[Size]
	MemoryHigh Val[Size]
	Swap       Val[Size] // may be 0: none
	Tmpfs      Val[Size] // of all folders in memory together
	CPUs       Val[float64]
	CPUWeight  Val[int64]
	CPUSet     Val[CPUSet]
	Pids       Val[int64]
	IOWeight   Val[int64]
	IORead     Val[Size] // bytes per second and disk
	IOWrite    Val[Size]
	Time       Val[time.Duration]
	Enforce    Val[Enforce]
}

// Env is the table [env].
type Env struct {
	Pass List[string] // exact names, or a prefix and a trailing *
	Set  map[string]Val[string]
}

// SetValues returns the plain names and values of [env] set.
func (e Env) SetValues() map[string]string {
	out := make(map[string]string, len(e.Set))
	for name, v := range e.Set {
		out[name] = v.V
	}
	return out
}

// Harden is the table [harden].
type Harden struct {
	Seccomp Val[Seccomp]
	// Syscalls are names that the filter lets pass as well.
	Syscalls List[string]
	CapAdd   List[string] // canonical: CAP_NET_ADMIN
	CapDrop  List[string]
	Require  Val[Level]
	Nested   Val[bool]
	// SetUID lets set-user-ID programs of the image, and their files' capabilities, have effect.
	SetUID Val[bool]
}

// Task is one entry of [tasks]: a command line for the shell inside, and what
// the task changes about its own sandbox.
type Task struct {
	Run     Val[string]
	Profile Profile
}

// UserKind says how a user inside was named.
type UserKind string

// The ways to name the user inside.
const (
	UserMe   UserKind = "me"
	UserRoot UserKind = "root"
	UserID   UserKind = "id"
)

// User is the user inside. Outside, the payload always has the caller's id.
type User struct {
	Kind     UserKind
	UID, GID uint32 // only for UserID
	HasGID   bool
}

// Groups says what becomes of the caller's supplementary groups.
type Groups string

// What may become of the supplementary groups.
const (
	GroupsDrop Groups = "drop"
	GroupsKeep Groups = "keep"
)

// BootTime is the clock since boot as seen inside.
type BootTime string

// The clocks since boot.
const (
	BootTimeHost BootTime = "host"
	BootTimeZero BootTime = "zero" // a time namespace of its own
)

// Access is what the payload may do with the project, or with its .git.
type Access string

// The kinds of access, from the least to the most.
const (
	AccessNone   Access = "none"
	AccessRead   Access = "read"
	AccessReview Access = "review"
	AccessWrite  Access = "write"
)

// Parent is what the payload has of the folder that the project lies in.
type Parent string

// What there may be of the parent folder.
const (
	ParentNone   Parent = "none"
	ParentReview Parent = "review" // an empty one, of which what comes into it is held for review
)

// Home is the home folder inside.
type Home string

// The kinds of home folder.
const (
	HomeEmpty Home = "empty"
	HomeKept  Home = "kept"
)

// Mount is a host path shown at a path inside.
type Mount struct {
	Src, Dst string
	ReadOnly bool
}

// Volume is a named volume shown at a path inside.
type Volume struct {
	Name, Dst string
	ReadOnly  bool
}

// NetMode is a network mode: one of the constants, or "join:NAME".
type NetMode string

// Joins is the sandbox whose network a mode stands for; empty for all others.
func (m NetMode) Joins() string {
	name, _ := strings.CutPrefix(string(m), "join:")
	if name == string(m) {
		return ""
	}
	return name
}

// The network modes but for join:NAME.
const (
	NetNone    NetMode = "none"
	NetOn      NetMode = "on"
	NetSlirp   NetMode = "slirp"
	NetPasta   NetMode = "pasta"
	NetBuiltin NetMode = "builtin"
	NetHost    NetMode = "host"
)

// Rule is one entry of `allow`. Exactly one of Service, Name and Prefix is set.
type Rule struct {
	Service  string       // of @service, without the @
	Name     string       // host name, lower case, without the wildcard
	Wildcard bool         // *.Name: names below Name, not Name itself
	Prefix   netip.Prefix // an address is a prefix of full length
	Port     uint16       // 0: the protocol's usual ports
	UDP      bool
}

// Port is one entry of `ports`.
type Port struct {
	IP           netip.Addr // the zero Addr when it was not written
	Host, Inside uint16
	UDP          bool
}

// Size is a number of bytes.
type Size int64

// CPUSet is a set of processors, as in "0-3,6".
type CPUSet string

// Enforce says what happens when a limit cannot be enforced.
type Enforce string

// What may happen when a limit cannot be enforced.
const (
	EnforceRequired   Enforce = "required"
	EnforceBestEffort Enforce = "best-effort"
)

// Seccomp is a system call filter.
type Seccomp string

// The filters, from the weakest.
const (
	SeccompOff     Seccomp = "off"
	SeccompDefault Seccomp = "default"
	SeccompStrict  Seccomp = "strict"
)

// Level is a level of assurance, and the bar that `require` sets.
//
// The levels have one order, from the highest: full, single-id, outer-proc,
// unlimited. A sandbox can fall short in several ways; its level is the lowest
// of those that apply. `require` names the lowest level that is acceptable:
// require = "outer-proc" accepts full, single-id and outer-proc.
type Level string

// The levels. LevelNone is only a bar: anything will do.
const (
	LevelNone      Level = "none"
	LevelUnlimited Level = "unlimited"
	LevelOuterProc Level = "outer-proc"
	LevelSingleID  Level = "single-id"
	LevelFull      Level = "full"
)

// Accepts reports whether a sandbox of level got meets the bar.
func (bar Level) Accepts(got Level) bool { return levelRank[got] >= levelRank[bar] }

// The unset level ranks with none, so an empty bar accepts everything.
var levelRank = map[Level]int{LevelUnlimited: 1, LevelOuterProc: 2, LevelSingleID: 3, LevelFull: 4}

// Config is the user's own configuration, config.toml.
type Config struct {
	Profile    Val[string]
	Aliases    map[string]Val[string]
	Registries map[string]Registry
	Storage    Storage
	Network    NetworkConfig
	Trust      Trust
	Limits     LimitsConfig
}

// Registry is one table [registries."HOST"] of the user's configuration.
type Registry struct {
	Mirrors  List[string]
	Insecure Val[bool]
}

// Storage is the table [storage] of the user's configuration.
type Storage struct {
	Driver Val[string]
	// Capture is how folders are captured: auto, by an overlay where one can be had, or copy.
	Capture Val[string]
	// LayerLimit bounds what one layer of an image unpacks to.
	LayerLimit Val[Size]
}

// NetworkConfig is the table [network] of the user's configuration.
type NetworkConfig struct{ Driver Val[string] }

// Trust is the table [trust] of the user's configuration.
type Trust struct{ Folders List[string] }

// LimitsConfig is the table [limits] of the user's configuration: what holds
// for every profile that does not say otherwise.
type LimitsConfig struct{ Enforce Val[Enforce] }

// Grant is something that a profile asks for beyond another one.
type Grant struct {
	Key   string // as in "files.read"
	Value string // as a profile writes it, without quotes; paths absolute, symlinks resolved
	Part  string // `variant "x"`, `task "x"` or both, where that part of the file asks; empty: the file itself
	Words string // in plain words, control characters escaped
	From  Origin
}
