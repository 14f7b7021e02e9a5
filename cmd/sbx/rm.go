package main

import (
	"errors"

	"golang.org/x/sys/unix"

	"sbx/sandbox"
	"sbx/state"
)

type rmCmd struct {
	Force bool     `short:"f" help:"End it first where it runs; no error where there is none."`
	Names []string `arg:"" name:"name" help:"The sandboxes."`
}

// Run removes sandboxes with their files.
func (c *rmCmd) Run() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	return each(c.Names, func(name string) error {
		err := c.remove(store, name)
		if c.Force && isMissing(err) {
			return nil
		}
		return err
	})
}

func (c *rmCmd) remove(store *state.Store, name string) error {
	defer progress("removing " + name)()
	record, left, err := store.Get(name)
	if left != nil {
		printLeft(*left)
	}
	var unreadable *state.RecordError
	switch {
	case errors.As(err, &unreadable) && !c.Force:
		return err
	case errors.As(err, &unreadable): // who runs it can be asked still
	case err != nil:
		return err
	case record.Status() != state.Exited && !c.Force:
		return &sandbox.UsageError{Problem: name + " is " + string(record.Status()), Hint: "sbx stop " + name + ", or sbx rm -f " + name}
	}
	if err == nil && !c.Force {
		if err := askToLose(store, record); err != nil {
			return err
		}
	}
	if err != nil || record.Status() != state.Exited {
		if err := sandbox.Kill(store, name, unix.SIGKILL); err != nil && !isNotRunning(err) {
			return err
		}
	}
	if err == nil {
		if err := end(store, name, 0); err != nil {
			return err
		}
	}
	folder, err := store.Open(name)
	if err != nil {
		if isMissing(err) && record != nil && record.Status() != state.Exited {
			return nil // it was not to stay
		}
		return err
	}
	defer folder.Close()
	if err := folder.LockPatiently(); err != nil {
		return err
	}
	return folder.Remove(sandbox.RemoveForeign)
}
