package state

import (
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Left is a sandbox whose supervisor died without a word, as it was found by a later command.
type Left struct {
	Name, Cause string
	// Removed says that nothing of it was to stay.
	Removed bool
}

// List reads the records of all sandboxes, the youngest first, and puts right those whose supervisor has
// died. Records that cannot be used are told by errors beside the list.
func (s *Store) List() (list []*Record, left []Left, broken []error) {
	names, err := s.names()
	if err != nil {
		return nil, nil, []error{err}
	}
	for _, r := range s.readAll(names) {
		var missing *NotFoundError
		switch {
		case errors.As(r.err, &missing): // it went meanwhile
			continue
		case r.err != nil:
			broken = append(broken, r.err)
			continue
		}
		if l := s.tidy(r.record); l != nil {
			left = append(left, *l)
			if l.Removed {
				continue
			}
		}
		list = append(list, r.record)
	}
	slices.SortStableFunc(list, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return list, left, broken
}

// readRecord is a record, or why it cannot be used.
type readRecord struct {
	record *Record
	err    error
}

// readAll reads the records of many sandboxes: by a descriptor of the folder that they are in, and by as many
// readers as there are processors, since making sense of a record takes longer than reading it.
func (s *Store) readAll(names []string) []readRecord {
	all := make([]readRecord, len(names))
	dir, err := unix.Open(s.sandboxes(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // it went with all in it
	}
	defer unix.Close(dir)
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+len(names)/fewRecords) {
		readers.Go(func() {
			buf := make([]byte, 32<<10)
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				data, err := readAt(dir, names[i]+"/"+recordFile, buf)
				all[i].record, all[i].err = parseRecord(names[i], s.path(names[i]), data, err)
			}
		})
	}
	readers.Wait()
	return all
}

// fewRecords are read before another reader would have begun.
const fewRecords = 32

// names are those of all sandboxes. Folders that a killed command left half made or half removed go.
func (s *Store) names() ([]string, error) {
	dir, err := os.Open(s.sandboxes())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	names := all[:0]
	for _, name := range all {
		switch {
		case strings.HasPrefix(name, newPrefix):
			s.removeHalf(name)
		case CheckName(name) == nil:
			names = append(names, name)
		}
	}
	return names, err
}

// removeHalf removes a folder without a name, unless the command that makes it lives.
func (s *Store) removeHalf(name string) {
	f, err := s.open(s.path(name), name)
	if err != nil {
		return
	}
	defer f.Close()
	var st unix.Stat_t
	unix.Fstat(int(f.dir.Fd()), &st)
	if age(st.Mtim) < halfMade && !strings.HasPrefix(name, newPrefix+"gone-") {
		return // its lock may not be held yet
	}
	if f.Lock() == nil {
		removeTree(s.path(name), nil)
	}
}

// halfMade is far more than a command needs from making a folder to locking it.
const halfMade = 10 * time.Second

// age is how long ago something happened by the clock, or will happen, where that was set back meanwhile:
// what is not of just now is old.
func age(when unix.Timespec) time.Duration { return time.Since(time.Unix(when.Unix())).Abs() }

// tidy puts a record right that says that its sandbox runs where its supervisor is dead. It is nil where
// there is nothing to say.
func (s *Store) tidy(r *Record) *Left {
	if r.Ended != nil || r.Supervisor.Alive() {
		return nil
	}
	f, err := s.Open(r.Name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if f.Lock() != nil {
		return nil // it is being started, or another command tidies up
	}
	now, err := f.Read()
	if err != nil || now.Ended != nil || now.Supervisor.Alive() {
		return nil
	}
	cause := CauseSupervisor
	if now.Supervisor.Boot != bootID() && now.Supervisor.PID != 0 {
		cause = CauseReboot
	}
	now.End(time.Now(), 128+int(unix.SIGKILL), cause)
	*r = *now
	if !now.Stays() {
		return &Left{r.Name, cause, f.Remove(nil) == nil}
	}
	os.Remove(f.Socket())
	f.WriteLast(now)
	return &Left{r.Name, cause, false}
}

// Stays tells whether anything stays after the end.
func (r *Record) Stays() bool { return (r.Kept || r.Detached || r.Held) && !r.Remove }

// Get reads one record, and puts it right first where its supervisor has died.
func (s *Store) Get(name string) (*Record, *Left, error) {
	r, err := s.Read(name)
	if err != nil {
		return nil, nil, err
	}
	left := s.tidy(r)
	if left != nil && left.Removed {
		return nil, left, &NotFoundError{name}
	}
	return r, left, nil
}

// Sweep puts right what killed supervisors left of sandboxes that ran: it looks at those alone that have
// a socket, and so costs nothing where there are none.
func (s *Store) Sweep() (left []Left) {
	dir, err := os.Open(s.Runtime)
	if err != nil {
		return nil
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, file := range names {
			name, isSocket := strings.CutSuffix(file, socketSuffix)
			if !isSocket {
				continue
			}
			r, err := s.Read(name)
			var missing *NotFoundError
			if errors.As(err, &missing) {
				s.removeSocket(name)
				continue
			}
			if err != nil {
				continue
			}
			if l := s.tidy(r); l != nil {
				left = append(left, *l)
			}
		}
		if err == io.EOF || err != nil {
			return left
		}
	}
}

// removeSocket removes a socket without a sandbox, and not one that is just being made.
func (s *Store) removeSocket(name string) {
	var st unix.Stat_t
	if unix.Lstat(s.Socket(name), &st) == nil && age(st.Ctim) > halfMade {
		os.Remove(s.Socket(name))
	}
}
