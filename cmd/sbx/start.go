package main

import (
	"sbx/profiles"
	"sbx/sandbox"
)

type startCmd struct {
	Attach bool     `short:"a" help:"Attach to it."`
	Env    []string `short:"e" sep:"none" placeholder:"KEY[=VALUE]" help:"Pass or set a variable, this time."`
	Names  []string `arg:"" name:"name" help:"The sandboxes."`
}

// Run starts sandboxes that have ended, in the background, with the files that they left.
func (c *startCmd) Run() error {
	for _, env := range c.Env {
		if err := profiles.CheckEnvFlag(env); err != nil {
			return err
		}
	}
	if c.Attach && len(c.Names) != 1 {
		return &sandbox.UsageError{Problem: "--attach takes one sandbox"}
	}
	err := each(c.Names, func(name string) error { return restart(name, c.Env, true, nil) })
	if err == nil && c.Attach {
		return (&attachCmd{Name: c.Names[0], DetachKeys: "ctrl-p,ctrl-q"}).Run()
	}
	return err
}
