package review

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestMain is also the process that is killed: it applies or undoes, and ends itself at a step.
func TestMain(m *testing.M) {
	if os.Getenv("REVIEW_DO") == "" {
		os.Exit(m.Run())
	}
	at, _ := strconv.ParseInt(os.Getenv("REVIEW_STEP"), 10, 64)
	var n atomic.Int64
	step = func() {
		if n.Add(1) == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := doOnce(os.Getenv("REVIEW_DO"), os.Getenv("REVIEW_HELD"), Journals(os.Getenv("REVIEW_JOURNALS"))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func doOnce(do, held string, journals Journals) error {
	if do == "serve" {
		return Serve(os.Stdin, held)
	}
	lock, err := journals.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	switch do {
	case "recover":
		_, err := journals.Recover()
		return err
	case "undo":
		a, err := journals.Last(func(*Applied) bool { return true })
		if err != nil || a == nil {
			return errors.Join(err, errors.New("nothing to undo"))
		}
		return journals.Undo(a)
	}
	s, err := Open(held)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.Changes()
	if err != nil {
		return err
	}
	var chosen []*Change
	for _, c := range list {
		if c.Refused == "" {
			chosen = append(chosen, c)
		}
	}
	return journals.Apply(s, chosen, ApplyOptions{Sandbox: "test", Overwrite: do == "overwrite"})
}

// killed does something in a process that is killed at a step, and tells whether it came to its end before.
func (p *project) killed(do string, at int) (ended bool) {
	p.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "REVIEW_DO="+do, "REVIEW_STEP="+strconv.Itoa(at), "REVIEW_HELD="+p.held, "REVIEW_JOURNALS="+string(p.journals))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return true
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("%s, to be killed at step %d: %v\n%s", do, at, err, out)
	}
	return false
}

// stride is how many steps are left out between two kills: none under SBX_TEST_LONG.
func stride() int {
	if os.Getenv("SBX_TEST_LONG") != "" {
		return 1
	}
	return 5
}

// Whatever a kill leaves of an apply or an undo, the next call makes it what was before or what was agreed.
func TestKilledAtEveryStep(t *testing.T) {
	p := newProject(t, Overlay, someFiles)
	before := p.hash()
	p.sandbox(someChanges)
	p.must(p.apply(nil))
	after := p.hash()
	p.must(p.undo())
	is := before
	for _, do := range []string{"apply", "undo"} {
		want := map[string]string{"apply": after, "undo": before}[do]
		for at := 1 + len(do)%2; ; at += stride() {
			ended := p.killed(do, at)
			if !ended && at%3 == 0 { // the next call is killed as well
				p.killed("recover", at/3)
			}
			p.must(doOnce("recover", p.held, p.journals))
			switch got := p.hash(); got {
			case want: // and back again, for the next step
				if !ended {
					p.must(p.undo())
				}
			case is:
				if ended {
					t.Fatalf("%s came to its end and did nothing", do)
				}
			default:
				t.Fatalf("%s, killed at step %d, left\n%s\nwant\n%s\nor\n%s", do, at, got, is, want)
			}
			if ended {
				t.Logf("%s: killed at steps up to %d", do, at)
				is = want
				break
			}
			if got := p.hash(); got != is {
				t.Fatalf("%s, killed at step %d and taken back, is\n%s\nwant\n%s", do, at, got, is)
			}
		}
	}
}
