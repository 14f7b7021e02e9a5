package sandbox

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/review"
	"sbx/state"
	"sbx/userns"
)

// NewRecord is the record of a sandbox that is about to start.
func NewRecord(s *Spec, name, verb string, flags any) (*state.Record, error) {
	text, err := given(flags)
	if err != nil {
		return nil, fmt.Errorf("noting the flags of the sandbox: %w", err)
	}
	r := &state.Record{Name: name, Verb: verb, Flags: text, Created: time.Now()}
	describe(r, s)
	r.Supervisor = state.Identify(os.Getpid())
	return r, nil
}

// given are the flags that say anything: most do not, and a list of sandboxes reads all records.
func given(flags any) (json.RawMessage, error) {
	text, err := json.Marshal(flags)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(_ string, value json.RawMessage) bool {
		return slices.Contains([]string{"null", "false", "0", `""`}, string(value))
	})
	return json.Marshal(members)
}

// describe notes what a spec says.
func describe(r *state.Record, s *Spec) {
	r.Command, r.Workdir, r.Env = s.Command, s.Workdir, s.EnvNames
	r.Project, r.ProjectAccess = s.Project.Dir, string(s.Project.Access)
	r.User, r.Network = fmt.Sprintf("%d:%d", s.IDs.UID, s.IDs.GID), string(s.Network)
	r.Level, r.LevelWhy = string(s.Level.Name), s.Level.Why
	r.Joins = s.Join.Name
	r.Terminal = s.Terminals != [3]bool{}
	r.Image, r.ImageDigest, r.StopSignal = "", "", ""
	if s.Image != nil {
		r.Image, r.ImageDigest = s.Image.Ref, s.Image.Digest
		if sig := s.Image.StopSignal; sig != 0 {
			r.StopSignal = cmp.Or(unix.SignalName(sig), strconv.Itoa(int(sig)))
		}
	}
}

