package profiles

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// comparison holds one profile against another, which gives the measure: the
// user's own layers, or the default sandbox.
type comparison struct {
	user, mine *Profile
	project    string
	home       string
	protected  []string // absolute
	mergedList bool     // mine holds the user's entries as well: pass over them
	real       func(path string) (realPath, bool)
}

// grants lists what mine gives beyond the user's, by the rules of Wider.
func (c *comparison) grants(mine *Profile) []Grant {
	c.mine = mine
	var out []Grant
	for _, k := range profileKeys {
		out = append(out, k.wider(c, c.user, mine)...)
	}
	return out
}

// Wider lists what merged gives beyond what user gives; both have their
// defaults filled in, and merged holds the user's entries as well. home and project
// are the caller's and the project's folder, protected as in Options. It decides by these rules:
//
//   - root.user: an id inside is only a number, outside the payload has the
//     caller's; but root inside is more than a user inside. root.groups = keep,
//     an image or folder of another's making, and the host's boot time where
//     the user hides it, are grants.
//   - files.read, write, mounts: what lies inside the project, symlinks
//     resolved, is no grant where the user's access to the project covers it
//     and the user masked nothing there (hide, tmpfs, a mount); writing needs
//     an existing folder that is none the host executes from later, and has no
//     dot in front. Outside the project they are covered by the user's own.
//   - files.hide and tmpfs only take away. What a tmpfs covers is empty.
//   - network.mode, limits, harden: by their order. allow: rule by rule; a
//     network that keeps to an allowlist is its rules, and no grant beside them.
//   - env.pass: names that pass anyway or that the user passes are none.
//     env.set only changes what the payload sees of itself: never a grant, not
//     even where it overrides a value of the user's.
//   - the table of a task counts when it is merged, to run the task.
func Wider(user, merged *Profile, home, project string, protected []string) []Grant {
	c := newComparison(user, home, project, protected)
	c.mergedList = true
	return c.grants(merged)
}

// grantOther is for a value that is a grant unless it is the user's own.
func grantOther(words string) func(*comparison, Val[string], Val[string]) string {
	return func(_ *comparison, user, mine Val[string]) string {
		if user.Set && user.V == mine.V {
			return ""
		}
		return fmt.Sprintf(words, mine.V)
	}
}

// grantListed is for an entry that is a grant unless the user has it too.
func grantListed(words string) func(*comparison, List[string], string) string {
	return func(_ *comparison, user List[string], mine string) string {
		if slices.Contains(user.Values(), mine) {
			return ""
		}
		return fmt.Sprintf(words, mine)
	}
}

// grantMore is for a limit: the user's own may be lowered, or one be set where
// the user set none.
func grantMore[T cmp.Ordered](words string) func(*comparison, Val[T], Val[T]) string {
	return func(_ *comparison, user, mine Val[T]) string {
		if !user.Set || mine.V <= user.V {
			return ""
		}
		return fmt.Sprintf(words, mine.V)
	}
}

func grantSize(words string) func(*comparison, Val[Size], Val[Size]) string {
	return func(_ *comparison, user, mine Val[Size]) string {
		if !user.Set || mine.V <= user.V {
			return ""
		}
		return words + " " + mine.V.Text()
	}
}

// grantSwap: a limit of memory that says nothing of swap allows none.
func grantSwap(_ *comparison, user, mine Val[Size]) string {
	if !user.Set && mine.V == 0 || user.Set && mine.V <= user.V {
		return ""
	}
	return "swap up to " + mine.V.Text()
}

// grantWeight: without a weight of the user's, the share is the usual one.
func grantWeight(of string) func(*comparison, Val[int64], Val[int64]) string {
	return func(_ *comparison, user, mine Val[int64]) string {
		const usual = 100
		if !user.Set && mine.V <= usual || user.Set && mine.V <= user.V {
			return ""
		}
		return fmt.Sprintf("a share of the %s of weight %d", of, mine.V)
	}
}

func grantCPUSet(_ *comparison, user, mine Val[CPUSet]) string {
	own := user.V.Numbers()
	if !user.Set || !slices.ContainsFunc(mine.V.Numbers(), func(n int) bool { return !slices.Contains(own, n) }) {
		return ""
	}
	return fmt.Sprintf("the processors %s", mine.V)
}

// defaultPids is how many processes a sandbox has without a limit of its own.
const defaultPids = 4096

func grantPids(_ *comparison, user, mine Val[int64]) string {
	limit := int64(defaultPids)
	if user.Set {
		limit = user.V
	}
	if mine.V <= limit {
		return ""
	}
	return fmt.Sprintf("up to %d processes", mine.V)
}

func grantUser(_ *comparison, user, mine Val[User]) string {
	if !mine.V.isRoot() || user.V.isRoot() {
		return ""
	}
	return "root inside the sandbox"
}

func (u User) isRoot() bool {
	return u.Kind == UserRoot || u.Kind == UserID && (u.UID == 0 || u.HasGID && u.GID == 0)
}

func grantGroups(_ *comparison, user, mine Val[Groups]) string {
	if mine.V != GroupsKeep || user.V == GroupsKeep {
		return ""
	}
	return "your supplementary groups"
}

func grantBootTime(_ *comparison, user, mine Val[BootTime]) string {
	if mine.V != BootTimeHost || user.V != BootTimeZero {
		return ""
	}
	return "the time since the host started"
}

