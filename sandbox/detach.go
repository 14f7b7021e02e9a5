package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/slirp"
	"sbx/state"
	"sbx/userns"
)

// bundle is what a supervisor in the background gets: a spec with what its JSON leaves out, and where the
// sandbox is known. It goes through a file in memory, since it holds values of variables.
type bundle struct {
	Spec    *Spec
	Env     []string
	Clocks  Clocks
	Streams [3]uint64
	Rights  []uint64 // of Spec.Descriptors
	Window  unix.Winsize
	Filter  []unix.SockFilter
	Facts   host.CgroupFacts
	Rules   []slirp.Rule
	Proxies *slirp.Proxies
	Record  *state.Record
	Store   *state.Store
	Name    string
	// Visited says that somebody is attached from the start.
	Visited bool
}

// Descriptors of a supervisor in the background, besides 0, 1 and 2.
const (
	bundleFD = 3 + iota
	readyFD
	folderFD
	lockFD
	// What is handed in follows, and then two where somebody is attached from the start.
	handedInFD
)

// SuperviseVerb is the hidden verb of the program that Detach starts.
const SuperviseVerb = "supervise"

// SupervisorFailedError is a supervisor that could not start its sandbox, and has said why.
type SupervisorFailedError struct{ Status int }

func (e *SupervisorFailedError) Error() string { return "the supervisor could not start the sandbox" }

// Detach starts a supervisor of its own for a sandbox, in a session of its own, and returns when the
// payload runs. What it has to say until then goes to the caller's stderr. It takes over the folder,
// whose lock the caller holds. more is what is handed in. A visitor, if not nil, sees all that the payload writes.
func Detach(s *Spec, store *state.Store, folder *state.Folder, record *state.Record, more []*os.File, visitor *Visitor) error {
	text, err := json.Marshal(bundle{
		Spec: s, Env: s.Env, Clocks: s.Clocks, Streams: s.Streams, Rights: rights(s.Descriptors), Window: s.Window,
		Filter: s.Harden.Filter, Facts: s.Cgroup.Facts, Rules: s.Egress.rules, Proxies: s.Egress.proxies,
		Record: record, Store: store, Name: folder.Name(), Visited: visitor != nil,
	})
	if err != nil {
		return fmt.Errorf("handing the spec to a supervisor: %w", err)
	}
	spec, err := inMemory("sbx-spec", text)
	if err != nil {
		return err
	}
	defer spec.Close()
	ready, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	dir, lock := folder.Files()
	files := []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd(), spec.Fd(), hold.Fd(), dir.Fd(), lock.Fd()}
	for _, f := range more {
		control(f, func(fd int) { files = append(files, uintptr(fd)) })
	}
	if visitor != nil {
		files = append(files, visitor.theirs[0].Fd(), visitor.theirs[1].Fd())
	}
	program, done, err := s.supervisor()
	if err != nil {
		return err
	}
	defer done()
	pid, err := syscall.ForkExec(program, []string{"sbx", SuperviseVerb, folder.Name()}, &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH")}, Sys: &syscall.SysProcAttr{Setsid: true},
		Files: files,
	})
	hold.Close()
	closeAll(more)
	if err != nil {
		return fmt.Errorf("starting a supervisor: %w", err)
	}
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return &SupervisorFailedError{exitStatus(status)}
		}
	}
}

// Background is a supervisor's part of a detached sandbox.
type Background struct {
	Running *Running
	Life    *Life
	Spec    *Spec
	// Log takes what sbx has to say from now on.
	Log io.Writer

	ready *os.File
}

// Supervise is what the program that Detach has started does first: it starts the sandbox, puts it on
// record, and answers. notify hears what has to be said while the sandbox runs.
func Supervise(notify func(string)) (*Background, error) {
	os.WriteFile("/proc/self/comm", []byte("sbx-supervisor"), 0)
	b, ready, folder, err := inherit()
	if err != nil {
		return nil, err
	}
	s := b.Spec
	s.Env, s.Clocks, s.Streams, s.Window, s.Harden.Filter = b.Env, b.Clocks, b.Streams, b.Window, b.Filter
	s.Cgroup.Facts, s.Egress.rules, s.Egress.proxies = b.Facts, b.Rules, b.Proxies
	if s.Join.Name != "" {
		if s.joined, err = FindJoined(b.Store, s.Join.Name); err != nil {
			return nil, err
		}
	}
	h := &hub{log: folder.OpenLog()}
	more := s.inherited(b.Rights)
	line, visit, err := b.visitor()
	if err != nil {
		return nil, err
	}
	if line != nil {
		h.admit(line)
	}
	running, err := h.start(s, more, notify)
	if err != nil {
		return nil, err
	}
	life := &Life{store: b.Store, running: running, folder: folder, record: b.Record, hub: h, began: make(chan struct{}), done: make(chan struct{})}
	life.err = life.begin()
	close(life.began)
	if life.err != nil {
		running.process.Kill()
		running.Wait()
		return nil, life.err
	}
	if line != nil {
		life.told.Go(func() {
			defer visit.close()
			life.visited(visit, line)
		})
	}
	return &Background{Running: running, Life: life, Spec: s, Log: ownLog{h.log}, ready: ready}, nil
}

