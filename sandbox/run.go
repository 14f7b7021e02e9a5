package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sbx/cgroup"
	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// Running is a sandbox from its start to its end.
type Running struct {
	// Level is the spec's, and what showed in the walk.
	Level Level

	spec     *Spec
	process  *userns.Process
	before   snapshot
	terminal *terminal
	watch    *watch
	counting sync.Mutex    // of the next two
	group    *cgroup.Group // nil: none
	stats    *cgroup.Stats // the last count
	began    time.Time
	ended    chan struct{}
	timedOut atomic.Bool
}

// Result is how a sandbox ended.
type Result struct {
	// Status is the payload's exit status, 128 and the signal that ended it, or 124.
	Status int
	// TimedOut says that the time limit ended it.
	TimedOut bool
	// Planted are protected places of the project that are new or changed, which the host may
	// execute later.
	Planted []string
	// Unsure are those of them in a place that the host replaced meanwhile, so that the host may
	// have written them as well as the run.
	Unsure []string
	// GitUsed says that git was used while the project's .git was read-only.
	GitUsed bool
	// Uncovered is why a cover could not be renewed, which ended the sandbox.
	Uncovered error
	// Used is what the sandbox used, and Reached the limits that it came to.
	Used    Usage
	Reached []Reached
}

// NotExecutedError is a command that could not be executed.
type NotExecutedError struct {
	Command string
	Errno   unix.Errno
	// Folder is the one that has to be shown for the command to be found, if that is the reason.
	Folder string
}

func (e *NotExecutedError) Error() string {
	if e.Errno == unix.ENOENT {
		return fmt.Sprintf("%s: command not found in the sandbox", e.Command)
	}
	return fmt.Sprintf("%s: %v", e.Command, e.Errno)
}

// Status is 127 for a command that was not found and 126 for one that cannot be executed.
func (e *NotExecutedError) Status() int {
	if e.Errno == unix.ENOENT {
		return 127
	}
	return 126
}

// grace is how long a payload has between the TERM of a time limit and the KILL.
const grace = 10 * time.Second

// Start makes the sandbox and starts its payload. notify hears what has to be said meanwhile.
func Start(s *Spec, streams Streams, prepared *Prepared, notify func(string)) (*Running, error) {
	r := &Running{spec: s, Level: s.Level, began: time.Now(), ended: make(chan struct{})}
	maker := beginGroup(s)
	if s.Project.Access == profiles.AccessWrite {
		r.before = takeSnapshot(&s.Project, false)
	}
	r.watch = newWatch(s, r.before, notify)
	caller := prepared.takeSignals() // the payload must not miss one
	process, err := r.launch(streams, prepared.first, maker)
	var noGroup *groupError
	if errors.As(err, &noGroup) && s.Cgroup.Optional {
		if err = r.withoutGroup(noGroup); err == nil {
			process, err = r.launch(streams, nil, nil)
		}
	}
	if err != nil {
		r.watch.stop()
		return nil, r.explainStart(err)
	}
	r.process = process
	lowerByNotices(&r.Level, process.Notices)
	r.watch.begin(process)
	r.terminal = relay(s.Terminals, streams, process.Files[masterSlot])
	r.terminal.resize() // a change since the size was read went unseen
	caller.forward(process.Payload, r.terminal)
	r.limitTime()
	r.shrinkLater()
	return r, nil
}

// launch starts the processes, and the cgroup with them.
func (r *Running) launch(streams Streams, first *userns.Prepared, maker *cgroup.Maker) (*userns.Process, error) {
	options := userns.Options{
		Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr,
		Maps: r.spec.IDs.Maps, AtBarrier: r.makeGroup(maker, r.watch.atBarrier()), Prepared: first,
	}
	if maker != nil {
		options.AtEnd = r.count
	}
	process, err := userns.Start(Compile(r.spec), options)
	if err != nil {
		maker.Discard()
		r.closeGroup()
	}
	return process, err
}

// limitTime ends a payload that runs too long: TERM, and after a grace KILL for all.
func (r *Running) limitTime() {
	if r.spec.Limits.Time == 0 {
		return
	}
	go func() {
		if r.endedWithin(r.spec.Limits.Time) {
			return
		}
		r.timedOut.Store(true)
		signalPayload(r.process.Payload, unix.SIGTERM)
		if !r.endedWithin(grace) {
			r.kill()
		}
	}()
}

func (r *Running) endedWithin(d time.Duration) bool {
	select {
	case <-r.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// Wait waits for the sandbox's end. Its error is a *NotExecutedError or a step that failed.
func (r *Running) Wait() (Result, error) {
	status, err := r.process.Wait()
	close(r.ended)
	r.terminal.end()
	result := Result{Status: exitStatus(status), TimedOut: r.timedOut.Load(), Used: r.usage()}
	result.Reached = reached(&r.spec.Cgroup.Limits, &result.Used)
	r.closeGroup()
	result.GitUsed, result.Uncovered = r.watch.stop()
	if r.before != nil {
		for _, path := range r.before.changes(takeSnapshot(&r.spec.Project, r.watch != nil && r.watch.gitNew)) {
			if r.watch.replaced(path) {
				result.Unsure = append(result.Unsure, path)
			} else {
				result.Planted = append(result.Planted, path)
			}
		}
	}
	if result.TimedOut {
		result.Status = 124
	}
	return result, r.explain(err)
}

// explain turns a failed execve into the error that it is.
func (r *Running) explain(err error) error {
	var failed *userns.StepError
	if !errors.As(err, &failed) || !failed.Step.IsExec() {
		return err
	}
	e := &NotExecutedError{Command: r.spec.Command[0], Errno: failed.Errno}
	if e.Errno == unix.ENOENT {
		e.Folder = missingFolder(r.spec)
	}
	return e
}

// missingFolder is the folder of a command that the host knows and the sandbox does not show.
func missingFolder(s *Spec) string {
	l := &layout{entries: s.Root.Entries}
	for _, candidate := range hostCandidates(s.Command[0]) {
		real, err := filepath.EvalSymlinks(candidate)
		if err != nil {
			continue
		}
		for _, path := range []string{real, candidate} {
			if source, _ := l.shows(l.throughLinks(path)); source == "" {
				return filepath.Dir(path)
			}
		}
	}
	return ""
}

func hostCandidates(command string) []string {
	if filepath.IsAbs(command) {
		return []string{command}
	}
	if path, err := host.Which(command); err == nil {
		return []string{path}
	}
	return nil
}

// exitStatus turns a wait status into an exit status, as shells do.
func exitStatus(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
