package main

import (
	"sbx/sandbox"
	"sbx/state"
)

type shellCmd struct {
	sandboxFlags
	Ref string `arg:"" optional:"" name:"image" help:"The image to open a shell in; the host's own root if none."`
}

// Run opens the user's shell. One with a name that exists is started again, or joined. A sandbox that run has made
// is joined while it runs, and not started again: its command might be anything.
//
// Without a terminal it reads its commands from stdin, as shells do.
func (c *shellCmd) Run(prepared *sandbox.Prepared) error {
	if c.JSON && !c.Stats && !c.Detach {
		return &sandbox.UsageError{Problem: "--json: the only results of a shell are its statistics", Hint: "add --stats"}
	}
	if c.Ref != "" {
		c.Image = c.Ref
	}
	if c.Name == "" || c.Detach {
		return c.start("shell", nil, prepared)
	}
	_, record, err := lookUp(c.Name)
	switch {
	case isMissing(err):
		return c.start("shell", nil, prepared)
	case err != nil:
		return err
	case !c.plain():
		return &sandbox.UsageError{Problem: "the sandbox " + c.Name + " exists, and has the flags that it was made with", Hint: "sbx shell -n " + c.Name + " alone, or sbx rm " + c.Name + " first"}
	case record.Status() == state.Exited && record.Verb != "shell":
		return &sandbox.UsageError{Problem: "the sandbox " + c.Name + " was made by sbx " + record.Verb + ", and has ended: what starts again is its command, and no shell", Hint: "sbx start " + c.Name + " starts it; while it runs, sbx shell -n " + c.Name + " opens a shell in it"}
	case record.Status() == state.Exited:
		return restart(c.Name, nil, false, nil, prepared)
	}
	return (&execCmd{Name: c.Name}).Run()
}
