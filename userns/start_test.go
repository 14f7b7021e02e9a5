package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const allNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWNET

// ownIDs maps the caller's ids alone.
func ownIDs() Maps {
	return Maps{
		UID:           []Range{{0, uint32(os.Getuid()), 1}},
		GID:           []Range{{0, uint32(os.Getgid()), 1}},
		DenySetgroups: true,
	}
}

// shell is a plan that runs a shell command in new namespaces, on the host's own files.
func shell(script string, init ...Step) *Plan {
	return &Plan{
		Namespaces: allNamespaces,
		Init: append([]Step{
			Barrier("waiting for the id maps"),
			Mount("cutting propagation", "", "/", "", unix.MS_REC|unix.MS_PRIVATE),
			Prctl("hiding PID 1", unix.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE"),
		}, init...),
		Payload: append([]Step{SetSession("making a session"), CloseOnExec("closing descriptors", 3)},
			Exec("executing sh", []string{"/bin/sh"}, []string{"sh", "-c", script}, []string{"PATH=/usr/bin:/bin"})...),
	}
}

// output runs a plan and returns what it printed and how it ended.
func output(t *testing.T, plan *Plan) (string, unix.WaitStatus, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := Start(plan, Options{Stdout: w, Stderr: w, Maps: ownIDs()})
	w.Close()
	if err != nil {
		return "", 0, err
	}
	text, _ := io.ReadAll(r)
	status, err := p.Wait()
	return string(text), status, err
}

func TestPayloadRunsInNewNamespaces(t *testing.T) {
	text, status, err := output(t, shell("id -u; echo $$"))
	if err != nil || status.ExitStatus() != 0 {
		t.Fatalf("status %v, error %v", status, err)
	}
	if text != "0\n2\n" {
		t.Errorf("uid and pid are %q, want 0 and 2", text)
	}
}

func TestStatus(t *testing.T) {
	for script, want := range map[string]unix.WaitStatus{
		"exit 7":        7 << 8,
		"kill -TERM $$": unix.WaitStatus(unix.SIGTERM),
		"kill -KILL $$": unix.WaitStatus(unix.SIGKILL),
	} {
		_, status, err := output(t, shell(script))
		if err != nil || status != want {
			t.Errorf("%s: status %#x, error %v; want %#x", script, status, err, want)
		}
	}
}

func TestFailingStepIsNamed(t *testing.T) {
	plan := shell("true", Chdir("entering the folder", "/nowhere"))
	_, _, err := output(t, plan)
	var failed *StepError
	if !errors.As(err, &failed) || failed.Errno != unix.ENOENT || failed.Step.Do != "entering the folder" {
		t.Fatalf("error %v", err)
	}
}

func TestExecErrors(t *testing.T) {
	for path, want := range map[string]unix.Errno{"/nowhere": unix.ENOENT, "/etc/passwd": unix.EACCES} {
		plan := shell("")
		plan.Payload = Exec("executing", []string{"/not/here", path}, []string{"x"}, nil)
		_, _, err := output(t, plan)
		var failed *StepError
		if !errors.As(err, &failed) || failed.Errno != want {
			t.Errorf("%s: error %v, want %v", path, err, want)
		}
	}
}

// What PID 1 was refused, and could do without, is not taken for a command that may not be executed.
func TestExecErrorsAreThePayloadsOwn(t *testing.T) {
	plan := shell("", step("trying", unix.SYS_EXECVE, Str("/etc/passwd"), Vector(nil), Vector(nil)).Tolerate(unix.EACCES))
	plan.Payload = Exec("executing", []string{"/not/here"}, []string{"x"}, nil)
	_, _, err := output(t, plan)
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v, want ENOENT", err)
	}
}

func TestToleratedErrorIsNoticedAndDecides(t *testing.T) {
	plan := shell("pwd",
		Chdir("trying", "/nowhere").Tolerate(unix.ENOENT).Notice().To("tried"),
		Chdir("falling back", "/usr").If("tried", unix.ENOENT),
		Chdir("not falling back", "/etc").If("tried", unix.EPERM))
	r, w, _ := os.Pipe()
	p, err := Start(plan, Options{Stdout: w, Maps: ownIDs()})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	p.Wait()
	if string(text) != "/usr\n" {
		t.Errorf("working folder %q", text)
	}
	if len(p.Notices) != 1 || p.Notices[0].Errno != unix.ENOENT {
		t.Errorf("notices %v", p.Notices)
	}
}

