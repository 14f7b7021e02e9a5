package main

import (
	"os"

	"sbx/sandbox"
)

type runCmd struct {
	sandboxFlags
	Command []string `arg:"" optional:"" passthrough:"partial" sep:"none" help:"The command and its arguments."`
}

// Run runs the command and ends as it did.
func (c *runCmd) Run(prepared *sandbox.Prepared) error {
	command := withoutDashes(c.Command)
	switch {
	case len(command) > 0 && command[0] == ":":
		return &sandbox.UsageError{Problem: "no task named after the colon", Hint: "sbx tasks lists them"}
	case c.JSON && !c.Stats && !c.Detach:
		return &sandbox.UsageError{Problem: "--json: the only results of a run are its statistics", Hint: "add --stats"}
	}
	return c.start("run", command, prepared)
}

var ownStreams = sandbox.Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}

// inherited is how many descriptors from 3 on sbx was started with.
var inherited int
