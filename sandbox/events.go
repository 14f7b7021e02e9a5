package sandbox

import (
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/state"
)

// Event is a start or an end of a sandbox.
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // start, end
	Name    string    `json:"name"`
	Command []string  `json:"command"`
	// Exit and Cause are of an end.
	Exit  *int   `json:"exit,omitempty"`
	Cause string `json:"cause,omitempty"`

	// Supervisor is whose end is the sandbox's, whatever it says.
	Supervisor int `json:"supervisor"`
}

// eventsFolder, in the runtime folder, holds a socket of each command that listens to events. Where nobody
// listens there is nothing, and nothing is written.
const eventsFolder = "events"

// tell tells all that listen. What does not answer at once is left out; what is dead is removed.
func (l *Life) tell(what string, end *state.Record) {
	l.mutex.Lock()
	e := Event{Time: time.Now(), Event: what, Name: l.folder.Name(), Command: l.record.Command, Supervisor: os.Getpid()}
	l.mutex.Unlock()
	if end != nil {
		e.Exit, e.Cause = end.Exit, end.Cause
	}
	dir := filepath.Join(l.store.Runtime, eventsFolder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		return
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		fd, err := socketAt(path, func(fd int, at *unix.SockaddrUnix) error {
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
			return unix.Connect(fd, at)
		})
		if err == unix.ECONNREFUSED {
			os.Remove(path)
		}
		if err != nil {
			continue
		}
		unix.SendmsgN(fd, text, nil, nil, unix.MSG_NOSIGNAL)
		unix.Close(fd)
	}
}

// Events gives see every start and end of a sandbox from now on. A supervisor that is killed cannot tell;
// its end is noticed and told in its place.
func Events(store *state.Store, see func(Event) error) error {
	if err := store.MakeRuntime(); err != nil {
		return err
	}
	dir := filepath.Join(store.Runtime, eventsFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, strconv.Itoa(os.Getpid())+".sock")
	socket, err := listen(path)
	if err != nil {
		return err
	}
	defer func() {
		os.Remove(path)
		os.Remove(dir) // where nobody else listens
	}()
	defer socket.close()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	w := &listener{socket: socket, events: make(chan Event, 64), alive: map[string]int{}}
	list, _, _ := store.List()
	for _, r := range list {
		if r.Status() != state.Exited {
			w.follow(Event{Name: r.Name, Command: r.Command, Supervisor: r.Supervisor.PID})
		}
	}
	go w.listen()
	for {
		var e Event
		select {
		case e = <-w.events:
		case sig := <-caught:
			return &InterruptedError{sig.(unix.Signal)}
		}
		switch {
		case e.Event == "start":
			w.follow(e)
		case w.alive[key(e)] == 0:
			continue // told already
		default:
			delete(w.alive, key(e))
		}
		if err := see(e); err != nil {
			return err
		}
	}
}

// InterruptedError is a signal that ended something without an end of its own.
type InterruptedError struct{ Signal unix.Signal }

func (e *InterruptedError) Error() string { return "interrupted by " + unix.SignalName(e.Signal) }

// listener hears supervisors, and watches those that it knows.
type listener struct {
	socket *conn
	events chan Event
	alive  map[string]int // by key
}

func key(e Event) string { return strconv.Itoa(e.Supervisor) + " " + strings.Join(e.Command, "\x00") }

func (w *listener) listen() {
	for {
		c, err := w.socket.accept()
		if err != nil {
			return
		}
		var e Event
		files, err := c.receive(&e)
		closeAll(files)
		c.close()
		if err == nil {
			w.events <- e
		}
	}
}

// follow waits for a supervisor's end, and tells it some time later: by then it has told it itself, where
// it could.
func (w *listener) follow(e Event) {
	w.alive[key(e)] = 1
	fd, err := unix.PidfdOpen(e.Supervisor, unix.PIDFD_NONBLOCK)
	if err != nil {
		fd = -1
	}
	go func() {
		if fd >= 0 {
			for {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
				if n > 0 || err != unix.EINTR {
					break
				}
			}
			unix.Close(fd)
		}
		time.Sleep(2 * glance)
		killed := 128 + int(unix.SIGKILL)
		w.events <- Event{Time: time.Now(), Event: "end", Name: e.Name, Command: e.Command, Exit: &killed,
			Cause: state.CauseSupervisor, Supervisor: e.Supervisor}
	}()
}
