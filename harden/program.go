package harden

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A Program is a policy, compiled.
type Program struct {
	Policy string
	// Filter is what seccomp(SECCOMP_SET_MODE_FILTER) takes; none for a policy that allows everything.
	Filter []unix.SockFilter
	// RefusesKeyrings is RefusesKeyrings of the policy.
	RefusesKeyrings bool
}

// ProgramNamed is the policy that `[harden] seccomp` names, compiled for this architecture. Compiling takes
// longer than many a sandbox lives, so the programs of all names are part of sbx; a test holds them against
// Compile. The error is a *UnknownPolicyError.
func ProgramNamed(name string) (Program, error) {
	for _, p := range programs {
		if p.Policy == name {
			return p, nil
		}
	}
	return Program{}, &UnknownPolicyError{name}
}

// ProgramFor is the policy of a name, with what a profile adds to it: namespaces of the sandbox's own, and further
// calls by name. The error is an *UnknownPolicyError or a *SyscallError.
func ProgramFor(name string, nested bool, calls []string) (Program, error) {
	if !nested && len(calls) == 0 || name == "off" {
		return ProgramNamed(name)
	}
	i := slices.IndexFunc(policies, func(p policyMaker) bool { return p.name == name })
	if i < 0 {
		return Program{}, &UnknownPolicyError{name}
	}
	policy, err := policies[i].make().allowing(calls)
	if err != nil {
		return Program{}, err
	}
	if nested {
		policy = policy.nested()
	}
	filter, err := Compile(policy, HostArch())
	return Program{name, filter, RefusesKeyrings(policy)}, err
}
