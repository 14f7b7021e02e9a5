package main

import (
	"errors"
	"os"

	"sbx/sandbox"
	"sbx/state"
)

type restoreCmd struct {
	Yes   bool   `short:"y" help:"Do not ask."`
	Name  string `arg:"" help:"The sandbox."`
	Point string `arg:"" optional:"" name:"snapshot" help:"The snapshot; the last one if none is named."`
}

// Run brings back what a sandbox had changed at a snapshot. What it has changed since goes.
func (c *restoreCmd) Run() error {
	return withEnded(c.Name, func(folder *state.Folder) error {
		if err := c.ask(); err != nil {
			return err
		}
		done := progress("restoring " + c.Name)
		point, err := sandbox.RestorePoint(folder, c.Point)
		done()
		if err != nil {
			return err
		}
		printRestored(c.Name, point)
		return nil
	})
}

func (c *restoreCmd) ask() error {
	if c.Yes {
		return nil
	}
	if !isTerminal(os.Stdin) || !isTerminal(os.Stderr) {
		return &sandbox.UsageError{Problem: "nobody can be asked here, so nothing is restored", Hint: "sbx restore --yes " + c.Name}
	}
	said, err := askOne("sbx: throw away what "+c.Name+" has changed since", "yn", "y yes, n no")
	if err == nil && said != 'y' {
		err = errors.New("nothing was restored")
	}
	return err
}
