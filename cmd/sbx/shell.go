package main

import (
	"sbx/sandbox"
)

type shellCmd struct {
	sandboxFlags
	Ref string `arg:"" optional:"" name:"image" help:"The image to open a shell in; the host's own root if none."`
}

// Run opens the user's shell. Without a terminal it reads its commands from stdin, as shells do.
func (c *shellCmd) Run(prepared *sandbox.Prepared) error {
	if c.JSON && !c.Stats {
		return &sandbox.UsageError{Problem: "--json: the only results of a shell are its statistics", Hint: "add --stats"}
	}
	if c.Ref != "" {
		c.Image = c.Ref
	}
	spec, err := c.spec(nil, askOnTerminal(prepared))
	if err != nil {
		return err
	}
	return c.runSpec(spec, prepared)
}
