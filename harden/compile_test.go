package harden

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files")
	//go:embed testdata
	testdata embed.FS
)

var bothArchs = []Arch{AMD64, ARM64}

// sigchld is the exit signal in the flags of clone(2).
const sigchld = uint64(unix.SIGCHLD)

// mustCompile also holds the program to what the kernel demands of one (bpf_check_classic).
func mustCompile(t *testing.T, p Policy, arch Arch) []unix.SockFilter {
	t.Helper()
	filter, err := Compile(p, arch)
	if err != nil {
		t.Fatalf("%s: %v", arch, err)
	}
	if n := len(filter); n > 0 && filter[n-1].Code&7 != unix.BPF_RET {
		t.Fatalf("%s: the last instruction is no return", arch)
	}
	for pc, in := range filter {
		if in.Code&7 == unix.BPF_JMP && max(targets(pc, in)[0], targets(pc, in)[len(targets(pc, in))-1]) >= len(filter) {
			t.Fatalf("%s: the jump at %d leaves the program", arch, pc)
		}
	}
	return filter
}

// check compares the compiled program with the policy for one call.
func check(t *testing.T, p Policy, arch Arch, filter []unix.SockFilter, c call) {
	t.Helper()
	got, err := interpret(filter, c)
	if err != nil {
		t.Fatalf("%s %+v: %v\n%s", arch, c, err, disassemble(filter))
	}
	if want := expected(p, arch, ENOSYS, c); got.verdict != want.verdict() {
		t.Fatalf("%s %+v: %s, want %s\n%+v\n%s", arch, c, answer(got.verdict), answer(want.verdict()), p, disassemble(filter))
	}
}

