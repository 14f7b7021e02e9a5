package main

import (
	"errors"

	"sbx/sandbox"
)

// detachKeys are the usual ones.
const detachKeys = "ctrl-p,ctrl-q"

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
	return attachedTo(c.Name, end, err)
}

// attachedTo ends a verb that was attached to a sandbox, as that did.
func attachedTo(name string, end sandbox.End, err error) error {
	if errors.Is(err, sandbox.ErrDetached) {
		printDetached(name)
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