var accessRank = map[Access]int{AccessNone: 0, AccessRead: 1, AccessReview: 2, AccessWrite: 3}

func grantProject(_ *comparison, user, mine Val[Access]) string {
	if accessRank[mine.V] <= accessRank[user.V] {
		return ""
	}
	return fmt.Sprintf("the project itself, %s", accessWords[mine.V])
}

var accessWords = map[Access]string{AccessRead: "to read", AccessReview: "to change after review", AccessWrite: "to write"}

// grantParent: nothing of the parent folder is read, and it is written on approval alone.
func grantParent(c *comparison, user, mine Val[Parent]) string {
	if mine.V != ParentReview || user.V == ParentReview {
		return ""
	}
	return fmt.Sprintf("leaves files beside the project, in %q, after review", filepath.Dir(c.project))
}

func grantGit(_ *comparison, user, mine Val[Access]) string {
	if mine.V != AccessWrite || user.V == AccessWrite {
		return ""
	}
	return "writes the project's .git"
}

func grantGitUser(_ *comparison, user, mine Val[bool]) string {
	if !mine.V || user.V {
		return ""
	}
	return "your name and address of git"
}

func grantHome(_ *comparison, user, mine Val[Home]) string {
	if mine.V != HomeKept || user.V == HomeKept {
		return ""
	}
	return "a home folder that is kept between runs"
}

var netRank = map[NetMode]int{NetNone: 0, NetOn: 1, NetSlirp: 1, NetPasta: 1, NetBuiltin: 1, NetHost: 2}

// grantNetwork orders none, a network of the sandbox's own, and the host's.
// Which of the own networks it is changes what they reach, so another one than
// the user's is a grant; so is to join another sandbox. A network that keeps to a list
// gives what that names, each entry a grant, and no more.
func grantNetwork(c *comparison, user, mine Val[NetMode]) string {
	rank, known := netRank[mine.V]
	if user.V == mine.V || known && rank < netRank[user.V] {
		return ""
	}
	if mine.V == NetNone || mine.V == "" {
		return ""
	}
	if mine.V == NetHost {
		return "the host's own network, with its loopback and its abstract sockets (X11, D-Bus)"
	}
	if c.mine.Network.Allow.Set && c.user.Network.Mode.V == NetNone && (mine.V == NetOn || mine.V == NetBuiltin) {
		return ""
	}
	return fmt.Sprintf("a network, %q", string(mine.V))
}

// grantAllow: a rule must be covered by one of the user's. Where the user set
// none, a network reaches everything public; and without a network of the
// user's nothing is reached, whatever the user's list says.
func grantAllow(c *comparison, user List[Rule], mine Rule) string {
	mode := c.user.Network.Mode.V
	if c.mine.Network.Mode.Set {
		mode = c.mine.Network.Mode.V
	}
	if c.user.Network.Mode.V != NetNone || mode == NetNone {
		if !user.Set && mine.public() {
			return ""
		}
		for _, u := range user.Items {
			if u.V.covers(mine) {
				return ""
			}
		}
	}
	if mine.Name == hostName {
		return "reaches the host's own loopback, " + mine.String()
	}
	return "reaches " + mine.String()
}

func grantPort(_ *comparison, user List[Port], mine Port) string {
	if slices.Contains(user.Values(), mine) {
		return ""
	}
	return "publishes " + mine.String()
}

func grantVolume(_ *comparison, user List[Volume], mine Volume) string {
	for _, u := range user.Items {
		if u.V.Name == mine.Name && (mine.ReadOnly || !u.V.ReadOnly) {
			return ""
		}
	}
	return fmt.Sprintf("the volume %q", mine.Name)
}

func grantEnforce(_ *comparison, user, mine Val[Enforce]) string {
	if mine.V != EnforceBestEffort || user.V == EnforceBestEffort {
		return ""
	}
	return "to run without limits that cannot be enforced"
}

// grantPass: a prefix is covered by one of the user's prefixes alone, since it
// passes names that nobody has seen.
func grantPass(_ *comparison, user List[string], mine string) string {
	prefix, wild := strings.CutSuffix(mine, "*")
	if !wild && isSafe(mine) {
		return ""
	}
	for _, u := range user.Items {
		if up, uwild := strings.CutSuffix(u.V, "*"); u.V == mine || uwild && strings.HasPrefix(prefix, up) && (wild || !isSecret(mine)) {
			return ""
		}
	}
	return fmt.Sprintf("passes the variable %q", mine)
}

var seccompRank = map[Seccomp]int{SeccompOff: 0, SeccompDefault: 1, SeccompStrict: 2}

func grantSeccomp(_ *comparison, user, mine Val[Seccomp]) string {
	if seccompRank[mine.V] >= seccompRank[user.V] {
		return ""
	}
	return fmt.Sprintf("the system call filter %q in place of %q", string(mine.V), string(user.V))
}

func grantRequire(_ *comparison, user, mine Val[Level]) string {
	if levelRank[mine.V] >= levelRank[user.V] {
		return ""
	}
	return fmt.Sprintf("to run at the level %q, below %q", string(mine.V), string(user.V))
}

func grantNested(_ *comparison, user, mine Val[bool]) string {
	if !mine.V || user.V {
		return ""
	}
	return "user namespaces of its own inside"
}

func grantSetUID(_ *comparison, user, mine Val[bool]) string {
	if !mine.V || user.V {
		return ""
	}
	return "set-user-ID programs of the image, and so root inside"
}
