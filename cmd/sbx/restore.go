package main

import (
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
	return confirm("sbx: throw away what "+c.Name+" has changed since",
		&sandbox.UsageError{Problem: "nobody can be asked here, so nothing is restored", Hint: "sbx restore --yes " + c.Name}, "nothing was restored")
}
