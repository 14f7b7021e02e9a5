package main

import (
	"context"
	"os"

	"sbx/images"
	"sbx/sandbox"
	"sbx/state"
)

type pruneCmd struct {
	Force bool `short:"f" help:"Remove what is listed."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run lists what no name and no sandbox leads to, and removes it if told to.
func (c *pruneCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	lock, err := a.store.LockName(ctx, images.PruneLock, nil)
	if err != nil {
		return err
	}
	defer lock.Close()
	garbage, err := a.store.Garbage(sandbox.MadeOn(state.Find(a.account.Home, a.account.UID, os.Getenv)))
	if err != nil {
		return err
	}
	if err := printGarbage(garbage, c.JSON); err != nil || !c.Force {
		return err
	}
	l, err := a.rootLayout()
	if err != nil {
		return err
	}
	for _, g := range garbage {
		if err := a.store.Discard(ctx, g, l.remove); err != nil {
			return err
		}
	}
	return nil
}
