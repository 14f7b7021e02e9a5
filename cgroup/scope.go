package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"sbx/host"
)

// How long systemd may take for a scope, which is what its own tools wait (sd_bus_set_method_call_timeout(3)), and how
// long a systemd to which there is no connection is tried again: it starts anew (daemon-reexec) within a second or two.
const (
	patience  = 25 * time.Second
	reconnect = 4 * time.Second
	pause     = 50 * time.Millisecond
)

// ScopeError is a systemd that made no scope.
type ScopeError struct{ Err error }

func (e *ScopeError) Error() string { return "asking systemd for a scope: " + e.Err.Error() }

func (e *ScopeError) Unwrap() error { return e.Err }

// scopes makes scopes.
type scopes struct {
	facts   host.CgroupFacts
	limit   time.Duration
	ctx     context.Context
	cancel  context.CancelFunc
	first   chan struct{} // closed when the first connection is there, or not
	manager *manager
	version int
	err     error
}

// newScopes begins to connect.
func newScopes(facts host.CgroupFacts, limit time.Duration) *scopes {
	s := &scopes{facts: facts, limit: limit, first: make(chan struct{})}
	s.ctx, s.cancel = context.WithTimeout(context.Background(), limit)
	go func() {
		defer close(s.first)
		s.connect()
	}()
	return s
}

func (s *scopes) connect() {
	if s.manager, s.err = dial(s.ctx, s.facts.Buses); s.err == nil {
		s.version = s.manager.version(s.ctx)
	}
}

// discard ends the connection.
func (s *scopes) discard() {
	s.cancel()
	<-s.first
	if s.manager != nil {
		s.manager.conn.Close()
	}
}

// create has systemd make a transient scope of the process. A systemd that starts anew meanwhile drops its connections,
// and what it was told may be done or not: the process itself shows which.
func (s *scopes) create(name string, pid int, l Limits) (*Group, error) {
	defer s.discard()
	name, err := unique(name)
	if err != nil {
		return nil, err
	}
	unit := name + ".scope"
	<-s.first
	for lost := (time.Time{}); ; time.Sleep(pause) {
		err := s.try(unit, pid, &l)
		if dir, ok := s.find(pid, unit); ok {
			return &Group{Dir: dir, Unit: unit}, nil
		}
		switch {
		case s.ctx.Err() != nil:
			return nil, &ScopeError{fmt.Errorf("no answer within %v by %s", s.limit, s.facts.Buses[0].Path)}
		case err == nil:
			return nil, &ScopeError{fmt.Errorf("it made %s without the sandbox in it", unit)}
		case answered(err):
			return nil, &ScopeError{err}
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) > min(reconnect, s.limit/2):
			return nil, &ScopeError{err}
		}
		s.connect()
	}
}

func (s *scopes) try(unit string, pid int, l *Limits) error {
	if s.err != nil {
		return s.err
	}
	err := s.manager.start(s.ctx, unit, s.properties(unit, pid, l))
	if err != nil {
		s.manager.conn.Close()
	}
	return err
}

// oomPolicySince is the systemd that has OOMPolicy= for scopes; its default would end all of a scope when the kernel
// ends one process in it.
const oomPolicySince = 253

func (s *scopes) properties(unit string, pid int, l *Limits) []property {
	list := []property{
		{"Description", dbus.MakeVariant("sandbox " + strings.TrimSuffix(unit, ".scope"))},
		{"Delegate", dbus.MakeVariant(true)},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(pid)})},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	if s.facts.Slice != "" {
		list = append(list, property{"Slice", dbus.MakeVariant(s.facts.Slice)})
	}
	if s.version >= oomPolicySince {
		list = append(list, property{"OOMPolicy", dbus.MakeVariant("continue")})
	}
	return append(list, l.properties()...)
}

// find is the folder of the unit, if the process is in it.
func (s *scopes) find(pid int, unit string) (dir string, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if ok && filepath.Base(path) == unit {
			return s.facts.Folder(path), true
		}
	}
	return "", false
}

// gone are errors in whose case it is not systemd that said no: it does not listen, or not yet.
var gone = []string{
	"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
	"org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected",
	// An earlier try got through, and the process is not there yet.
	"org.freedesktop.systemd1.UnitExists",
}

// answered tells whether systemd itself said no, so that trying again is of no use.
func answered(err error) bool {
	var refused dbus.Error
	var job *jobError
	if errors.As(err, &refused) {
		for _, name := range gone {
			if refused.Name == name {
				return false
			}
		}
		return true
	}
	return errors.As(err, &job)
}
