package main

import "context"

type pushCmd struct {
	Ref string `arg:"" name:"image" help:"An image of this machine; its name says where to."`
	To  string `arg:"" optional:"" name:"to" help:"Another name to push it under."`
}

// Run sends an image to its registry.
func (c *pushCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	img, err := a.find(c.Ref)
	if err != nil {
		return err
	}
	name := img.Ref
	if c.To != "" {
		name = c.To
	}
	ref, err := a.target(name)
	if err != nil {
		return err
	}
	if err := a.client().Push(ctx, a.store, img, ref); err != nil {
		return err
	}
	img.Ref = ref.String()
	img.Record.Digest = img.Record.Manifest
	return printPulled(img)
}