func TestInitIsShut(t *testing.T) {
	script := `for f in environ maps mem auxv stack; do cat /proc/1/$f >/dev/null 2>&1 && echo open $f; done
		for f in exe root cwd fd/0 ns/user; do readlink /proc/1/$f >/dev/null && echo open $f; done
		cat /proc/1/comm; tr -d '\0' </proc/1/cmdline`
	plan := shell(script, NewFilesystem("mounting proc", "proc", "proc", 0)...)
	plan.Init = append(plan.Init, MoveMountTo("mounting proc", "proc", "/proc"))
	text, _, err := output(t, plan)
	if err != nil {
		t.Fatal(err)
	}
	comm, argv, _ := strings.Cut(text, "\n")
	if comm != "sbx-init" || !strings.HasPrefix("sbx-init", argv) {
		t.Errorf("of PID 1 is seen: %q", text)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	leak, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	unix.FcntlInt(leak.Fd(), unix.F_SETFD, 0)
	text, _, err := output(t, shell("ls /proc/self/fd"))
	if err != nil {
		t.Fatal(err)
	}
	// 3 is the folder that ls reads.
	if text != "0\n1\n2\n3\n" {
		t.Errorf("descriptors inside: %q", text)
	}
}

func TestEndOfTheCloningThreadIsNotTheEnd(t *testing.T) {
	r, w, _ := os.Pipe()
	started := make(chan *Process)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		p, err := Start(shell("sleep 0.4; echo alive"), Options{Stdout: w, Maps: ownIDs()})
		if err != nil {
			t.Error(err)
		}
		started <- p
	}()
	p := <-started
	w.Close()
	text, _ := io.ReadAll(r)
	status, err := p.Wait()
	if string(text) != "alive\n" || status != 0 || err != nil {
		t.Errorf("said %q, status %v, error %v", text, status, err)
	}
}

func TestHangUpEndsAll(t *testing.T) {
	r, w, _ := os.Pipe()
	p, err := Start(shell("setsid sleep 600 & sleep 600"), Options{Stdout: w, Maps: ownIDs()})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	p.abandon()
	ended := make(chan bool)
	go func() { io.ReadAll(r); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("processes live on after the hang-up")
	}
}

// What a payload left is still there at its end, and a moment later it is not.
func TestAtEndComesBeforeTheEnd(t *testing.T) {
	var p *Process
	alive := func() bool { return unix.Kill(p.PID, 0) == nil }
	called, there := 0, false
	p, err := Start(shell("sleep 600 & exit 3"), Options{Maps: ownIDs(), AtEnd: func() {
		called++
		time.Sleep(50 * time.Millisecond)
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
		there = strings.Contains(string(stat), ") S ")
	}})
	if err != nil {
		t.Fatal(err)
	}
	status, err := p.Wait()
	if status.ExitStatus() != 3 || err != nil || called != 1 || !there || alive() {
		t.Errorf("status %v, error %v, called %d times, PID 1 waits %v", status, err, called, there)
	}
	if p.Usage.Utime.Nano()+p.Usage.Stime.Nano() == 0 || p.Usage.Maxrss == 0 {
		t.Errorf("it used nothing: %+v", p.Usage)
	}
}

// A supervisor that waits for nobody is not waited for.
func TestAtEndIsNotCalledAfterAKill(t *testing.T) {
	p, err := Start(shell("sleep 600"), Options{Maps: ownIDs(), AtEnd: func() { t.Error("called") }})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if status, _ := p.Wait(); status.Signal() != unix.SIGKILL {
		t.Errorf("status %v", status)
	}
}

func TestStartEndsAtTheBarrier(t *testing.T) {
	asked := errors.New("asked to")
	var pid int
	_, err := Start(shell("true"), Options{Maps: ownIDs(), AtBarrier: func(p int) error { pid = p; return asked }})
	if !errors.Is(err, asked) {
		t.Fatalf("error %v", err)
	}
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("the child is still there: %v", err)
	}
}

// begun prepares what the first n steps of a plan do.
func begun(plan *Plan, n int, stdout *os.File) *Prepared {
	likely := func() (Beginning, error) { return Beginning{Steps: plan.Init[:n], Maps: ownIDs()}, nil }
	return Prepare(plan.Namespaces, likely, nil, stdout, stdout)
}

// A first process that nobody wants any more is ended and reaped: an outer PID 1 may be no init.
func TestDiscardReaps(t *testing.T) {
	p := begun(shell("true"), 2, os.Stdout)
	<-p.done
	if p.err != nil {
		t.Fatal(p.err)
	}
	pid := p.embryo.pid
	p.Discard()
	p.Discard()
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("process %d is still there, alive or as a zombie: %v", pid, err)
	}
}

