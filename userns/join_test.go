package userns

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespacesOf are those of a sandbox that is there, as a joining one enters them.
func namespacesOf(t *testing.T, p *Process, kinds ...string) (list []*os.File) {
	for _, kind := range kinds {
		slot := Slot(kind)
		job, err := p.Exec([]Step{Open("opening "+kind, "/proc/self/ns/"+kind, How{}).To(slot), Send("handing out "+kind, slot)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, job.Files[slot])
	}
	return list
}

func TestJoin(t *testing.T) {
	proc := append(NewFilesystem("mounting proc", "proc", "proc", 0), MoveMountTo("mounting proc", "proc", "/proc"))
	first := sleeper(t, "sleep 600", append(proc, LoopbackUp("bringing up lo")...)...)
	join := namespacesOf(t, first, "user", "net")
	theirs, _, err := says(first, command("readlink /proc/self/ns/user /proc/self/ns/net; cat /proc/self/uid_map"))
	if err != nil {
		t.Fatal(err)
	}
	plan := shell("readlink /proc/self/ns/user /proc/self/ns/net; cat /proc/self/uid_map; echo $$ $PPID; readlink /proc/self/ns/pid", proc...)
	plan.Namespaces &^= unix.CLONE_NEWUSER | unix.CLONE_NEWNET
	r, w, _ := os.Pipe()
	p, err := Start(plan, Options{Stdout: w, Stderr: w, Join: join})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	status, err := p.Wait()
	if status != 0 || err != nil || !strings.HasPrefix(string(text), theirs+"2 1\n") {
		t.Errorf("status %v, error %v, said\n%swant what begins with\n%s", status, err, text, theirs)
	}
	if ours, _ := os.Readlink("/proc/self/ns/pid"); strings.Contains(string(text), ours) {
		t.Error("it has no PID namespace of its own")
	}
}

// What cannot be entered is told, and nobody is left waiting.
func TestJoinRefused(t *testing.T) {
	own, err := os.Open("/proc/self/ns/user") // one's own user namespace cannot be entered anew: setns(2)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	plan := shell("true")
	plan.Namespaces &^= unix.CLONE_NEWUSER
	var refused *JoinError
	if _, err := Start(plan, Options{Join: []*os.File{own}}); !errors.As(err, &refused) || refused.Errno != unix.EINVAL {
		t.Errorf("error %v", err)
	}
}
