package main

import (
	"errors"

	"sbx/sandbox"
)

type attachCmd struct {
	DetachKeys string `default:"ctrl-p,ctrl-q" placeholder:"KEYS" help:"Keys that leave the sandbox to itself: ctrl-LETTER or single characters, separated by commas."`
	Name       string `arg:"" help:"The sandbox."`
}

// Run shows what a sandbox writes and gives it what is typed; it ends as the sandbox does.
func (c *attachCmd) Run() error {
	keys, err := sandbox.ParseKeys(c.DetachKeys)
	if err != nil {
		return err
	}
	store, _, err := lookUpRunning(c.Name)
	if err != nil {
		return err
	}
	end, err := sandbox.Attach(store, c.Name, keys, ownStreams)
	if errors.Is(err, sandbox.ErrDetached) {
		printDetached(c.Name)
		return nil
	}
	if err != nil {
		return err
	}
	if end.Status != 0 {
		return exitStatus(end.Status)
	}
	return nil
}