func TestDefaultAnswers(t *testing.T) {
	const high = 1 << 32
	for _, test := range []struct {
		name string
		args [6]uint64
		want Action
	}{
		{"read", [6]uint64{}, Allow},
		{"execve", [6]uint64{}, Allow},
		{"ptrace", [6]uint64{}, Allow},
		{"personality", [6]uint64{0}, Allow},
		{"personality", [6]uint64{0xffffffff}, Allow},
		{"personality", [6]uint64{0x0040000}, Allow}, // ADDR_NO_RANDOMIZE: gdb
		{"personality", [6]uint64{0x0400000}, EPERM}, // READ_IMPLIES_EXEC
		{"personality", [6]uint64{0x0440000}, EPERM},
		{"socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, Allow},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC}, Allow},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_PACKET}, EPERM},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_PACKET | unix.SOCK_NONBLOCK}, EPERM},
		{"socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, EAFNOSUPPORT},
		{"socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, EAFNOSUPPORT},
		{"socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, EAFNOSUPPORT},
		{"socket", [6]uint64{high | unix.AF_VSOCK, unix.SOCK_STREAM}, EAFNOSUPPORT},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, Allow},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, EPROTONOSUPPORT},
		{"socketpair", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, Allow},
		{"setsid", [6]uint64{}, Allow},
		{"chroot", [6]uint64{}, Allow},
		{"clone", [6]uint64{sigchld}, Allow},
		{"clone", [6]uint64{0x3d0f00}, Allow}, // a thread, by glibc
		{"clone", [6]uint64{0x80 | sigchld}, Allow},
		{"clone", [6]uint64{unix.CLONE_NEWUSER | sigchld}, EPERM},
		{"clone", [6]uint64{high | unix.CLONE_NEWNS}, EPERM},
		{"clone", [6]uint64{unix.CLONE_NEWCGROUP}, EPERM},
		{"unshare", [6]uint64{0}, Allow},
		{"unshare", [6]uint64{unix.CLONE_FS | unix.CLONE_FILES}, Allow},
		{"unshare", [6]uint64{unix.CLONE_NEWUSER}, EPERM},
		{"unshare", [6]uint64{unix.CLONE_NEWTIME}, EPERM},
		{"unshare", [6]uint64{0x100000}, EPERM}, // UNSHARE_EMPTY_MNTNS
		{"unshare", [6]uint64{high}, EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCGWINSZ}, Allow},
		{"ioctl", [6]uint64{0, unix.TIOCSCTTY}, Allow},
		{"ioctl", [6]uint64{0, unix.TIOCSTI}, EPERM},
		{"ioctl", [6]uint64{0, unix.TIOCSETD}, EPERM},
		{"ioctl", [6]uint64{0, high | unix.TIOCSTI}, EPERM},
		{"ioctl", [6]uint64{0, 0xffffffff<<32 | unix.TIOCLINUX}, EPERM},
	} {
		for _, a := range abis {
			nr, _ := SyscallNumber(a.arch, test.name)
			wantAnswer(t, a.arch, call{a.audit, uint32(nr), test.args}, test.name, test.want)
		}
	}
}

// What is refused whatever its arguments, name by name, by both policies and on both architectures.
var refusedAlways = map[Action][]string{
	EPERM: {
		"io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd",
		"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
		"mount", "umount2", "pivot_root", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
		"setns", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "name_to_handle_at", "open_by_handle_at",
		"settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
	},
	ENOSYS: {"clone3"},
}

func TestRefusedAlways(t *testing.T) {
	arguments := [][6]uint64{{}, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}
	for _, p := range []Policy{Default(), Strict()} {
		for _, a := range abis {
			filter := mustCompile(t, p, a.arch)
			for want, names := range refusedAlways {
				for _, name := range names {
					nr, _ := SyscallNumber(a.arch, name)
					if nr < 0 {
						t.Errorf("%s has no %s", a.arch, name)
					}
					for _, args := range arguments {
						if got, err := interpret(filter, call{a.audit, uint32(nr), args}); err != nil || got.verdict != want.verdict() {
							t.Errorf("%s, %s: %s: %s %v, want %s", p.Name, a.arch, name, answer(got.verdict), err, answer(want.verdict()))
						}
					}
				}
			}
		}
	}
}

// Each flag that makes a namespace, by each call that has flags in a register, with the bits that the kernel cuts off set as well.
func TestNamespacesAreRefused(t *testing.T) {
	for _, a := range abis {
		for _, flag := range []uint64{unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET} {
			for _, name := range []string{"clone", "unshare"} {
				nr, _ := SyscallNumber(a.arch, name)
				wantAnswer(t, a.arch, call{a.audit, uint32(nr), [6]uint64{flag}}, name, EPERM)
				wantAnswer(t, a.arch, call{a.audit, uint32(nr), [6]uint64{1<<63 | flag}}, name, EPERM)
			}
		}
		nr, _ := SyscallNumber(a.arch, "unshare")
		wantAnswer(t, a.arch, call{a.audit, uint32(nr), [6]uint64{unix.CLONE_NEWTIME}}, "unshare", EPERM)
	}
}

// Of all families of sockets four pass, and of all protocols of netlink one.
func TestFamiliesAreRefused(t *testing.T) {
	for _, a := range abis {
		socket, _ := SyscallNumber(a.arch, "socket")
		pair, _ := SyscallNumber(a.arch, "socketpair")
		for family := range uint64(256) {
			want := EAFNOSUPPORT
			switch family {
			case unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK:
				want = Allow
			}
			for _, nr := range []int{socket, pair} {
				wantAnswer(t, a.arch, call{a.audit, uint32(nr), [6]uint64{family, unix.SOCK_DGRAM}}, "a socket", want)
			}
		}
		for protocol := range uint64(256) {
			want := EPROTONOSUPPORT
			if protocol == unix.NETLINK_ROUTE {
				want = Allow
			}
			wantAnswer(t, a.arch, call{a.audit, uint32(socket), [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, protocol}}, "netlink", want)
		}
	}
}

// Through another ABI nothing passes but the exits, whatever its number means there: i386 and 32-bit arm, x32, and numbers
// that no table of the native ABI reaches.
func TestNothingPassesByOtherABIs(t *testing.T) {
	for _, p := range []Policy{Default(), Strict()} {
		for _, a := range abis {
			filter := mustCompile(t, p, a.arch)
			for _, audit := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64} {
				for number := range uint32(1024) {
					for _, c := range []call{{audit: audit, nr: number}, {audit: audit, nr: x32Bit | number}} {
						if audit == a.audit && c.nr < a.limit {
							continue // native
						}
						want := ENOSYS
						if harmlessExit(a.arch, c) {
							want = Allow
						}
						if got, err := interpret(filter, c); err != nil || got.verdict != want.verdict() {
							t.Errorf("%s, %s: %#x of %#x: %s %v, want %s", p.Name, a.arch, c.nr, c.audit, answer(got.verdict), err, answer(want.verdict()))
						}
					}
				}
			}
		}
	}
}

