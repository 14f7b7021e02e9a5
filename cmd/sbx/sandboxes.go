package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sbx/sandbox"
	"sbx/state"
)

// ownStore is where the caller's sandboxes are known.
func ownStore() (*state.Store, error) {
	account, err := sandbox.Caller()
	if err != nil {
		return nil, err
	}
	return state.Find(account.Home, account.UID, os.Getenv), nil
}

// lookUp reads the record of a sandbox.
func lookUp(name string) (*state.Store, *state.Record, error) {
	store, err := ownStore()
	if err != nil {
		return nil, nil, err
	}
	record, left, err := store.Get(name)
	if left != nil {
		printLeft(*left)
	}
	return store, record, err
}

// lookUpRunning is lookUp for a verb that takes a sandbox that runs.
func lookUpRunning(name string) (*state.Store, *state.Record, error) {
	store, record, err := lookUp(name)
	if err == nil && record.Status() == state.Exited {
		err = &sandbox.NotRunningError{Name: name}
	}
	return store, record, err
}

// each does something with each of several sandboxes, and goes on where one fails.
func each(names []string, do func(name string) error) error {
	failed := 0
	var last error
	for _, name := range names {
		if err := do(name); err != nil {
			if failed++; failed > 1 || len(names) > 1 {
				printError(err)
				err = exitStatus(statusFailed)
			}
			last = err
		}
	}
	return last
}

// signalNamed reads a signal as people write it.
func signalNamed(text string) (unix.Signal, error) {
	if sig := sandbox.SignalNamed(text); sig != 0 {
		return sig, nil
	}
	return 0, &sandbox.UsageError{Problem: fmt.Sprintf("no signal is called %q", text), Hint: "TERM, HUP, USR1, or a number"}
}

// moment reads a time as people write it: a duration before now, or RFC 3339.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, &sandbox.UsageError{Problem: fmt.Sprintf("%q is no time", text), Hint: "write 10m, or 2026-01-31T12:00:00Z"}
}

// stopSignal is what asks the payload of a sandbox to end.
func stopSignal(r *state.Record) unix.Signal {
	if sig := sandbox.SignalNamed(r.StopSignal); sig != 0 {
		return sig
	}
	return unix.SIGTERM
}

// isMissing tells whether an error says that there is no such sandbox.
func isMissing(err error) bool {
	var missing *state.NotFoundError
	return errors.As(err, &missing)
}

// isNotRunning tells whether an error says that a sandbox does not run, or that nobody answers for it.
func isNotRunning(err error) bool {
	var not *sandbox.NotRunningError
	var unreachable *sandbox.UnreachableError
	return errors.As(err, &not) || errors.As(err, &unreachable)
}
