package main

import (
	"errors"

	"sbx/sandbox"
)

type eventsCmd struct {
	JSON bool `name:"json" help:"Print a line of JSON for each."`
}

// Run prints starts and ends of sandboxes as they happen, until it is interrupted.
func (c *eventsCmd) Run() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	err = sandbox.Events(store, func(e sandbox.Event) error { return printEvent(e, c.JSON) })
	var interrupted *sandbox.InterruptedError
	if errors.As(err, &interrupted) {
		return exitStatus(128 + int(interrupted.Signal))
	}
	return err
}
