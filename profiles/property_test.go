package profiles

import (
	"errors"
	"math"
	"math/rand"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The property: whatever the project's file says, with every key of the
// schema, built or not, either it is refused or the merged profile gives
// nothing that the user's own did not. The oracle knows nothing of grants: it
// asks both profiles what a payload can do. And what is left when the grants
// that were asked for are taken out gives nothing more either.
func TestProjectNeverWidens(t *testing.T) {
	seed := time.Now().UnixNano()
	r := newRandom(t, rand.New(rand.NewSource(seed)))
	for range 800 {
		r.try(seed)
	}
	if r.agreed < 60 || r.without < 60 {
		t.Errorf("only %d projects were agreed to, %d without a part: the test says little", r.agreed, r.without)
	}
}

// FuzzProjectNeverWidens looks for a counter-example where chance alone does
// not: the input decides what the files say.
func FuzzProjectNeverWidens(f *testing.F) {
	f.Add([]byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		r := newRandom(t, rand.New(&chosen{choices, 0}))
		r.try(0)
	})
}

// chosen is a source of numbers from bytes, and of zeros after them.
type chosen struct {
	bytes []byte
	n     int
}

func (c *chosen) Seed(int64) {}

// Int63 spreads a byte over the range that rand.Intn looks at.
func (c *chosen) Int63() int64 {
	if c.n++; c.n > 4000 {
		return int64(c.n) << 40 // rand.Shuffle and Intn must end
	}
	if c.n > len(c.bytes) {
		return 0
	}
	return int64(c.bytes[c.n-1]) << 32
}

// random makes profiles, and counts what became of them.
type random struct {
	h       house
	rnd     *rand.Rand
	agreed  int
	without int
}

func newRandom(t *testing.T, rnd *rand.Rand) *random {
	return &random{rnd: rnd, h: newHouse(t, map[string]string{
		"home/.ssh/id": "", "home/a/b/c": "", "home/proj/src/x": "", "home/proj/secrets/x": "", "home/proj/.git/config": "",
		"home/proj/out": "-> ../.ssh", "home/proj/in": "-> src", "home/proj/s": "-> secrets", "home/proj/up": "-> ..", "home/proj/tools/agent/x": "",
	})}
}

func (r *random) try(seed int64) {
	h, t := r.h, r.h.t
	own, mine := r.profile(), r.profile()
	h.must(write(h, "config/profiles/host.toml", own))
	h.must(os.RemoveAll(h.path("home/proj/sbx.toml")))
	user, err := h.load("")
	h.must(err)
	h.must(write(h, "home/proj/sbx.toml", mine))
	var refused *GrantError
	merged, err := h.load("")
	switch {
	case err == nil:
		r.agreed++
	case errors.As(err, &refused):
		l := h.read2()
		if merged, err = l.MergeWithout(l.Asked()); err != nil {
			t.Fatalf("seed %d: without what it asks for: %v\nuser:\n%s\nproject:\n%s", seed, err, own, mine)
		}
		r.without++
	default:
		t.Fatal(err)
	}
	before, after := abilities(h, user.Profile), abilities(h, merged.Profile)
	for what, n := range after {
		if n > before[what] {
			t.Fatalf("seed %d: %s: %v, the user's own %v\nuser:\n%s\nproject:\n%s\nrefused: %v", seed, what, n, before[what], own, mine, refused)
		}
	}
	if g := Wider(&user.Profile, &merged.Profile, h.path("home"), h.path("home/proj"), []string{"sbx.toml", "tools/agent"}); len(g) > 0 {
		t.Fatalf("seed %d: Wider: %v\nuser:\n%s\nproject:\n%s", seed, g, own, mine)
	}
}

func (h house) read2() *Layers {
	l, err := Read(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: Project{Dir: h.path("home/proj"), HasFile: true}, Protected: []string{"sbx.toml", "tools/agent"}})
	h.must(err)
	return l
}

func (r *random) pick(words ...string) string { return words[r.rnd.Intn(len(words))] }

func (r *random) some(words ...string) string {
	var out []string
	for range r.rnd.Intn(3) {
		out = append(out, "'"+r.pick(words...)+"'")
	}
	return "[" + strings.Join(out, ",") + "]"
}

func (r *random) quoted(words ...string) string { return "'" + r.pick(words...) + "'" }