// The beginning leaves its results to the rest, and its steps happen once.
func TestPreparedGoesOn(t *testing.T) {
	plan := shell("hostname; test $PPID = 1 && echo two", SetHostname("naming", "one"),
		Chdir("trying", "/nowhere").Tolerate(unix.ENOENT).To("tried"),
		SetHostname("naming again", "two").If("tried", unix.ENOENT))
	for name, c := range map[string]struct {
		change func(*Plan)
		reused bool
	}{
		"as foreseen":      {func(*Plan) {}, true},
		"another step":     {func(p *Plan) { p.Init[3] = SetHostname("naming", "three") }, false},
		"fewer steps":      {func(p *Plan) { p.Init = p.Init[:4] }, false},
		"other namespaces": {func(p *Plan) { p.Namespaces &^= unix.CLONE_NEWIPC }, false},
		"a larger plan": {func(p *Plan) {
			p.Payload = append([]Step{Write("filling", Stdout, strings.Repeat("x", minArena))}, p.Payload...)
		}, false},
	} {
		changed := *plan
		changed.Init = slices.Clone(plan.Init)
		c.change(&changed)
		r, w, _ := os.Pipe()
		first := begun(plan, 5, w)
		<-first.done
		pid := first.embryo.pid
		p, err := Start(&changed, Options{Stdout: w, Stderr: w, Maps: ownIDs(), Prepared: first})
		w.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, _ := io.ReadAll(r)
		if reused := p.PID == pid; reused != c.reused {
			t.Errorf("%s: the prepared process was taken: %v", name, reused)
		}
		if status, err := p.Wait(); status != 0 || err != nil || !strings.HasSuffix(string(text), "two\n") {
			t.Errorf("%s: said %.40q, status %v, error %v", name, text, status, err)
		}
		if err := unix.Kill(pid, 0); err != unix.ESRCH {
			t.Errorf("%s: process %d is still there: %v", name, pid, err)
		}
	}
}

// What fails in the beginning is told as if it had failed later.
func TestFailingBeginningIsNamed(t *testing.T) {
	plan := shell("true", Chdir("entering the folder", "/nowhere"))
	p, err := Start(plan, Options{Maps: ownIDs(), Prepared: begun(plan, len(plan.Init), nil)})
	if p != nil {
		p.Wait()
	}
	var failed *StepError
	if !errors.As(err, &failed) || failed.Step.Do != "entering the folder" {
		t.Errorf("error %v", err)
	}
}

// Two barriers: the id maps are there after the first, what AtBarrier did after the second.
func TestTwoBarriers(t *testing.T) {
	dir := t.TempDir()
	plan := shell("cat "+dir+"/made", SetHostname("using the maps", "x"), Barrier("waiting for the file"), Chdir("entering", dir+"/made.d"))
	make := func(int) error {
		return errors.Join(os.Mkdir(dir+"/made.d", 0o755), os.WriteFile(dir+"/made", []byte("made"), 0o644))
	}
	r, w, _ := os.Pipe()
	p, err := Start(plan, Options{Stdout: w, Stderr: w, Maps: ownIDs(), AtBarrier: make})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	if p.Wait(); string(text) != "made" {
		t.Errorf("said %q", text)
	}
}

// A child that fails at once leaves the barrier that was opened for it unread.
func TestWhatAChildSaidIsHeardAfterAReset(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	unix.Write(pair[0], []byte{1})
	unix.Write(pair[1], []byte("why"))
	unix.Close(pair[1])
	buf := make([]byte, 8)
	if n, _, err := recvmsg(pair[0], buf, nil); err != nil || string(buf[:n]) != "why" {
		t.Errorf("got %q, error %v", buf[:n], err)
	}
	if n, _, err := recvmsg(pair[0], buf, nil); err != nil || n != 0 {
		t.Errorf("after the last message: %d bytes, error %v", n, err)
	}
}

// Id maps cannot be written for a child that is gone; what it said is the reason.
func TestTheStepIsTheReasonNotTheMaps(t *testing.T) {
	plan := shell("true")
	plan.Init = append([]Step{Chdir("going nowhere", "/nowhere")}, plan.Init...)
	gone := func(pid int) error {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(stat), ") Z ") {
				return errors.New("the maps were for nobody")
			}
		}
		return errors.New("the child lives")
	}
	p, err := Start(plan, Options{Maps: ownIDs(), AtBarrier: gone})
	if p != nil {
		p.Wait()
	}
	var failed *StepError
	if !errors.As(err, &failed) || failed.Errno != unix.ENOENT {
		t.Errorf("got %v, want the step that failed", err)
	}
}

// Descriptors on their way are counted per user: where there are too many, that is the reason which is told.
func TestTooManyDescriptorsOnTheirWay(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	for range 40 {
		if err := unix.Sendmsg(pair[0], []byte{1}, unix.UnixRights(0, 1, 2), nil, unix.MSG_DONTWAIT); err != nil {
			t.Fatal(err)
		}
	}
	plan := shell("sleep 60", SetLimit("limiting open files", unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", 64, 64))
	p, err := Start(plan, Options{Maps: ownIDs()})
	if p != nil {
		p.Kill()
		p.Wait()
	}
	if !errors.Is(err, unix.ETOOMANYREFS) {
		t.Errorf("error %v", err)
	}
}
