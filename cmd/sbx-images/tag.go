package main

import "context"

type tagCmd struct {
	Ref  string `arg:"" name:"image" help:"An image of this machine."`
	Name string `arg:"" help:"The new name."`
}

// Run files an image under one more name.
func (c *tagCmd) Run(context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	img, err := a.find(c.Ref)
	if err != nil {
		return err
	}
	rec := img.Record
	ref, err := a.target(c.Name)
	if err != nil {
		return err
	}
	rec.Ref = ref.String()
	return a.store.Name(rec)
}
