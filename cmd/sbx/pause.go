package main

import "sbx/sandbox"

type pauseCmd struct {
	Names []string `arg:"" name:"name" help:"The sandboxes."`
}

// Run stops all that runs in sandboxes, until they are resumed.
func (c *pauseCmd) Run() error {
	return each(c.Names, func(name string) error { return pause(name, true) })
}

func pause(name string, on bool) error {
	store, _, err := lookUpRunning(name)
	if err != nil {
		return err
	}
	return sandbox.Pause(store, name, on)
}
