package main

import "sbx/sandbox"

type explainCmd struct {
	sandboxFlags
	Plan    bool     `help:"Show the plan: the system calls between clone and execve."`
	Command []string `arg:"" optional:"" passthrough:"partial" sep:"none" help:"The command and its arguments."`
}

// Run prints the spec, in plain words or as JSON, or its plan.
func (c *explainCmd) Run() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	upper := ""
	if c.Name != "" {
		upper = store.Upper(c.Name)
	}
	command := withoutDashes(c.Command)
	streams := ownStreams
	if streams.More, err = sandbox.Handed(c.PreserveFds, inherited); err != nil {
		return err
	}
	spec, _, err := c.resolve(command, len(command) == 0 && c.Image == "", nil, store, upper, streams, nil)
	if err != nil {
		return err
	}
	if c.Plan {
		return printPlan(sandbox.Compile(spec), c.JSON)
	}
	return printSpec(spec, c.JSON)
}
