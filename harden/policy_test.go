package harden

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestRefusesKeyrings(t *testing.T) {
	allowKeyctl := Rule{Syscalls: []string{"keyctl"}, When: []Condition{ArgIs(0, 0)}}
	for _, test := range []struct {
		name   string
		policy Policy
		want   bool
	}{
		{"default", Default(), true},
		{"off", Off(), false},
		{"nothing", Policy{}, false},
		{"an allowlist without them", Policy{Default: ENOSYS, Rules: []Rule{{Syscalls: []string{"read"}}}}, true},
		{"an allowlist with one", Policy{Default: ENOSYS, Rules: []Rule{{Syscalls: []string{"add_key"}}}}, false},
		{"some arguments pass", Default().With(allowKeyctl), false},
		{"only some are refused", Policy{Rules: []Rule{{Action: EPERM, Syscalls: keyringCalls, When: []Condition{ArgIs(0, 1)}}}}, false},
		{"one is missing", Policy{Rules: []Rule{{Action: EPERM, Syscalls: keyringCalls[:2]}}}, false},
	} {
		if got := RefusesKeyrings(test.policy); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestWithLeavesTheOriginal(t *testing.T) {
	p := Default()
	before := len(p.Rules)
	q := p.With(Rule{Syscalls: []string{"bpf"}})
	if len(p.Rules) != before || len(q.Rules) != before+1 || !q.mayAllow("bpf") || p.mayAllow("bpf") {
		t.Error(p, q)
	}
}

// Every system call of the table is in one list: a new one is looked at, and none is forgotten.
func TestEveryCallIsJudged(t *testing.T) {
	in := map[string]int{}
	for _, list := range [][]string{needed, wider, mountCalls, keyringCalls, kernelCalls, refusedCalls, absentCalls} {
		for _, name := range list {
			in[name]++
		}
	}
	for _, row := range syscalls {
		if in[row.name] != 1 {
			t.Errorf("%s stands in %d lists", row.name, in[row.name])
		}
		delete(in, row.name)
	}
	for name := range in {
		t.Errorf("%s is no system call of the table", name)
	}
}

// What a profile adds passes, and what the policy refuses by arguments stays refused.
func TestProgramFor(t *testing.T) {
	const user = unix.CLONE_NEWUSER
	for _, c := range []struct {
		nested bool
		add    []string
		call   call
		want   Action
	}{
		{false, nil, call{nr: unix.SYS_KCMP}, EPERM},
		{false, []string{"kcmp"}, call{nr: unix.SYS_KCMP}, Allow},
		{false, []string{"kcmp"}, call{nr: unix.SYS_BPF}, EPERM},
		{false, []string{"ioctl"}, call{nr: unix.SYS_IOCTL, args: [6]uint64{0, unix.TIOCSTI}}, EPERM},
		{false, []string{"clone", "unshare"}, call{nr: unix.SYS_UNSHARE, args: [6]uint64{user}}, EPERM},
		{true, nil, call{nr: unix.SYS_UNSHARE, args: [6]uint64{user}}, Allow},
		{true, nil, call{nr: unix.SYS_CLONE, args: [6]uint64{user}}, Allow},
		{true, nil, call{nr: unix.SYS_MOUNT}, Allow},
		{true, nil, call{nr: unix.SYS_CLONE3}, ENOSYS},
		{true, nil, call{nr: unix.SYS_KEYCTL}, EPERM},
		{true, nil, call{nr: unix.SYS_OPEN_BY_HANDLE_AT}, EPERM},
		{true, nil, call{nr: unix.SYS_IOCTL, args: [6]uint64{0, unix.TIOCSTI}}, EPERM},
	} {
		for _, policy := range []string{"default", "strict"} {
			p, err := ProgramFor(policy, c.nested, c.add)
			if err != nil {
				t.Fatal(err)
			}
			target, _ := abiOf(HostArch())
			c.call.audit = target.audit
			got, err := interpret(p.Filter, c.call)
			if err != nil || got.verdict != c.want.verdict() {
				t.Errorf("%s, nested %v, with %v: %+v: %s, %v; want %s", policy, c.nested, c.add, c.call, answer(got.verdict), err, answer(c.want.verdict()))
			}
		}
	}
	for _, name := range []string{"clone3", "no_such_call"} {
		if _, err := ProgramFor("default", false, []string{name}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
