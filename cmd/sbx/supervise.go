package main

import (
	"sbx/sandbox"
)

type superviseCmd struct {
	Name string `arg:"" optional:""`
}

// Run is the life of a supervisor in the background. No person calls it: it is what sandbox.Detach starts.
func (c *superviseCmd) Run() error {
	background, err := sandbox.Supervise(printNotice)
	if err != nil {
		return err
	}
	printLowered(background.Spec, background.Running.Level)
	messages = background.Log
	background.Ready()
	result, err := background.Running.Wait()
	printEnd(background.Spec, result)
	if err == nil {
		err = result.Uncovered
	}
	if err != nil {
		printError(err)
	}
	if err := background.Life.End(result, err); err != nil {
		printError(err)
	}
	return nil
}
