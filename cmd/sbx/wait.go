package main

import (
	"sbx/sandbox"
	"sbx/state"
)

type waitCmd struct {
	JSON  bool     `name:"json" help:"Print JSON."`
	Names []string `arg:"" name:"name" help:"The sandboxes."`
}

// ended is how a sandbox ended.
type ended struct {
	Name  string `json:"name"`
	Exit  int    `json:"exit"`
	Cause string `json:"cause"`
}

// Run waits until sandboxes have ended, and prints their exit statuses.
func (c *waitCmd) Run() error {
	list := []ended{}
	err := each(c.Names, func(name string) error {
		e, err := awaited(name)
		if err == nil {
			list = append(list, e)
		}
		return err
	})
	if failed := printEnded(list, c.JSON); failed != nil {
		return failed
	}
	return err
}

// forever is long enough for a sandbox whose supervisor does not answer.
const forever = 1<<63 - 1

func awaited(name string) (ended, error) {
	store, record, err := lookUp(name)
	if err != nil {
		return ended{}, err
	}
	// Between a supervisor's death and the note of the end a record has none yet.
	if record.Status() != state.Exited || record.Ended == nil {
		defer progress("waiting for " + name)()
		end, err := sandbox.WaitFor(store, name)
		if err == nil {
			return ended{name, end.Status, end.Cause}, nil
		}
		if !isNotRunning(err) {
			return ended{}, err
		}
		if record, _, err = awaitEnd(store, name, forever); err != nil {
			return ended{}, err
		}
		if record == nil {
			return ended{}, &state.NotFoundError{Name: name}
		}
	}
	return ended{name, *record.Exit, record.Cause}, nil
}
