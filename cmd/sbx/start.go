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
	if c.Attach {
		return c.attached()
	}
	return each(c.Names, func(name string) error { return restart(name, c.Env, true, nil, nil) })
}

// attached starts one sandbox and follows it from its first output on.
func (c *startCmd) attached() error {
	if len(c.Names) != 1 {
		return &sandbox.UsageError{Problem: "--attach takes one sandbox"}
	}
	keys, err := sandbox.ParseKeys(detachKeys)
	if err != nil {
		return err
	}
	visitor, err := sandbox.NewVisitor(keys, ownStreams)
	if err != nil {
		return err
	}
	defer visitor.Close()
	return restart(c.Names[0], c.Env, true, visitor, nil)
}
