package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Version is that of the records that this program writes.
const Version = 1

// Status is what a sandbox does.
type Status string

// What ps tells.
const (
	Running Status = "running"
	Paused  Status = "paused"
	Exited  Status = "exited"
)

// Causes of an end, besides a signal's name.
const (
	CauseExited     = "exited"
	CauseSignal     = "signal"
	CauseTimeLimit  = "time-limit"
	CauseStopped    = "stopped"
	CauseKilled     = "killed"
	CauseNotRun     = "not-executed"
	CauseFailed     = "failed"
	CauseSupervisor = "supervisor-died"
	CauseReboot     = "machine-restarted"
	CauseJoined     = "joined-ended"
)

// Record is what is known of a sandbox. It holds names of variables and never their values.
type Record struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	// Kept sandboxes stay, with their files, until they are removed. Of one that was detached and has no
	// name of the user's, record and log stay.
	Kept     bool `json:"kept"`
	Detached bool `json:"detached"`
	// Held sandboxes hold changes of the host's folders back, and stay until these are applied or discarded.
	Held bool `json:"held,omitempty"`
	// Remove says that nothing stays after the end.
	Remove bool `json:"remove"`
	// Verb is run or shell.
	Verb    string   `json:"verb"`
	Command []string `json:"command"`
	// Asked is the command as it was given: a task's name, or nothing for a shell.
	Asked    []string `json:"asked,omitempty"`
	Terminal bool     `json:"terminal"`
	// Cwd is where the command that made it was called, which start goes back to.
	Cwd           string `json:"cwd"`
	Project       string `json:"project"`
	ProjectAccess string `json:"project_access"`
	Workdir       string `json:"workdir"`
	User          string `json:"user"`
	Network       string `json:"network"`
	Image         string `json:"image,omitempty"`
	ImageDigest   string `json:"image_digest,omitempty"`
	StopSignal    string `json:"stop_signal,omitempty"`
	// PlanHash and ProfileHash are sha256 of the plan as text and of the profile that was asked for.
	PlanHash    string   `json:"plan_hash"`
	ProfileHash string   `json:"profile_hash"`
	Level       string   `json:"level"`
	LevelWhy    []string `json:"level_why,omitempty"`
	// Env are the names of the payload's variables; EnvGiven those whose value came from --env.
	Env      []string `json:"env"`
	EnvGiven []string `json:"env_given,omitempty"`
	// Flags are those that the sandbox was made with, without values of variables.
	Flags json.RawMessage `json:"flags,omitempty"`
	// Cgroup is the sandbox's own, while it runs.
	Cgroup *Cgroup `json:"cgroup,omitempty"`
	// Joins is the sandbox whose namespaces this one uses.
	Joins string `json:"joins,omitempty"`

	Supervisor Process    `json:"supervisor"`
	Init       Process    `json:"init"`
	Payload    Process    `json:"payload"`
	Paused     bool       `json:"paused"`
	Created    time.Time  `json:"created"`
	Started    time.Time  `json:"started,omitzero"`
	Ended      *time.Time `json:"ended"`
	Exit       *int       `json:"exit"`
	Cause      string     `json:"cause,omitempty"`
	// LogLost is how much of the payload's output could not be logged, in bytes.
	LogLost int64 `json:"log_lost,omitempty"`
}

// Cgroup is what package cgroup needs to open a group again.
type Cgroup struct {
	Dir  string `json:"dir"`
	Unit string `json:"unit,omitempty"`
}

// Status is what the sandbox does now, as far as its supervisor lives.
func (r *Record) Status() Status {
	switch {
	case r.Ended != nil || !r.Supervisor.Alive():
		return Exited
	case r.Paused:
		return Paused
	}
	return Running
}

// End notes the end of a sandbox.
func (r *Record) End(when time.Time, exit int, cause string) {
	r.Ended, r.Exit, r.Cause, r.Paused = &when, &exit, cause, false
}

// Process is one process and no other: a number is used again, a start time with it is not, until the
// machine is started anew.
type Process struct {
	PID int `json:"pid"`
	// Start is when it started, in clock ticks since boot (proc_pid_stat(5), field 22). It does not
	// change with the clock.
	Start uint64 `json:"start"`
	// Boot is /proc/sys/kernel/random/boot_id.
	Boot string `json:"boot"`
}

// Identify tells which process has this number now. Start is 0 where /proc does not show it.
func Identify(pid int) Process {
	start, _ := startTime(pid)
	return Process{PID: pid, Start: start, Boot: bootID()}
}

// Alive tells whether the process runs still. A zombie does not.
func (p Process) Alive() bool {
	if p.PID <= 0 || p.Boot != bootID() {
		return false
	}
	start, alive := startTime(p.PID)
	return alive && start == p.Start
}

// Signal sends a signal to the process and to no other. It is an error where that has ended.
func (p Process) Signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !p.Alive() { // looked at after it is held
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// AwaitEnd waits until the process has ended, or until stop is closed.
func (p Process) AwaitEnd(stop <-chan struct{}) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 500)
		if n > 0 {
			return
		}
	}
}