func TestOtherABIs(t *testing.T) {
	for _, test := range []struct {
		arch  Arch
		audit uint32
		nr    uint32
		want  Action
	}{
		{AMD64, unix.AUDIT_ARCH_I386, 20, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_I386, 252, Allow},
		{AMD64, unix.AUDIT_ARCH_I386, 231, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_AARCH64, 64, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_X86_64, x32Bit | 39, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_X86_64, x32Bit | 231, Allow},
		{AMD64, unix.AUDIT_ARCH_X86_64, 514, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_X86_64, 511, ENOSYS},
		{AMD64, unix.AUDIT_ARCH_X86_64, ^uint32(0), Allow},
		{AMD64, unix.AUDIT_ARCH_X86_64, 1 << 31, ENOSYS},
		{ARM64, unix.AUDIT_ARCH_ARM, 20, ENOSYS},
		{ARM64, unix.AUDIT_ARCH_ARM, 248, Allow},
		{ARM64, unix.AUDIT_ARCH_I386, 252, ENOSYS},
		{ARM64, unix.AUDIT_ARCH_AARCH64, 514, ENOSYS},
		{ARM64, unix.AUDIT_ARCH_AARCH64, x32Bit, ENOSYS},
		{ARM64, unix.AUDIT_ARCH_AARCH64, ^uint32(0), Allow},
	} {
		wantAnswer(t, test.arch, call{audit: test.audit, nr: test.nr}, fmt.Sprintf("%#x of %#x", test.nr, test.audit), test.want)
	}
}

func wantAnswer(t *testing.T, arch Arch, c call, name string, want Action) {
	t.Helper()
	filter := mustCompile(t, Default(), arch)
	got, err := interpret(filter, c)
	if err != nil {
		t.Fatal(err)
	}
	if got.verdict != want.verdict() {
		t.Errorf("%s: %s %#x: %s, want %s", arch, name, c.args, answer(got.verdict), answer(want.verdict()))
	}
	check(t, Default(), arch, filter, c)
}

// What always passes must be seen to by the kernel before anything is called, or it cannot answer from its bitmap: for both
// policies, with what a profile adds to them, and under the filter that announces renames as well.
func TestPassingIsAnsweredAhead(t *testing.T) {
	added, err := Strict().allowing([]string{"bpf", "ptrace"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range abis {
		for _, p := range []Policy{Default(), Strict(), Default().nested(), added.nested()} {
			filter := mustCompile(t, p, a.arch)
			for nr := range uint32(512) {
				arguments := slices.ContainsFunc(p.Rules, func(r Rule) bool { return len(r.When) > 0 && r.names(SyscallName(a.arch, int(nr))) })
				passes := !arguments && expected(p, a.arch, ENOSYS, call{audit: a.audit, nr: nr}) == Allow
				if got := constantAllow(filter, a.audit, nr); passes && !got || got && expected(p, a.arch, ENOSYS, call{audit: a.audit, nr: nr}) != Allow {
					t.Errorf("%s, %s: %s is answered ahead: %v", p.Name, a.arch, SyscallName(a.arch, int(nr)), got)
				}
			}
		}
		announcing, err := Announcing(a.arch, "rename", "renameat", "renameat2")
		read, _ := SyscallNumber(a.arch, "read")
		if err != nil || !constantAllow(announcing, a.audit, uint32(read)) {
			t.Errorf("%s: a call that is not announced is not answered ahead: %v", a.arch, err)
		}
	}
}

// constantAllow is seccomp_is_const_allow of kernel/seccomp.c (Linux 5.11): it follows a filter with the number and the
// architecture alone, and gives up at whatever else is loaded, and at what it does not know.
func constantAllow(filter []unix.SockFilter, audit, nr uint32) bool {
	m := machine{}
	for m.pc < len(filter) && !m.done {
		if in := filter[m.pc]; in.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && in.K != offNr && in.K != offArch {
			return false
		}
		if m.step(filter[m.pc], call{audit: audit, nr: nr}) != nil {
			return false
		}
	}
	return m.done && m.verdict == unix.SECCOMP_RET_ALLOW
}

// Where there is no bitmap, the way through the program has to be short.
func TestPassingIsShort(t *testing.T) {
	for _, a := range abis {
		longest := 0
		filter := mustCompile(t, Default(), a.arch)
		for nr := range min(a.limit, 1024) {
			m, err := interpret(filter, call{audit: a.audit, nr: nr})
			if err != nil {
				t.Fatal(err)
			}
			conditional := map[string]bool{"clone": true, "ioctl": true, "unshare": true, "socket": true, "socketpair": true, "personality": true}[SyscallName(a.arch, int(nr))]
			if m.loadedArg != conditional {
				t.Errorf("%s: %s looks at arguments: %v", a.arch, SyscallName(a.arch, int(nr)), m.loadedArg)
			}
			longest = max(longest, m.steps)
		}
		t.Logf("%s: %d instructions, %d at most for one call", a.arch, len(filter), longest)
		if longest > 20 {
			t.Errorf("%s: %d instructions for one call", a.arch, longest)
		}
	}
}

func TestGolden(t *testing.T) {
	for _, arch := range bothArchs {
		golden(t, Default(), arch)
		golden(t, Strict(), arch)
	}
}

func golden(t *testing.T, p Policy, arch Arch) {
	name := filepath.Join("testdata", p.Name+"_"+string(arch)+".txt")
	got := disassemble(mustCompile(t, p, arch))
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := testdata.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", name, got)
	}
}

// The compiled programs are part of sbx, those of both architectures written from one.
func TestProgramsAreThePolicies(t *testing.T) {
	for _, arch := range bothArchs {
		name := "programs_" + string(arch) + ".go"
		got := programsText(t, arch)
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from what its policies compile to (go test -update writes it anew)", name)
		}
	}
}

