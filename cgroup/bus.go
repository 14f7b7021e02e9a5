package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"sbx/host"
)

// The names of systemd on the bus: org.freedesktop.systemd1(5).
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerMethods = "org.freedesktop.systemd1.Manager"
)

// property is one of a unit, as StartTransientUnit takes it.
type property struct {
	Name  string
	Value dbus.Variant
}

// manager is a connection to a systemd.
type manager struct {
	conn    *dbus.Conn
	object  dbus.BusObject
	signals chan *dbus.Signal
}

// dial connects to the first of the buses that answers. The connection ends with ctx at the latest: whatever waits for
// it then fails.
func dial(ctx context.Context, buses []host.Bus) (*manager, error) {
	var errs []error
	for _, b := range buses {
		m, err := dialOne(ctx, b)
		if err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("connecting to systemd by %s: %w", b.Path, err))
	}
	return nil, errors.Join(errs...)
}

func dialOne(ctx context.Context, b host.Bus) (*manager, error) {
	conn, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(b.Path), dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	m := &manager{conn: conn, signals: make(chan *dbus.Signal, 64)}
	m.object = conn.Object(systemdName, systemdPath)
	if err := m.greet(b.Private); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// greet proves who the caller is, and asks for the end of jobs to be told. On a private socket systemd tells it unasked,
// and there is no daemon to say hello to.
func (m *manager) greet(private bool) error {
	uid := strconv.Itoa(os.Geteuid())
	if err := m.conn.Auth([]dbus.Auth{dbus.AuthExternal(uid)}); err != nil {
		return err
	}
	m.conn.Signal(m.signals)
	if private {
		return nil
	}
	if err := m.conn.Hello(); err != nil {
		return err
	}
	return m.conn.AddMatchSignal(dbus.WithMatchInterface(managerMethods), dbus.WithMatchMember("JobRemoved"),
		dbus.WithMatchObjectPath(systemdPath))
}

// version is the first number of systemd's version, 0 where it does not say.
func (m *manager) version(ctx context.Context) int {
	var v dbus.Variant
	err := m.object.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, managerMethods, "Version").Store(&v)
	text, _ := v.Value().(string)
	if err != nil {
		return 0
	}
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(text)
	}
	n, _ := strconv.Atoi(text[:digits])
	return n
}

// auxiliary is a unit that comes along with a transient one; there are none.
type auxiliary struct {
	Name       string
	Properties []property
}

// start has systemd start a transient unit, and waits until it has.
func (m *manager) start(ctx context.Context, unit string, properties []property) error {
	var job dbus.ObjectPath
	call := m.object.CallWithContext(ctx, managerMethods+".StartTransientUnit", 0, unit, "fail", properties, []auxiliary{})
	if err := call.Store(&job); err != nil {
		return err
	}
	for {
		select {
		case s, open := <-m.signals:
			if !open {
				return dbus.ErrClosed
			}
			if result, ours := jobResult(s, job); ours {
				return result
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// jobResult reads a JobRemoved signal: id, job, unit, result.
func jobResult(s *dbus.Signal, job dbus.ObjectPath) (err error, ours bool) {
	var id uint32
	var path dbus.ObjectPath
	var unit, result string
	if s.Name != managerMethods+".JobRemoved" || dbus.Store(s.Body, &id, &path, &unit, &result) != nil || path != job {
		return nil, false
	}
	if result != "done" {
		return &jobError{unit, result}, true
	}
	return nil, true
}

// jobError is a job of systemd that did not end well.
type jobError struct{ unit, result string }

func (e *jobError) Error() string {
	return "systemd started " + e.unit + " with the result " + e.result
}