func inherit() (*bundle, *os.File, *state.Folder, error) {
	for fd := bundleFD; fd <= lockFD; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, nil, nil, &UsageError{SuperviseVerb + " is no verb for people", "sbx --help"}
		}
	}
	spec := os.NewFile(bundleFD, "spec")
	defer spec.Close()
	b := &bundle{}
	if err := json.NewDecoder(io.NewSectionReader(spec, 0, maxMessage)).Decode(b); err != nil {
		return nil, nil, nil, fmt.Errorf("reading the spec: %w", err)
	}
	folder := b.Store.Adopt(os.NewFile(folderFD, "folder"), os.NewFile(lockFD, "lock"), b.Name)
	return b, os.NewFile(readyFD, "ready"), folder, nil
}

// rights are the Landlock rights to what is handed in.
func rights(descriptors []Descriptor) (list []uint64) {
	for _, d := range descriptors {
		list = append(list, d.Rights)
	}
	return list
}

// inherited is what the caller of Detach hands in.
func (s *Spec) inherited(rights []uint64) (more []*os.File) {
	for i, r := range rights {
		s.Descriptors[i].Rights = r
		unix.CloseOnExec(handedInFD + i)
		more = append(more, os.NewFile(uintptr(handedInFD+i), "handed in"))
	}
	return more
}

// visitor is who is attached from the start: a line and a connection, or nil.
func (b *bundle) visitor() (*os.File, *conn, error) {
	if !b.Visited {
		return nil, nil, nil
	}
	first := uintptr(handedInFD + len(b.Rights))
	line := pollable(os.NewFile(first, "attached"))
	visit, err := connOf(os.NewFile(first+1, "attached"))
	return line, visit, err
}

// Ready tells the caller of Detach that the payload runs, and lets go of its stderr.
func (b *Background) Ready() {
	b.ready.Write([]byte{1})
	b.ready.Close()
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		unix.Dup3(int(null.Fd()), 2, 0)
		null.Close()
	}
}

// start starts the sandbox with a terminal of its own, or with pipes.
func (h *hub) start(s *Spec, more []*os.File, notify func(string)) (*Running, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	streams, sources := Streams{null, null, null, more}, []*os.File{}
	if s.Terminals == [3]bool{} {
		for _, stream := range []**os.File{&streams.Stdout, &streams.Stderr} {
			r, w, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			defer w.Close() // an error's way out; else it is closed below
			*stream, sources = w, append(sources, r)
		}
	}
	held, executed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer held.Close()
	prepared := &Prepared{signals: catchSignals()}
	running, err := start(s, streams, prepared, notify, map[userns.Slot]*os.File{"executed": executed})
	executed.Close()
	closeAll(more)
	if len(sources) > 0 { // the payload's alone from now on, so that their end is seen
		streams.Stdout.Close()
		streams.Stderr.Close()
	}
	if err != nil {
		return nil, err
	}
	running.signals.forward(running.process.Payload, nil)
	h.ended = running.ended
	if h.master = running.process.Files[masterSlot]; h.master != nil {
		h.master = pollable(h.master)
		h.pump(terminalStream, h.master)
	}
	for i, source := range sources {
		h.pump(streamNames[i+1], source)
	}
	running.hub = h
	// The payload's process has a copy until it executes, or ends.
	held.Read(make([]byte, 1))
	if running.process.Failed() != nil {
		_, err := running.Wait()
		return nil, err
	}
	return running, nil
}

// ownLog puts what sbx itself says into the log.
type ownLog struct{ log *state.Log }

func (w ownLog) Write(text []byte) (int, error) {
	w.log.Write(OwnStream, text)
	return len(text), nil
}
