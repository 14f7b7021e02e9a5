package main

import (
	"time"

	"golang.org/x/sys/unix"

	"sbx/sandbox"
	"sbx/state"
)

type stopCmd struct {
	Time  time.Duration `short:"t" default:"10s" placeholder:"DURATION" help:"How long the payload has before it is killed."`
	Names []string      `arg:"" name:"name" help:"The sandboxes."`
}

// Run ends sandboxes: the payload is asked to, and killed with all else inside where it does not.
func (c *stopCmd) Run() error {
	return each(c.Names, func(name string) error { return stop(name, c.Time) })
}

func stop(name string, grace time.Duration) error {
	store, record, err := lookUp(name)
	if err != nil || record.Status() == state.Exited {
		return err // it has ended, as was asked for
	}
	defer progress("stopping " + name)()
	_, err = sandbox.Stop(store, name, stopSignal(record), grace)
	if isNotRunning(err) {
		return end(store, name, grace)
	}
	return err
}

// ending is how long a supervisor that cannot be reached may take to end by itself.
const ending = time.Second

// end ends a sandbox whose supervisor cannot be reached: by its process.
func end(store *state.Store, name string, grace time.Duration) error {
	record, over, err := awaitEnd(store, name, ending)
	if over || err != nil {
		return err
	}
	record.Supervisor.Signal(unix.SIGTERM) // which it gives to its payload
	if _, over, err = awaitEnd(store, name, grace); over || err != nil {
		return err
	}
	record.Supervisor.Signal(unix.SIGKILL)
	if _, over, err = awaitEnd(store, name, ending); over || err != nil {
		return err
	}
	return &sandbox.UnreachableError{Name: name}
}

// awaitEnd waits some time for the end of a sandbox, and puts its record right.
func awaitEnd(store *state.Store, name string, most time.Duration) (record *state.Record, over bool, err error) {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		record, _, err = store.Get(name)
		switch {
		case isMissing(err):
			return nil, true, nil
		case err != nil:
			return nil, false, err
		case record.Status() == state.Exited && record.Ended != nil:
			return record, true, nil
		case time.Since(start) > most:
			return record, false, nil
		}
	}
}