// HashProfile is a fingerprint of what was asked for, by flags and files.
func HashProfile(p *profiles.Profile) string {
	text, err := json.Marshal(p)
	if err != nil {
		return ""
	}
	return hash(text)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Upper is the folder that a kept sandbox's spec names for what it changes, made with the folders in it
// that the spec shows.
func MakeUpper(s *Spec, folder *state.Folder) error {
	if err := makeFolder(folder.Upper(), 0o700); err != nil {
		return err
	}
	for _, e := range s.Root.Entries {
		if e.Kind == fuseoverlay.Kept && host.Within(e.Source, folder.Upper()) {
			if err := makeFolder(e.Source, os.FileMode(e.Mode)); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeFolder makes a folder with just this mode; one that exists is left as it is.
func makeFolder(path string, mode os.FileMode) error {
	err := unix.Mkdir(path, 0o700)
	if err == unix.EEXIST {
		return nil
	}
	if err == nil {
		err = unix.Chmod(path, uint32(mode))
	}
	if err != nil {
		return &os.PathError{Op: "making", Path: path, Err: err}
	}
	return nil
}

// Life is what other commands know of a running sandbox, and their way to it: its record, its socket.
type Life struct {
	store   *state.Store
	running *Running
	folder  *state.Folder
	socket  *conn
	hub     *hub // of a detached sandbox

	mutex  sync.Mutex // of record
	record *state.Record
	began  chan struct{}
	err    error

	// done is closed when the end is on record; told are those who wait to be told.
	done chan struct{}
	told sync.WaitGroup
}

// networkFile is what the network reached and refused, beside the record.
const networkFile = "network.json"

// unnoticed is how long a sandbox without a name has to run before it is put on record. Most are over by
// then, and cost nobody anything.
const unnoticed = 100 * time.Millisecond

// Live puts a running sandbox on record and begins to answer other commands. Where folder is nil the
// sandbox gets a folder under a new name, once it turns out to be no short one. found hears what earlier
// supervisors left when they were killed, which is put right on the way.
func (r *Running) Live(store *state.Store, folder *state.Folder, record func() (*state.Record, error), found func(state.Left)) *Life {
	l := &Life{store: store, running: r, folder: folder, began: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.began)
		for _, left := range store.Sweep() {
			found(left)
		}
		if folder == nil && r.endedWithin(unnoticed) {
			return
		}
		if l.record, l.err = record(); l.err == nil {
			l.err = l.begin()
		}
	}()
	return l
}

func (l *Life) begin() error {
	l.note()
	if l.folder == nil {
		if err := l.register(); err != nil {
			return err
		}
	}
	if err := l.store.MakeRuntime(); err != nil {
		return err
	}
	socket, err := listen(l.folder.Socket())
	if err != nil {
		return err
	}
	l.socket = socket
	if err := l.write(); err != nil {
		return err
	}
	if l.record.Stays() {
		if err := l.folder.Reserve(); err != nil {
			return err
		}
		l.folder.WriteJSON(specFile, l.running.spec)
		os.Remove(l.folder.Path(networkFile)) // of the last time
	}
	l.folder.Unlock()
	go l.serve()
	l.tell("start", nil)
	return nil
}

// note fills in what is known since the payload runs.
func (l *Life) note() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	r := l.running
	describe(l.record, r.spec)
	l.record.Level, l.record.LevelWhy = string(r.Level.Name), r.Level.Why
	l.record.PlanHash = hash([]byte(Compile(r.spec).String()))
	l.record.Supervisor = state.Identify(os.Getpid())
	l.record.Cgroup = r.groupState()
	l.record.Init = state.Identify(r.process.PID)
	control(r.process.Payload, func(pidfd int) {
		if pid := pidOf(pidfd); pid > 0 {
			l.record.Payload = state.Identify(pid)
		}
	})
	l.record.Started = r.began
}

// register makes a folder under a name that nobody has.
func (l *Life) register() error {
	for {
		l.record.Name = state.NewName()
		folder, err := l.store.Create(l.record)
		var taken *state.ExistsError
		if errors.As(err, &taken) {
			continue
		}
		l.folder = folder
		return err
	}
}

func (l *Life) write() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.folder.Write(l.record)
}

// Name is the sandbox's; empty where it was too short to get one.
func (l *Life) Name() string {
	<-l.began
	if l.folder == nil {
		return ""
	}
	return l.folder.Name()
}

// Began waits until the sandbox is on record, and tells why it could not be.
func (l *Life) Began() error {
	<-l.began
	return l.err
}

// End notes how the sandbox ended, and how the host's files are where changes to them are held, and removes
// what is not to stay. It is called after Wait.
func (l *Life) End(result Result, failed error) error {
	<-l.began
	err := l.end(result, failed)
	close(l.done) // from here on the folder is another's
	told := make(chan struct{})
	go func() { l.told.Wait(); close(told) }()
	select {
	case <-told:
	case <-time.After(slow):
	}
	return err
}

func (l *Life) end(result Result, failed error) (err error) {
	if l.socket != nil {
		l.socket.close()
	}
	l.running.closeInside()
	if l.folder == nil {
		return nil
	}
	defer l.folder.Close()
	if l.record.Held && l.record.Stays() {
		err = review.Record(CapturesFolder(l.folder.Upper()), OpenForeign)
	}
	cause := result.Cause
	if failed != nil {
		cause = state.CauseFailed
		var not *NotExecutedError
		if errors.As(failed, &not) {
			cause, result.Status = state.CauseNotRun, not.Status()
		}
	}
	l.record.End(time.Now(), result.Status, cause)
	l.tell("end", l.record)
	os.Remove(l.folder.Socket())
	if !l.record.Stays() {
		if l.folder.LockPatiently() == nil { // else somebody removes it already
			l.folder.Remove(RemoveForeign)
		}
		return err
	}
	if l.hub != nil {
		l.record.LogLost = l.hub.log.Lost()
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.folder.WriteLast(l.record)
	if result.Network != nil {
		l.folder.WriteJSON(networkFile, result.Network)
	}
	if !l.record.Kept && !l.record.Held {
		l.folder.RemoveFiles(RemoveForeign)
	}
	return err
}

// RemoveForeign removes files that the caller may not: those of sub-ids. Root of a user namespace with
// the caller's sub-ids may.
func RemoveForeign(path string) error {
	account, err := Caller()
	if err != nil {
		return err
	}
	s := &Spec{}
	if err := resolveIDs(s, account, profiles.User{Kind: profiles.UserRoot}, profiles.GroupsDrop); err != nil {
		return err
	}
	rm, err := host.FindHelper("rm")
	if err != nil {
		return err
	}
	do := "removing " + path
	process, err := userns.Start(&userns.Plan{
		Namespaces: unix.CLONE_NEWUSER | unix.CLONE_NEWPID,
		Init:       []userns.Step{userns.Barrier("waiting for the id maps")},
		Payload:    userns.Exec(do, []string{rm}, []string{"rm", "-rf", "--one-file-system", "--", path}, nil),
	}, userns.Options{Maps: s.IDs.Maps})
	if err != nil {
		return err
	}
	status, err := process.Wait()
	if err == nil && exitStatus(status) != 0 {
		err = fmt.Errorf("%s: rm ended with status %d", do, exitStatus(status))
	}
	return err
}

// rename gives the sandbox another name, for a command that holds the folder's lock.
func (l *Life) rename(name string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if err := l.folder.Rename(name); err != nil {
		return err
	}
	l.record.Name = name
	l.record.Kept = l.record.Kept || l.record.Detached || l.record.Held
	return l.folder.Write(l.record)
}

// stop ends the sandbox: by a signal, and after a grace by KILL.
func (r *Running) stop(sig unix.Signal, grace time.Duration, cause string) {
	r.cause.CompareAndSwap(nil, &cause)
	if sig == unix.SIGKILL {
		r.kill()
		return
	}
	signalPayload(r.process.Payload, sig)
	r.freeze(false) // one that is paused would not hear it
	if !r.endedWithin(grace) {
		r.kill()
	}
}

// causeOf is why the sandbox ended.
func (r *Running) causeOf(result *Result, status unix.WaitStatus) string {
	asked := r.cause.Load()
	switch {
	case result.TimedOut:
		return state.CauseTimeLimit
	case result.Uncovered != nil:
		return state.CauseFailed
	case asked != nil:
		return *asked
	case status.Signaled():
		return state.CauseSignal
	}
	return state.CauseExited
}
