package harden

import "golang.org/x/sys/unix"

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
