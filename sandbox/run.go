package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sbx/cgroup"
	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// Running is a sandbox from its start to its end.
type Running struct {
	// Level is the spec's, and what showed in the walk.
	Level Level

	spec     *Spec
	prepared *Prepared
	process  *userns.Process
	before   snapshot
	terminal *terminal
	watch    *watch
	counting sync.Mutex    // of the next two
	group    *cgroup.Group // nil: none
	stats    *cgroup.Stats // the last count
	began    time.Time
	upper    *upper
	volumes  []*os.File // held
	caches   *heldCaches
	fuse     *fuseServer
	network  network
	none     *noNetwork // nil: there is a network
	ended    chan struct{}
	timedOut atomic.Bool
	// layersGone says that the sandbox was ended since nobody serves its files any more.
	layersGone atomic.Bool
	hub        *hub // of a detached sandbox
	signals    *caller
	inside     inside
	mover      *mover                 // of what is captured by overlays
	cause      atomic.Pointer[string] // why other commands ended it
	over       chan struct{}          // closed when Wait returns
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
	// Network is what the sandbox reached and was refused; nil where nobody kept count.
	Network *slirp.Report
	// SoughtNetwork says that something inside tried to reach a network, and there was none.
	SoughtNetwork bool
	// Uncovered is why a cover could not be renewed, which ended the sandbox.
	Uncovered error
	// Used is what the sandbox used, and Reached the limits that it came to.
	Used    Usage
	Reached []Reached
	// Cause is one of the causes of package state.
	Cause string
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
	r, err := start(s, streams, prepared, notify, nil)
	if err != nil {
		return nil, err
	}
	closeAll(streams.More) // so that the end of a pipe is seen
	r.terminal = relay(s.Terminals, streams, r.process.Files[masterSlot])
	r.terminal.resize() // a change since the size was read went unseen
	r.signals.forward(r.process.Payload, r.terminal)
	return r, nil
}

// start is Start without the caller's terminal and signals. inputs are further descriptors that the
// payload's process has until it executes.
func start(s *Spec, streams Streams, prepared *Prepared, notify func(string), inputs map[userns.Slot]*os.File) (*Running, error) {
	r := &Running{spec: s, Level: s.Level, began: time.Now(), ended: make(chan struct{}), over: make(chan struct{})}
	if err := r.hold(notify); err != nil {
		return nil, err
	}
	maker := beginGroup(s)
	if s.Project.Access == profiles.AccessWrite {
		r.before = takeSnapshot(&s.Project, false)
	}
	r.watch = newWatch(s, r.before, notify)
	r.mover = newMover(s)
	var join []*os.File
	if s.joined != nil {
		var err error
		if join, err = s.joined.namespacesToJoin(s); err != nil {
			maker.Discard()
			r.watch.stop()
			return nil, errors.Join(err, r.endUpper())
		}
		defer closeAll(join)
	}
	r.signals = prepared.takeSignals() // the payload must not miss one
	inputs = handedInputs(streams.More, inputs)
	options := userns.Options{Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr, Inputs: inputs, Join: join, Prepared: prepared.first}
	r.prepared = prepared
	process, err := r.launchByOtherWays(options, maker, notify)
	if err != nil {
		r.watch.stop()
		r.fuse.end()
		err = s.serverSaid(err)
		r.endUpper()
		return nil, r.explainStart(err)
	}
	r.process = process
	r.none = watchNoNetwork(s, process.PID)
	r.network.watch(notify)
	r.network.ports.Serve(r.sockets)
	lowerByNotices(&r.Level, process.Notices)
	r.watch.begin(process)
	r.mover.begin(process.Files[renamesSlot])
	r.watchFuse()
	r.limitTime()
	if s.joined != nil {
		r.endWith(s.joined)
	}
	r.shrinkLater()
	return r, nil
}

// hold takes what the sandbox has of its own on disk, until endUpper lets go of it.
func (r *Running) hold(notify func(string)) (err error) {
	if r.volumes, err = holdVolumes(r.spec.Volumes); err != nil {
		return err
	}
	if r.caches, err = holdCaches(r.spec, notify); err == nil {
		r.upper, err = makeUpper(r.spec)
	}
	if failed := r.spec.noteProject(); failed != nil && err == nil {
		notify("what this project keeps will not be listed: " + failed.Error())
	}
	if err != nil {
		r.endUpper()
	}
	return err
}

