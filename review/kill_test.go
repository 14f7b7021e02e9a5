package review

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestMain is also the process that is killed: it applies or undoes, and ends itself at a step, or fills a disk there.
func TestMain(m *testing.M) {
	if os.Getenv("REVIEW_DO") == "" {
		os.Exit(m.Run())
	}
	at, _ := strconv.ParseInt(os.Getenv("REVIEW_STEP"), 10, 64)
	var n atomic.Int64
	step = func() {
		if n.Add(1) != at {
			return
		}
		if full := os.Getenv("REVIEW_FILL"); full != "" {
			fill(full)
		} else {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := doOnce(os.Getenv("REVIEW_DO"), os.Getenv("REVIEW_HELD"), Journals(os.Getenv("REVIEW_JOURNALS"))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fill takes all the room that a small file system has.
func fill(file string) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	for ; err == nil; _, err = f.Write(make([]byte, 4096)) {
	}
	f.Close()
	fmt.Println("full")
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
		list, err := journals.Recover()
		for _, r := range list {
			err = errors.Join(err, r.Err)
		}
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

// stoppedAt kills an apply at the first step at which something is so.
func (p *project) stoppedAt(what func() bool) {
	p.t.Helper()
	for at := 1; ; at++ {
		if p.killed("apply", at) {
			p.t.Fatal("the apply came to its end")
		}
		if what() {
			return
		}
		p.must(doOnce("recover", p.held, p.journals))
		if len(p.changes()) == 0 { // it was finished
			p.must(p.undo())
		}
	}
}

// staging is the folder in which what comes lies ready, or nothing.
func (p *project) staging() string {
	list, _ := filepath.Glob(filepath.Join(p.dir, StagePrefix+"*"))
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// What was taken away is lost where somebody removes the folder that it was taken to: that is told, and holds up
// nothing.
func TestStageRemoved(t *testing.T) {
	p := newProject(t, Overlay, "echo x >keep; echo y >stays")
	p.sandbox("rm keep; echo z >stays; echo n >z-new")
	p.stoppedAt(func() bool {
		_, err := os.Lstat(filepath.Join(p.dir, "keep"))
		return errors.Is(err, os.ErrNotExist)
	})
	p.must(os.RemoveAll(p.staging()))
	list, err := p.locked().Recover()
	p.must(err)
	want := filepath.Join(p.dir, "keep")
	if len(list) != 1 || list[0].Err != nil || list[0].Finished || len(list[0].Lost) != 1 || list[0].Lost[0] != want {
		t.Fatalf("recovered: %+v, want %s as lost", list, want)
	}
	if list, err := p.journals.Recover(); err != nil || len(list) != 0 {
		t.Errorf("once more: %+v, %v", list, err)
	}
}

// What a sandbox makes in the folder with what lies ready goes with it, however deep it is.
func TestFoldersInTheStage(t *testing.T) {
	p := newProject(t, Overlay, "echo a >one").sandbox("echo b >one")
	p.stoppedAt(func() bool { return p.staging() != "" })
	p.sh(p.staging(), `mkdir -p a/b/c; echo x >a/b/c/f; mkdir shut; echo x >shut/f; chmod 0 shut; ln -s / link; for i in $(seq 1500); do mkdir d; cd d; done`)
	p.must(doOnce("recover", p.held, p.journals))
	if left := p.staging(); left != "" {
		t.Errorf("%s is left", left)
	}
	p.must(p.apply(nil))
}

// An apply that cannot be gone on with is in the way of its own folder alone.
func TestRecoverGoesOn(t *testing.T) {
	p := newProject(t, Overlay, "echo a >one").sandbox("echo b >one")
	p.stoppedAt(func() bool { return p.staging() != "" })
	other := newProject(t, Overlay, "echo a >one").sandbox("echo b >one")
	other.stoppedAt(func() bool { return other.staging() != "" })
	p.sh(string(other.journals), "mv * "+string(p.journals))
	other.journals = p.journals
	p.sh(p.dir, "mv ../project ../was; ln -s was ../project")
	list, err := p.journals.Recover()
	p.must(err)
	if len(list) != 2 || list[0].Err == nil || list[1].Err != nil || !list[0].Holds([]string{filepath.Join(p.dir, "in")}) || list[0].Holds([]string{other.dir}) {
		t.Errorf("recovered: %+v", list)
	}
	if other.staging() != "" {
		t.Error("the other one is not taken back")
	}
	p.must(other.apply(nil))
	if p.journals.unfinished([]string{p.dir}) == nil {
		t.Error("nothing is in the way where an apply is still interrupted")
	}
	p.sh(filepath.Dir(p.dir), "rm project; mv was project")
	p.must(doOnce("recover", p.held, p.journals))
	p.must(p.apply(nil))
}

// A folder with what lies ready that somebody removes is an apply that is taken back, and no panic.
func TestStageIsGone(t *testing.T) {
	p := newProject(t, Overlay, "echo a >one").sandbox("echo b >one")
	before := p.hash()
	p.stoppedAt(func() bool {
		list, _ := filepath.Glob(filepath.Join(string(p.journals), "*", stagedFile))
		return len(list) > 0
	})
	p.sh(p.dir, "rm -r "+p.staging())
	p.must(doOnce("recover", p.held, p.journals))
	if got := p.hash(); got != before {
		t.Errorf("it is\n%s\nwant\n%s", got, before)
	}
}

// What lies ready is not put in place once somebody wrote to it, size and time as they were: a sandbox that may write
// to the project reaches it after a kill.
func TestStageRewritten(t *testing.T) {
	p := newProject(t, Overlay, "mkdir d; echo host >d/a")
	before := p.hash()
	p.sandbox("echo good >d/new; echo nice >d/a; echo both >one; ln one two")
	for _, name := range []string{"good", "nice", "both"} {
		p.stoppedAt(func() bool {
			list, _ := filepath.Glob(filepath.Join(string(p.journals), "*", stagedFile))
			return len(list) > 0
		})
		p.sh(p.staging(), `f=$(grep -lx `+name+` [0-9]* | head -1); touch -r "$f" ../../time; printf 'evil\n' >"$f"; touch -r ../../time "$f"`)
		if err := doOnce("recover", p.held, p.journals); err != nil {
			t.Logf("%s: %v", name, err)
		}
		if got := p.hash(); got != before {
			t.Errorf("%s rewritten: the host is\n%s\nwant\n%s", name, got, before)
		}
		if left := p.staging(); left != "" {
			t.Errorf("left %s", left)
		}
	}
	p.must(p.apply(nil))
}
