package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sbx/slirp"
	"sbx/state"
)

// End is how a sandbox ended, as its supervisor told another command.
type End struct {
	Status int
	Cause  string
}

// ask makes a call and takes the first answer.
func ask(store *state.Store, name string, what call, files ...*os.File) (*conn, *answer, []*os.File, error) {
	c, err := dial(store, name)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := c.send(what, files...); err != nil {
		c.close()
		if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
			return nil, nil, nil, &NotRunningError{name} // it ended meanwhile
		}
		return nil, nil, nil, fmt.Errorf("asking the supervisor of %s: %w", name, err)
	}
	a := &answer{}
	passed, err := c.receive(a)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		err = &NotRunningError{name} // it ended meanwhile
	case err == nil && a.Refused != nil:
		err = a.Refused.err()
	}
	if err != nil {
		closeAll(passed)
		c.close()
		return nil, nil, nil, err
	}
	return c, a, passed, nil
}

// simple is a call with one answer and no descriptors.
func simple(store *state.Store, name string, what call) (*answer, error) {
	c, a, passed, err := ask(store, name, what)
	if err != nil {
		return nil, err
	}
	closeAll(passed)
	c.close()
	return a, nil
}

// Stop ends a running sandbox: by a signal to its payload, and by KILL where that lives on after a grace.
// It returns when all is over.
func Stop(store *state.Store, name string, sig unix.Signal, grace time.Duration) (End, error) {
	a, err := simple(store, name, call{Op: "stop", Signal: int(sig), Grace: grace})
	if err != nil {
		return End{}, err
	}
	return End{a.Status, a.Cause}, nil
}

// Kill sends a signal to the payload of a running sandbox. KILL ends it all, and is waited for.
func Kill(store *state.Store, name string, sig unix.Signal) error {
	_, err := simple(store, name, call{Op: "kill", Signal: int(sig)})
	return err
}

// WaitFor waits for the end of a running sandbox.
func WaitFor(store *state.Store, name string) (End, error) {
	a, err := simple(store, name, call{Op: "wait"})
	if err != nil {
		return End{}, err
	}
	return End{a.Status, a.Cause}, nil
}

// Rename gives a sandbox another name, be it running or not. The caller holds the folder's lock.
func Rename(store *state.Store, folder *state.Folder, to string) error {
	_, err := simple(store, folder.Name(), call{Op: "rename", Name: to})
	var not *NotRunningError
	if !errors.As(err, &not) {
		return err // nil too
	}
	record, err := folder.Read()
	if err != nil {
		return err
	}
	if err := folder.Rename(to); err != nil {
		return err
	}
	record.Name = to
	return folder.Write(record)
}

// Pause stops all processes of a running sandbox, or lets them go on.
func Pause(store *state.Store, name string, on bool) error {
	op := "resume"
	if on {
		op = "pause"
	}
	_, err := simple(store, name, call{Op: op})
	return err
}

// Stats asks for what a running sandbox uses.
func Stats(store *state.Store, name string) (*Load, error) {
	a, err := simple(store, name, call{Op: "stats"})
	if err != nil {
		return nil, err
	}
	return a.Load, nil
}

// Network is what a sandbox has reached and was refused, now or until it ended; nil where nobody counted.
func Network(store *state.Store, record *state.Record) (*slirp.Report, error) {
	if record.Status() != state.Exited {
		a, err := simple(store, record.Name, call{Op: "network"})
		var not *NotRunningError
		if err == nil {
			return a.Network, nil
		}
		if !errors.As(err, &not) {
			return nil, err
		}
	}
	folder, err := store.Open(record.Name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	text, err := folder.ReadFile(networkFile)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	report := &slirp.Report{}
	if err == nil {
		err = json.Unmarshal(text, report)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the network of %s has reached: %w", record.Name, err)
	}
	return report, nil
}

// Root is the root folder of a running sandbox, as a descriptor (O_PATH) below which openat2(2) finds its
// files.
func Root(store *state.Store, name string) (*os.File, error) {
	c, _, passed, err := ask(store, name, call{Op: "root"})
	if err != nil {
		return nil, err
	}
	c.close()
	if len(passed) != 1 {
		closeAll(passed)
		return nil, fmt.Errorf("asking the supervisor of %s: no root folder came", name)
	}
	return passed[0], nil
}

// Exec runs a further command in a running sandbox, on the caller's own streams and signals, and returns
// its exit status. A command that stays is left running, with no streams but /dev/null.
func Exec(store *state.Store, name string, request *ExecRequest, streams Streams) (int, error) {
	s := &Spec{}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := streams.files()
	if request.Stays {
		files = [3]*os.File{null, null, null}
	} else {
		if err := s.inspect(streams); err != nil {
			return 0, err
		}
		request.Terminals, request.Window = s.Terminals, s.Window
	}
	if err := s.inspectMore(streams.More); err != nil {
		return 0, err
	}
	request.Descriptors = s.Descriptors
	for i, f := range files {
		request.Null[i] = isNull(f)
	}
	for i, terminal := range request.Terminals {
		if terminal {
			files[i] = null // the sandbox's own takes its place
		}
	}
	signals := catchSignals()
	c, _, passed, err := ask(store, name, call{Op: "exec", Exec: request}, append(files[:], streams.More...)...)
	closeAll(streams.More)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if request.Stays {
		closeAll(passed)
		return 0, nil
	}
	return follow(c, passed, request.Terminals, streams, signals)
}

// isNull tells whether a file is /dev/null: null(4).
func isNull(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// follow relays terminal and signals until the command ends. passed are its pidfd and its terminal.
func follow(c *conn, passed []*os.File, terminals [3]bool, streams Streams, signals *caller) (int, error) {
	defer closeAll(passed)
	if len(passed) == 0 {
		return 0, errors.New("asking the supervisor: no process came")
	}
	var t *terminal
	if len(passed) > 1 {
		t = relay(terminals, streams, passed[1])
		t.resize()
	}
	<-signals.ready
	signals.forward(passed[0], t)
	a := &answer{}
	more, err := c.receive(a)
	closeAll(more)
	if err != nil { // the supervisor was killed, and all inside with it
		t.leave()
		return 128 + int(unix.SIGKILL), nil
	}
	t.leave()
	return a.Status, nil
}
