package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper is a sandbox whose payload waits until the test ends.
func sleeper(t *testing.T, script string, init ...Step) *Process {
	t.Helper()
	plan := shell(script, init...)
	p, err := Start(plan, Options{Maps: ownIDs()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { p.Wait(); close(done) }()
	t.Cleanup(func() { p.Kill(); <-done })
	return p
}

func command(script string) []Step {
	return append([]Step{SetSession("making a session")},
		Exec("executing sh", []string{"/nowhere/sh", "/bin/sh"}, []string{"sh", "-c", script}, []string{"PATH=/usr/bin:/bin"})...)
}

// says runs a further process and returns what it printed and how it ended.
func says(p *Process, steps []Step) (string, unix.WaitStatus, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	job, err := p.Exec(steps, Options{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return "", 0, err
	}
	defer job.Close()
	text, _ := io.ReadAll(r)
	status, err := job.Wait()
	return string(text), status, err
}

func TestExecIsAChildOfPID1(t *testing.T) {
	p := sleeper(t, "sleep 600")
	text, status, err := says(p, command(`echo $PPID; ps -o comm= -p 1 >/dev/null; exit 3`))
	if err != nil || text != "1\n" || status.ExitStatus() != 3 {
		t.Errorf("said %q, status %v, error %v", text, status, err)
	}
	for kind, want := range map[string]bool{"mnt": true, "pid": true, "net": true, "user": true} {
		theirs, _ := os.Readlink("/proc/self/ns/" + kind)
		text, _, err := says(p, command("readlink /proc/self/ns/"+kind))
		if err != nil || (strings.TrimSpace(text) != theirs) != want {
			t.Errorf("namespace %s: %q, ours is %q, error %v", kind, text, theirs, err)
		}
	}
}

func TestExecHasNothingOfPID1(t *testing.T) {
	proc := append(NewFilesystem("mounting proc", "proc", "proc", 0), MoveMountTo("mounting proc", "proc", "/proc"))
	p := sleeper(t, "sleep 600", proc...)
	leak, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	unix.FcntlInt(leak.Fd(), unix.F_SETFD, 0)
	text, _, err := says(p, command("ls /proc/self/fd; grep -c 'rw-s' /proc/self/maps; readlink /proc/self/fd/*"))
	if err != nil || !strings.HasPrefix(text, "0\n1\n2\n3\n0\n/dev/null\n") || strings.Contains(text, "socket") {
		t.Errorf("it has %q, error %v", text, err) // 3 is the folder that ls reads
	}
	if text, _, _ := says(p, command("for f in mem maps environ; do head -c1 /proc/1/$f; done 2>/dev/null; for f in exe root fd/0 fd/1 ns/user; do readlink /proc/1/$f; done")); text != "" {
		t.Errorf("of PID 1 it reads %q", text)
	}
}

func TestExecFails(t *testing.T) {
	p := sleeper(t, "sleep 600")
	_, _, err := says(p, []Step{Chdir("going nowhere", "/nowhere")})
	var failed *StepError
	if !errors.As(err, &failed) || failed.Errno != unix.ENOENT || failed.Step.Do != "going nowhere" {
		t.Errorf("a step that fails: %v", err)
	}
	_, _, err = says(p, Exec("executing x", []string{"/nowhere/x"}, []string{"x"}, nil))
	if !errors.As(err, &failed) || !failed.Step.IsExec() || failed.Errno != unix.ENOENT {
		t.Errorf("a command that is not there: %v", err)
	}
	if text, status, err := says(p, command("echo on")); text != "on\n" || status != 0 || err != nil {
		t.Errorf("after failures: %q, %v, %v", text, status, err)
	}
}

func TestExecHandsOut(t *testing.T) {
	p := sleeper(t, "sleep 600")
	job, err := p.Exec([]Step{
		Open("opening the root", "/", How{Flags: unix.O_PATH}).To("root"), Send("handing out the root", "root"),
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	if status, err := job.Wait(); status != 0 || err != nil || job.Files["root"] == nil {
		t.Errorf("status %v, error %v, files %v", status, err, job.Files)
	}
}

func TestExecTakesInputs(t *testing.T) {
	p := sleeper(t, "sleep 600")
	dir, err := os.Open("/usr")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, w, _ := os.Pipe()
	defer r.Close()
	steps := append([]Step{Fchdir("entering", "dir")}, Exec("executing pwd", []string{"/bin/sh"}, []string{"sh", "-c", "pwd; cat"}, nil)...)
	in, feed, _ := os.Pipe()
	fmt.Fprintln(feed, "fed")
	feed.Close()
	job, err := p.Exec(steps, Options{Stdin: in, Stdout: w, Inputs: map[Slot]*os.File{"dir": dir}})
	w.Close()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	if text, _ := io.ReadAll(r); string(text) != "/usr\nfed\n" {
		t.Errorf("said %q", text)
	}
}

// Many at once share the arena; each has arguments of its own, and sizes that differ.
func TestExecManyAtOnce(t *testing.T) {
	p := sleeper(t, "sleep 600")
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			for n := range 4 {
				word := strings.Repeat(fmt.Sprint(i, n), 1+i*100)
				text, status, err := says(p, Exec("executing", []string{"/bin/sh"}, []string{"sh", "-c", `echo "$0"; exit 4`, word}, nil))
				if err != nil || text != word+"\n" || status.ExitStatus() != 4 {
					t.Errorf("%d: %d bytes, status %v, error %v", i, len(text), status, err)
				}
			}
		})
	}
	group.Wait()
	if p.jobs.mutex.Lock(); len(p.jobs.regions) != 0 || len(p.jobs.running) != 0 {
		t.Errorf("left: %v, %v", p.jobs.regions, p.jobs.running)
	}
	p.jobs.mutex.Unlock()
}

func TestExecTooMany(t *testing.T) {
	p := sleeper(t, "sleep 600")
	var jobs []*Job
	var err error
	for range maxJobs + 1 {
		var job *Job
		if job, err = p.Exec(command("sleep 600"), Options{}); err != nil {
			break
		}
		jobs = append(jobs, job)
	}
	var refused *JobError
	if !errors.As(err, &refused) || refused.Errno != unix.EAGAIN || len(jobs) != maxJobs {
		t.Errorf("after %d: %v", len(jobs), err)
	}
	unix.PidfdSendSignal(int(jobs[7].Pidfd.Fd()), unix.SIGKILL, nil, 0)
	if status, err := jobs[7].Wait(); err != nil || status.Signal() != unix.SIGKILL {
		t.Errorf("status %v, error %v", status, err)
	}
	if _, _, err := says(p, command("true")); err != nil {
		t.Errorf("with a place free again: %v", err)
	}
}

func TestExecTooLarge(t *testing.T) {
	p := sleeper(t, "sleep 600")
	if _, _, err := says(p, Exec("executing", []string{"/bin/sh"}, []string{"sh", strings.Repeat("x", spareArena)}, nil)); !errors.Is(err, errArenaFull) {
		t.Errorf("error %v", err)
	}
	if text, _, err := says(p, command("echo on")); text != "on\n" || err != nil {
		t.Errorf("after it: %q, %v", text, err)
	}
}

// What is no request is dropped, with its descriptors, and PID 1 goes on.
func TestExecHalfARequest(t *testing.T) {
	p := sleeper(t, "sleep 600")
	for range 40 {
		unix.Sendmsg(p.embryo.socket, []byte{1}, unix.UnixRights(0, 0, 0), nil, 0)
		unix.Sendmsg(p.embryo.socket, make([]byte, 16), unix.UnixRights(0), nil, 0)
		unix.Sendmsg(p.embryo.socket, make([]byte, 16), nil, nil, 0)
	}
	if text, _, err := says(p, command("echo on")); text != "on\n" || err != nil {
		t.Errorf("said %q, error %v", text, err)
	}
}

func TestEndOfThePayloadEndsExec(t *testing.T) {
	r, w, _ := os.Pipe()
	in, feed, _ := os.Pipe()
	p, err := Start(shell("read x"), Options{Stdin: in, Maps: ownIDs()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { p.Wait(); close(done) }()
	job, err := p.Exec(command("trap '' TERM HUP; sleep 600"), Options{Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	feed.Close()
	if _, err := job.Wait(); err != ErrEnded {
		t.Errorf("error %v, want that the sandbox ended", err)
	}
	io.ReadAll(r) // ends when the process does
	<-done
	if _, err := p.Exec(command("true"), Options{}); err != ErrEnded {
		t.Errorf("after the end: %v", err)
	}
}

// A payload that forks until it may not does not keep the supervisor from acting inside.
func TestExecUnderAForkBomb(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("RLIMIT_NPROC does not bind root: the bomb would hit this machine; it runs as both users")
	}
	plan := shell("f() { f | f & }; (f) 2>/dev/null & exec sleep 600")
	limit := SetLimit("limiting processes", unix.RLIMIT_NPROC, "RLIMIT_NPROC", 100, 100)
	plan.Payload = append([]Step{limit}, plan.Payload...)
	p, err := Start(plan, Options{Maps: ownIDs()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { p.Wait(); close(done) }()
	time.Sleep(300 * time.Millisecond)
	text, _, err := says(p, append([]Step{limit}, Exec("executing echo", []string{"/bin/echo"}, []string{"echo", "on"}, nil)...))
	if text != "on\n" || err != nil {
		t.Errorf("said %q, error %v", text, err)
	}
	p.Kill()
	<-done
}
