package sandbox

import (
	"slices"
	"testing"

	"sbx/profiles"
)

// A further command has the payload's environment, laid over by the caller's, and nothing of its terminal.
func TestFurtherCommand(t *testing.T) {
	s := &Spec{
		Command: []string{"make"}, Env: []string{"PATH=/a:/b", "A=1", "SHELL=/bin/dash", "B=2"}, Workdir: "/p",
		Terminals: [3]bool{true, true, true}, Network: profiles.NetNone,
	}
	got := s.with(&ExecRequest{Command: []string{"ls", "-l"}, Env: []string{"A=x=y", "C="}, Workdir: "relative"})
	if want := []string{"PATH=/a:/b", "SHELL=/bin/dash", "B=2", "A=x=y", "C="}; !slices.Equal(got.Env, want) {
		t.Errorf("environment %q", got.Env)
	}
	if got.Terminals != [3]bool{} || got.Workdir != "/p" || !slices.Equal(got.Attempts, []string{"/a/ls", "/b/ls"}) {
		t.Errorf("%+v", got)
	}
	if shell := s.with(&ExecRequest{}); !slices.Equal(shell.Attempts, []string{"/bin/dash"}) {
		t.Errorf("without a command: %q", shell.Attempts)
	}
	if len(s.Env) != 4 || s.Command[0] != "make" {
		t.Error("the payload's own spec has changed")
	}
}