// launchByOtherWays launches, and where what may be left out or done otherwise is refused, once more without.
func (r *Running) launchByOtherWays(options userns.Options, maker *cgroup.Maker, notify func(string)) (*userns.Process, error) {
	process, err := r.launch(options, maker)
	options.Prepared = nil
	var noGroup *groupError
	if errors.As(err, &noGroup) && r.spec.Cgroup.Optional {
		if err = r.withoutGroup(noGroup); err == nil {
			process, err = r.launch(options, nil)
		}
	}
	for refused := captureRefused(err); refused != ""; refused = captureRefused(err) {
		if err = r.spec.recapture(refused, notify); err == nil {
			process, err = r.launch(options, beginGroup(r.spec))
		}
	}
	for r.spec.withoutCache(err, notify) {
		process, err = r.launch(options, beginGroup(r.spec))
	}
	if overlayRefused(err) && r.spec.Image.Driver == driverAuto {
		notify("the kernel refuses an overlay here (" + err.Error() + "): fuse-overlayfs takes its place")
		r.spec.Root.Overlay.Fuse = true
		process, err = r.launch(options, beginGroup(r.spec))
	}
	return process, err
}

// launch starts the processes, and the cgroup with them.
func (r *Running) launch(options userns.Options, maker *cgroup.Maker) (*userns.Process, error) {
	if err := r.network.begin(r.spec, r.prepared); err != nil {
		maker.Discard()
		return nil, err
	}
	options.Maps, options.AtBarrier = r.spec.IDs.Maps, r.makeGroup(maker, r.mover.atBarrier(r.watch.atBarrier()))
	options.Beside = r.network.beside(r.spec)
	if maker != nil {
		options.AtEnd = r.count
	}
	if r.spec.Root.Overlay != nil && r.spec.Root.Overlay.Fuse {
		options.ServeSlot, options.Serve = fuseoverlay.FuseSlot, r.serveLayers
	}
	process, err := userns.Start(Compile(r.spec), options)
	if err != nil {
		maker.Discard()
		r.closeGroup()
		r.network.stop()
	}
	return process, err
}

// serveLayers starts what serves the layers, and lets go of what the walk handed out for it.
func (r *Running) serveLayers(files map[userns.Slot]*os.File) (err error) {
	r.fuse, err = r.spec.startFuse(files)
	files[fuseoverlay.FuseSlot].Close()
	return err
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
		signalPayload(r.process.Payload, r.spec.stopSignal())
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
	if r.hub != nil {
		r.hub.end()
	}
	result := Result{Status: exitStatus(status), TimedOut: r.timedOut.Load(), Network: r.network.finish(), SoughtNetwork: r.none.sought(), Used: r.usage()}
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
	if r.layersGone.Load() {
		err = &LayersGoneError{r.spec.serverWords()}
	}
	removed := r.endUpper()
	result.Cause = r.causeOf(&result, status)
	close(r.over)
	return result, errors.Join(r.explain(err), removed)
}

// endUpper removes what the sandbox changed, once nobody writes to it any more.
func (r *Running) endUpper() error {
	r.mover.end()
	r.fuse.end()
	closeAll(r.volumes)
	return errors.Join(r.caches.end(), r.upper.end())
}

// stopSignal is what asks a payload to end.
func (s *Spec) stopSignal() unix.Signal {
	if s.Image != nil && s.Image.StopSignal != 0 {
		return s.Image.StopSignal
	}
	return unix.SIGTERM
}

// explain turns a failed execve into the error that it is.
func (r *Running) explain(err error) error {
	var failed *userns.StepError
	if !errors.As(err, &failed) || !failed.Step.IsExec() {
		return err
	}
	e := &NotExecutedError{Command: r.spec.Command[0], Errno: failed.Errno}
	if e.Errno == unix.ENOENT && r.spec.Image == nil {
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
