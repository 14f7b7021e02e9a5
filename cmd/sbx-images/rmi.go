package main

import "context"

type rmiCmd struct {
	Refs []string `arg:"" name:"image" help:"Names of images."`
}

// Run removes names. What nothing else uses stays until prune, for it may be wanted again soon.
func (c *rmiCmd) Run(context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	for _, name := range c.Refs {
		ref, err := a.ref(name)
		if err != nil {
			return err
		}
		if err := a.store.Unname(ref.String()); err != nil {
			return err
		}
	}
	return nil
}