// profile writes up to five keys.
func (r *random) profile() string {
	paths := []string{"~/.ssh", "~/a", "~/a/b", "~/a/b/c", "~/proj", "~/proj/src", "~/proj/secrets", "~/proj/secrets/x", "~/proj/.git", "~/proj/out", "~/proj/in", "~/proj/s", "~/proj/up", "~/proj/up/a", "~/proj/tools", "~/proj/new"}
	var mounts []string
	for _, p := range paths {
		mounts = append(mounts, p+r.pick("", ":ro", ":/x", ":/y:ro", ":~/proj/src", ":~/proj/secrets:ro"))
	}
	values := map[string]string{
		"root.image": r.quoted("a:1", "b:2"), "root.dir": r.quoted("~/a", "src"), "root.user": r.quoted("me", "root", "7", "0:7"),
		"root.groups": r.quoted("drop", "keep"), "root.boottime": r.quoted("host", "zero"),
		"files.project": r.quoted("write", "read", "review", "none"), "files.git": r.quoted("read", "write"), "files.parent": r.quoted("none", "review"),
		"files.read": r.some(paths...), "files.write": r.some(paths...), "files.mounts": r.some(mounts...), "files.capture": r.some(paths...), "files.caches": r.some(paths...),
		"files.hide": r.some("secrets", "src", "secrets/x", "s"), "files.tmpfs": r.some("/x", "~/proj/secrets", "~/a"),
		"files.volumes": r.some("v:/v", "v:/w:ro", "w:/v:ro"), "files.devices": r.some("gpu", "/dev/kvm"), "files.home": r.quoted("empty", "kept"), "files.git_user": r.pick("true", "false"),
		"network.mode":  r.quoted("none", "on", "slirp", "pasta", "builtin", "host", "join:x"),
		"network.allow": r.some("@npm", "*.example.org", "a.example.org", "a.example.org:443", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16:5432", "192.0.2.1", "192.0.2.1:53/udp", "203.0.113.0/24"),
		"network.ports": r.some("80:80", "127.0.0.1:80:80", "80:80/udp"),
		"limits.memory": r.quoted("1G", "2G"), "limits.cpus": r.pick("1", "2.5"), "limits.pids": r.pick("10", "5000", "4096"), "limits.time": r.quoted("1m", "5m", "1h"),
		"limits.memory_high": r.quoted("1G", "2G"), "limits.swap": r.quoted("0", "1G", "2G"), "limits.tmpfs": r.quoted("1M", "1G"), "limits.cpu_weight": r.pick("50", "100", "200"),
		"limits.cpuset": r.quoted("0", "0-1", "1-2"), "limits.io_weight": r.pick("50", "100", "200"), "limits.io_read": r.quoted("1M", "2M"), "limits.io_write": r.quoted("1M", "2M"),
		"limits.enforce": r.quoted("required", "best-effort"),
		"env.pass":       r.some("CI", "LANG", "A_TOKEN", "A_*", "A_B_*", "A_B"), "env.set": "{ A_TOKEN = 'x' }",
		"harden.seccomp": r.quoted("default", "strict", "off"), "harden.syscalls": r.some("bpf", "io_uring_setup"), "harden.cap_add": r.some("NET_RAW", "SYS_ADMIN"), "harden.cap_drop": r.some("NET_RAW", "SYS_ADMIN"),
		"harden.require": r.quoted("full", "single-id", "outer-proc", "unlimited", "none"), "harden.nested": r.pick("true", "false"), "harden.set_uid": r.pick("true", "false"),
	}
	keys := sortedNames(values)
	r.rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var lines []string
	for _, key := range keys[:r.rnd.Intn(6)] {
		lines = append(lines, key+" = "+values[key])
	}
	return strings.Join(lines, "\n")
}

// A key that no random profile has is not tested.
func TestRandomProfilesHaveEveryKey(t *testing.T) {
	r := newRandom(t, rand.New(rand.NewSource(1)))
	seen := map[string]bool{}
	for range 2000 {
		for line := range strings.Lines(r.profile()) {
			key, _, _ := strings.Cut(line, " = ")
			seen[key] = true
		}
	}
	for _, k := range profileKeys {
		if !seen[k.path()] {
			t.Errorf("%s: no random profile has it", k.path())
		}
	}
}

// abilities is what a payload can do, as numbers: more is wider.
func abilities(h house, p Profile) map[string]float64 {
	out := map[string]float64{}
	can := func(what string, really bool) {
		if really {
			out[what] = 1
		}
	}
	for _, name := range []string{"home/.ssh/id", "home/a/b/c", "home/a/other", "home/proj/src/x", "home/proj/secrets/x", "home/proj/.git/config", "home/proj/tools/agent/x", "home/proj/tools/y", "home/other"} {
		out["file "+name] = float64(reach(h, p, h.path(name)))
	}
	can("change the project after review", p.Files.Project.V == AccessReview || p.Files.Project.V == AccessWrite)
	can("leave files beside the project", p.Files.Parent.V == ParentReview)
	can("git", p.Files.Git.V == AccessWrite)
	can("a home that is kept", p.Files.Home.V == HomeKept)
	can("git's user", p.Files.GitUser.V)
	can("image "+p.Root.Image.V, p.Root.Image.Set)
	can("root in "+p.Root.Dir.V, p.Root.Dir.Set)
	for _, s := range p.Files.Caches.Values() {
		if real, ok := resolve(s); ok {
			can("keep a cache over "+real.path, true)
		}
	}
	for _, d := range p.Files.Devices.Values() {
		can("device "+d, true)
	}
	for _, v := range p.Files.Volumes.Values() {
		can("read volume "+v.Name, true)
		can("write volume "+v.Name, !v.ReadOnly)
	}
	networkAbilities(p.Network, can)
	limitAbilities(p.Limits, out)
	var caller []string
	for _, n := range []string{"CI", "LANG", "A_TOKEN", "A_X", "A_B", "A_B_C", "A_B_TOKEN", "B"} {
		caller = append(caller, n+"=v")
	}
	for _, kv := range BuildEnv(EnvInput{Caller: caller, Pass: p.Env.Pass.Values()}) {
		can("env "+kv, true)
	}
	out["seccomp"] = map[Seccomp]float64{SeccompOff: 2, SeccompDefault: 1}[p.Harden.Seccomp.V]
	can("nested", p.Harden.Nested.V)
	can("set-user-ID", p.Harden.SetUID.V)
	for _, c := range p.Harden.Syscalls.Values() {
		can("call "+c, true)
	}
	for _, c := range p.Harden.CapAdd.Values() {
		can(c, !slices.Contains(p.Harden.CapDrop.Values(), c))
	}
	for _, l := range []Level{LevelFull, LevelSingleID, LevelOuterProc, LevelUnlimited} {
		can("level "+string(l), p.Harden.Require.V.Accepts(l))
	}
	u := p.Root.User.V
	can("root", u.Kind == UserRoot || u.Kind == UserID && u.UID == 0)
	can("groups", p.Root.Groups.V == GroupsKeep)
	can("boottime", p.Root.BootTime.V == BootTimeHost)
	return out
}

func limitAbilities(l Limits, out map[string]float64) {
	limit := func(what string, set bool, v, otherwise float64) {
		if out[what] = otherwise; set {
			out[what] = v
		}
	}
	limit("memory", l.Memory.Set, float64(l.Memory.V), math.Inf(1))
	limit("memory, not slowed", l.MemoryHigh.Set, float64(l.MemoryHigh.V), math.Inf(1))
	limit("swap", l.Swap.Set || l.Memory.Set, float64(l.Swap.V), math.Inf(1)) // a limit of memory alone allows none
	const share = 1 << 28                                                     // stands for the share of memory that is the default
	limit("tmpfs", l.Tmpfs.Set, float64(l.Tmpfs.V), share)
	if l.Tmpfs.From.Layer == LayerProject {
		out["tmpfs"] = min(out["tmpfs"], share) // as it is resolved
	}
	limit("weight of processors", l.CPUWeight.Set, float64(l.CPUWeight.V), 100)
	limit("weight of disks", l.IOWeight.Set, float64(l.IOWeight.V), 100)
	limit("reading", l.IORead.Set, float64(l.IORead.V), math.Inf(1))
	limit("writing", l.IOWrite.Set, float64(l.IOWrite.V), math.Inf(1))
	for n := range 3 {
		if !l.CPUSet.Set || slices.Contains(l.CPUSet.V.Numbers(), n) {
			out["processor "+string(rune('0'+n))] = 1
		}
	}
	limit("cpus", l.CPUs.Set, l.CPUs.V, math.Inf(1))
	limit("pids", l.Pids.Set, float64(l.Pids.V), 4096)
	limit("time", l.Time.Set, float64(l.Time.V), math.Inf(1))
	limit("unenforced", l.Enforce.V == EnforceBestEffort, 1, 0)
}

// target is somewhere to connect to: a name, with the address it has, or an
// address.
type target struct {
	service, name string
	addr          string
	port          uint16
	udp           bool
}

func networkAbilities(n Network, can func(string, bool)) {
	can("the host's network", n.Mode.V == NetHost)
	can("join "+string(n.Mode.V), strings.HasPrefix(string(n.Mode.V), "join:"))
	if n.Mode.V == NetNone {
		return
	}
	for _, t := range []target{
		{"npm", "registry.example", "198.51.100.1", 443, false}, {"", "a.example.org", "198.51.100.2", 443, false}, {"", "a.example.org", "198.51.100.2", 80, false},
		{"", "b.a.example.org", "198.51.100.3", 443, false}, {"", "example.org", "198.51.100.4", 443, false}, {"", "", "10.1.2.3", 5432, false}, {"", "", "10.1.2.3", 443, false},
		{"", "", "10.2.2.3", 443, false}, {"", "", "192.0.2.1", 443, false}, {"", "", "192.0.2.1", 53, true}, {"", "", "203.0.113.9", 443, false}, {"", "other.example", "198.51.100.9", 443, false},
	} {
		can("reach "+t.service+t.name+" "+t.addr+" "+string(rune(t.port)), t.reachable(n))
	}
	for _, p := range n.Ports.Values() {
		can("publish "+p.String(), true)
	}
}

func (t target) reachable(n Network) bool {
	if !n.Allow.Set {
		return !netip.MustParseAddr(t.addr).IsPrivate() || n.Mode.V == NetHost
	}
	return slices.ContainsFunc(n.Allow.Values(), func(r Rule) bool {
		switch {
		case r.Service != "":
			return r.Service == t.service
		case r.UDP != t.udp || r.Port != 0 && r.Port != t.port || r.Port == 0 && t.port != 443 && t.port != 80:
			return false
		case r.Prefix.IsValid():
			return t.name == "" && r.Prefix.Contains(netip.MustParseAddr(t.addr))
		case r.Wildcard:
			return strings.HasSuffix(t.name, "."+r.Name)
		}
		return t.name == r.Name
	})
}

// reach is 2 where a host file can be written, 1 where it can be read: by the
// project's own place if nothing covers that, or by an entry that shows it.
func reach(h house, p Profile, file string) int {
	proj, best := h.path("home/proj"), 0
	covered := func(masks []string) bool {
		return slices.ContainsFunc(masks, func(m string) bool {
			r, ok := resolve(m)
			return within(file, m) || ok && within(file, r.path)
		})
	}
	level := func(n int, write bool) int {
		if write {
			return max(n, 2)
		}
		return max(n, 1)
	}
	entry := func(src, dst string, write bool) {
		r, ok := resolve(src)
		if !ok || !within(file, r.path) {
			return
		}
		// at its own place, what is hidden below stays hidden; elsewhere it shows
		if dst == src && covered(below(p.Files.Hide.Values(), r.path)) || dst == src && covered(below(p.Files.Tmpfs.Values(), r.path)) {
			return
		}
		best = level(best, write)
	}
	if within(file, proj) && p.Files.Project.V != AccessNone && !covered(p.Files.Hide.Values()) && !covered(p.Files.Tmpfs.Values()) {
		ro := covered(append(p.Files.Read.Values(), proj+"/tools/agent"))
		best = level(0, p.Files.Project.V == AccessWrite && !ro && !strings.Contains(file, "/.git/"))
	}
	for _, s := range p.Files.Read.Values() {
		entry(s, s, false)
	}
	for _, s := range p.Files.Write.Values() {
		entry(s, s, true)
	}
	for _, s := range p.Files.Capture.Values() {
		if r, ok := resolve(s); !ok || r.path != h.path("home") { // which stands for the home inside
			entry(s, s, false)
		}
	}
	for _, s := range p.Files.Caches.Values() {
		entry(s, s, false)
	}
	for _, m := range p.Files.Mounts.Values() {
		entry(m.Src, m.Dst, !m.ReadOnly)
	}
	return best
}

// below keeps the masks that lie strictly below a path: one at or above it is
// undone by showing the path again.
func below(masks []string, path string) []string {
	return slices.DeleteFunc(slices.Clone(masks), func(m string) bool {
		r, ok := resolve(m)
		return ok && within(path, r.path)
	})
}