func programsText(t *testing.T, arch Arch) string {
	var b strings.Builder
	b.WriteString("// Code generated by go test ./harden -update; DO NOT EDIT.\n\npackage harden\n\nimport \"golang.org/x/sys/unix\"\n\nvar programs = []Program{\n")
	for _, p := range policies {
		fmt.Fprintf(&b, "\t{%q, []unix.SockFilter{\n", p.name)
		for _, in := range mustCompile(t, p.make(), arch) {
			fmt.Fprintf(&b, "\t\t{Code: %#x, Jt: %d, Jf: %d, K: %#x},\n", in.Code, in.Jt, in.Jf, in.K)
		}
		fmt.Fprintf(&b, "\t}, %v},\n", RefusesKeyrings(p.make()))
	}
	b.WriteString("}\n")
	text, err := format.Source([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProgramNamed(t *testing.T) {
	for _, name := range PolicyNames() {
		p, err := ProgramNamed(name)
		if err != nil || (len(p.Filter) == 0) != (name == "off") || p.RefusesKeyrings != (name != "off") {
			t.Errorf("%s: %d instructions, refuses keyrings: %v, error %v", name, len(p.Filter), p.RefusesKeyrings, err)
		}
	}
	var unknown *UnknownPolicyError
	if _, err := ProgramNamed("none"); !errors.As(err, &unknown) {
		t.Errorf("none: %v", err)
	}
}

func TestOffIsNoProgram(t *testing.T) {
	for _, p := range []Policy{{}, Off(), {Rules: []Rule{{Syscalls: []string{"read"}}}}} {
		if filter, err := Compile(p, HostArch()); filter != nil || err != nil {
			t.Errorf("%+v: %v, %v", p, filter, err)
		}
	}
}

// A rule with conditions for every call makes a program in which much is far away.
func TestLongJumps(t *testing.T) {
	for _, arch := range bothArchs {
		p := bigPolicy()
		filter := mustCompile(t, p, arch)
		if !strings.Contains(disassemble(filter), "  ja  ") {
			t.Fatalf("%s: no long jump in %d instructions", arch, len(filter))
		}
		a, _ := abiOf(arch)
		for nr := range uint32(600) {
			for arg := range uint64(5) {
				check(t, p, arch, filter, call{a.audit, nr, [6]uint64{arg, arg, 0, arg << 32}})
			}
		}
	}
}

func bigPolicy() Policy {
	p := Policy{Name: "big", Default: ENOSYS}
	for i, row := range syscalls {
		when := []Condition{ArgIs(0, uint32(i%5)), ArgMaskIs(1, 7, uint32(i%3)), Arg64HasAny(3, 3<<32)}
		p.Rules = append(p.Rules, Rule{Action: Action(i % 40), Syscalls: []string{row.name}, When: when[i%3:]})
	}
	return p
}

func TestCompileRefuses(t *testing.T) {
	rule := func(c Condition) Policy {
		return Policy{Name: "x", Default: EPERM, Rules: []Rule{{Syscalls: []string{"read"}, When: []Condition{c}}}}
	}
	huge := Policy{Name: "x", Default: EPERM}
	for i := range 3000 {
		huge.Rules = append(huge.Rules, Rule{Syscalls: []string{"read"}, When: []Condition{ArgIs(0, uint32(i+1))}})
	}
	for _, test := range []struct {
		policy Policy
		arch   Arch
		want   string
	}{
		{Default(), "riscv64", `no table of system calls for architecture "riscv64"`},
		{Policy{Name: "x", Rules: []Rule{{Action: EPERM, Syscalls: []string{"raed"}}}}, AMD64, `no system call is called "raed"`},
		{rule(ArgIs(6, 1)), AMD64, "there are six"},
		{rule(ArgIs(-1, 1)), AMD64, "there are six"},
		{rule(ArgMaskIs(0, 1, 2)), ARM64, "outside of mask"},
		{Policy{Name: "x", Default: 4096}, AMD64, "out of range"},
		{Policy{Name: "x", Rules: []Rule{{Action: -2, Syscalls: []string{"read"}}}}, AMD64, "out of range"},
		{huge, AMD64, "the kernel takes 4096"},
	} {
		_, err := Compile(test.policy, test.arch)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// A name that only the other architecture has is no error: there is nothing to refuse here.
func TestCallOfOtherArchitecture(t *testing.T) {
	p := Policy{Name: "x", Rules: []Rule{{Action: EPERM, Syscalls: []string{"open", "openat"}}}}
	if text := disassemble(mustCompile(t, p, ARM64)); !strings.Contains(text, "56 openat") {
		t.Error(text)
	}
}

// FuzzCompile lets the bytes choose a policy and calls, and compares the program with the policy.
func FuzzCompile(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		seed := make([]byte, 100+random.IntN(900))
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := chooser{data}
		p, arch := c.policy(), bothArchs[c.below(2)]
		if p.open() {
			return
		}
		filter := mustCompile(t, p, arch)
		for range 60 {
			check(t, p, arch, filter, c.call(p, arch))
		}
	})
}

// A chooser draws decisions from bytes, noughts after the last.
type chooser struct{ data []byte }

func (c *chooser) byte() byte {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return b
}

func (c *chooser) below(n int) int { return (int(c.byte())<<8 | int(c.byte())) % n }

func (c *chooser) action() Action { return []Action{Allow, Kill, EPERM, ENOSYS, 4095}[c.below(5)] }

func (c *chooser) policy() Policy {
	p := Policy{Name: "fuzz", Default: c.action()}
	for range c.below(30) {
		r := Rule{Action: c.action()}
		first := c.below(len(syscalls))
		for _, row := range syscalls[first:min(first+1+c.below(4), len(syscalls))] {
			r.Syscalls = append(r.Syscalls, row.name)
		}
		for range c.below(3) {
			r.When = append(r.When, c.condition())
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

// interesting are values at which halves, masks and signs go wrong.
var interesting = []uint64{0, 1, 2, 0xff, 0x5412, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 | 0x5412, 1<<32 | 1, 1 << 63, ^uint64(0), 0xffffffff << 32}

func (c *chooser) value() uint64 { return interesting[c.below(len(interesting))] }

func (c *chooser) condition() Condition {
	mask, value, arg := c.value(), c.value(), c.below(6)
	made := []Condition{
		ArgIs(arg, uint32(value)), ArgMaskIs(arg, uint32(mask), uint32(mask&value)), ArgHasAny(arg, uint32(mask)),
		Arg64MaskIs(arg, ^uint64(0), value), Arg64MaskIs(arg, mask, mask&value), Arg64HasAny(arg, mask),
	}[c.below(6)]
	if c.below(2) == 1 {
		return made.Not()
	}
	return made
}

// call prefers numbers that the policy names, and their neighbours.
func (c *chooser) call(p Policy, arch Arch) call {
	a, _ := abiOf(arch)
	out := call{audit: a.audit, nr: uint32(c.below(600))}
	if len(p.Rules) > 0 && c.below(4) > 0 {
		names := p.Rules[c.below(len(p.Rules))].Syscalls
		nr, _ := SyscallNumber(arch, names[c.below(len(names))])
		out.nr = uint32(nr + c.below(3) - 1)
	}
	if c.below(10) == 0 {
		out.nr |= x32Bit
	}
	if c.below(10) == 0 {
		out.audit = []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64, 0}[c.below(4)]
		out.nr = []uint32{1, 252, 248, 20}[c.below(4)]
	}
	for i := range out.args {
		out.args[i] = c.value()
	}
	return out
}
