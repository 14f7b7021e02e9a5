package harden

import (
	"errors"
	"slices"
	"testing"
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

func TestPolicyNamed(t *testing.T) {
	for _, name := range []string{"default", "off"} {
		if p, err := PolicyNamed(name); err != nil || p.Name != name {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	var planned *PlannedPolicyError
	if _, err := PolicyNamed("strict"); !errors.As(err, &planned) {
		t.Errorf("strict: %v", err)
	}
	var unknown *UnknownPolicyError
	if _, err := PolicyNamed("none"); !errors.As(err, &unknown) {
		t.Errorf("none: %v", err)
	}
	if got := PolicyNames(); !slices.Equal(got, []string{"default", "strict", "off"}) {
		t.Error(got)
	}
}