// startTime reads a process's start; alive is false where it is gone or a zombie.
func startTime(pid int) (start uint64, alive bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, false
	}
	// The name stands in parentheses and may itself hold any.
	_, rest, found := strings.Cut(string(buf[:n][bytes.LastIndexByte(buf[:n], ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return 0, false
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, err == nil && fields[0] != "Z" && fields[0] != "X"
}

// bootID changes with the machine's start alone.
var bootID = sync.OnceValue(func() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
})

// RecordError is a record that cannot be used.
type RecordError struct {
	Name string
	// Newer says that a later version of sbx wrote it.
	Newer bool
	Err   error
}

func (e *RecordError) Error() string {
	if e.Newer {
		return fmt.Sprintf("the record of the sandbox %s was written by a newer version of sbx", e.Name)
	}
	return fmt.Sprintf("the record of the sandbox %s is damaged: %v", e.Name, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

const (
	recordFile = "record.json"
	// maxRecord is far more than a record has, in bytes.
	maxRecord = 4 << 20
)

// Read reads the record of a sandbox.
func (s *Store) Read(name string) (*Record, error) {
	f, err := s.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Read()
}

// Read reads the record. Its error is a *RecordError where that is not whole, and a *NotFoundError where
// the folder is going away.
func (f *Folder) Read() (*Record, error) {
	data, err := f.ReadFile(recordFile)
	return parseRecord(f.name, f.Path(""), data, err)
}

// parseRecord makes a record of the file's content, or of the error of reading it. path is the folder's.
func parseRecord(name, path string, data []byte, err error) (*Record, error) {
	if errors.Is(err, unix.ENOENT) {
		if _, err := os.Lstat(path); err != nil {
			return nil, &NotFoundError{name}
		}
	}
	if err != nil {
		return nil, &RecordError{Name: name, Err: err}
	}
	r := &Record{}
	err = json.Unmarshal(data, r)
	switch {
	case r.Version > Version:
		return nil, &RecordError{Name: name, Newer: true, Err: err}
	case err != nil:
		return nil, &RecordError{Name: name, Err: err}
	case r.Version < 1 || r.Verb == "" || r.Created.IsZero():
		return nil, &RecordError{Name: name, Err: errors.New("it lacks what every record has")}
	}
	r.Name = name // the folder's name is the sandbox's
	return r, nil
}

// ReadFile reads a small file of the folder, following no link.
func (f *Folder) ReadFile(name string) ([]byte, error) {
	return readAt(int(f.dir.Fd()), name, nil)
}

// readAt reads a small regular file below a folder, following no link, into buf where that is large enough.
// It makes the system calls itself: a list of sandboxes reads hundreds of files.
func readAt(dir int, path string, buf []byte) ([]byte, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is no regular file")
	}
	if st.Size > maxRecord {
		return nil, fmt.Errorf("it has %d bytes, more than any of sbx's", st.Size)
	}
	if int(st.Size) > len(buf) {
		buf = make([]byte, st.Size)
	}
	for n := 0; n < int(st.Size); {
		more, err := unix.Read(fd, buf[n:st.Size])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case more == 0: // it was cut off meanwhile
			return buf[:n], nil
		}
		n += more
	}
	return buf[:st.Size], nil
}

// Write replaces the record, atomically and with mode 0600.
func (f *Folder) Write(r *Record) error {
	r.Version = Version
	return f.WriteJSON(recordFile, r)
}

// WriteJSON replaces a file of the folder, atomically and with mode 0600.
func (f *Folder) WriteJSON(name string, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("writing %s of the sandbox %s: %w", name, f.name, err)
	}
	at := int(f.dir.Fd())
	temporary := name + ".new"
	unix.Unlinkat(at, temporary, 0)
	fd, err := unix.Openat(at, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s of the sandbox %s: %w", name, f.name, err)
	}
	file := os.NewFile(uintptr(fd), temporary)
	_, err = file.Write(text.Bytes())
	file.Close()
	if err == nil {
		err = unix.Renameat(at, temporary, at, name)
	}
	if err != nil {
		unix.Unlinkat(at, temporary, 0)
		return fmt.Errorf("writing %s of the sandbox %s: %w", name, f.name, err)
	}
	return nil
}

const (
	reserveFile = "reserve"
	// reserved is more than a record takes, in bytes.
	reserved = 16 << 10
)

// Reserve keeps room on the disk for the record's last version: what fills the disk must not make a
// sandbox seem to run for ever.
func (f *Folder) Reserve() error {
	fd, err := unix.Openat(int(f.dir.Fd()), reserveFile, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.Fallocate(fd, 0, 0, reserved)
		if err == unix.EOPNOTSUPP {
			_, err = unix.Write(fd, make([]byte, reserved))
		}
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("keeping room for the record of the sandbox %s: %w", f.name, err)
	}
	return nil
}

// WriteLast is Write for the end, which uses the room that was reserved.
func (f *Folder) WriteLast(r *Record) error {
	unix.Unlinkat(int(f.dir.Fd()), reserveFile, 0)
	return f.Write(r)
}
