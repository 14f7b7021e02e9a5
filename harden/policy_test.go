package harden

import "testing"

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
