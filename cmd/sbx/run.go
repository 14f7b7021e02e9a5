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
	case len(command) == 0:
		return &sandbox.UsageError{Problem: "no command given", Hint: "write it after --, as in: sbx run -- make"}
	case command[0] == ":":
		return &sandbox.UsageError{Problem: "no task named after the colon", Hint: "sbx tasks lists them"}
	case c.JSON && !c.Stats:
		return &sandbox.UsageError{Problem: "--json: the only results of a run are its statistics", Hint: "add --stats"}
	}
	spec, err := c.spec(command, askOnTerminal(prepared))
	if err != nil {
		return err
	}
	return c.runSpec(spec, prepared)
}

var ownStreams = sandbox.Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}

// runSpec starts a sandbox, waits for its end, and tells what is to be told.
func (f *sandboxFlags) runSpec(spec *sandbox.Spec, prepared *sandbox.Prepared) error {
	printStart(spec)
	running, err := sandbox.Start(spec, ownStreams, prepared, printNotice)
	if err != nil {
		return err
	}
	printLowered(spec, running.Level)
	result, err := running.Wait()
	printEnd(spec, result)
	if f.Stats {
		printUsage(result, f.JSON)
	}
	if err != nil {
		return err
	}
	if result.Uncovered != nil {
		return result.Uncovered
	}
	if result.Status != 0 {
		return exitStatus(result.Status)
	}
	return nil
}
