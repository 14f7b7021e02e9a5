package main

import (
	"context"
	"os"

	"sbx/images"
	"sbx/images/archive"
	"sbx/images/layer"
	"sbx/sandbox"
	"sbx/state"
)

type commitCmd struct {
	Change  []string `short:"c" sep:"none" placeholder:"KEY VALUE" help:"A part of its configuration, as in a Dockerfile: ENV, CMD, ENTRYPOINT, USER, WORKDIR, VOLUME, LABEL, STOPSIGNAL."`
	Message string   `short:"m" placeholder:"TEXT" help:"A word about it, for its history."`
	Author  string   `short:"a" placeholder:"NAME" help:"Who made it, for its history."`
	Sandbox string   `arg:"" name:"sandbox" help:"A sandbox on an image, with a name."`
	Ref     string   `arg:"" name:"image" help:"The name of the new image."`
}

// Run makes an image of what a sandbox has changed: that of the sandbox, with one layer more.
func (c *commitCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	if _, err := a.target(c.Ref); err != nil {
		return err
	}
	keep, err := a.store.KeepGarbage()
	if err != nil {
		return err
	}
	defer keep.Close()
	changes, release, err := a.changes(c.Sandbox)
	if err != nil {
		return err
	}
	defer release()
	base, err := a.store.Image(images.Record{Ref: changes.Image.Ref, Digest: changes.Image.Digest, Manifest: changes.Image.Manifest})
	if err != nil {
		return err
	}
	config := base.Config.Config
	if err := change(&config, c.Change); err != nil {
		return err
	}
	l := a.layoutOf(changes.Maps)
	lay, err := l.packed(changes.Tree, layer.PackOptions{Exclude: changes.Own, Upper: true, Fuse: changes.Fuse, Without: changes.Lines})
	if err != nil {
		return err
	}
	release()
	img, err := archive.NewImage(a.store, base, lay, config, images.History{CreatedBy: "sbx commit " + c.Sandbox, Author: c.Author, Comment: c.Message})
	if err != nil {
		return err
	}
	return l.file(ctx, img, c.Ref)
}

// changes are what a sandbox has changed. Until release is called, which may be done twice, nobody starts or
// removes the sandbox, and if it runs nothing in it goes on.
func (a *app) changes(name string) (c *sandbox.Changes, release func(), err error) {
	sandboxes := state.Find(a.account.Home, a.account.UID, os.Getenv)
	record, _, err := sandboxes.Get(name)
	if err != nil {
		return nil, nil, err
	}
	folder, err := sandboxes.Open(name)
	if err != nil {
		return nil, nil, err
	}
	release = folder.Close
	defer func() {
		if err != nil {
			release()
		}
	}()
	if !record.Kept {
		return nil, release, &usageError{name + " keeps no files", "make it under a name: sbx run -n NAME -i IMAGE"}
	}
	if err := folder.Lock(); err != nil {
		return nil, release, err
	}
	if record.Status() != state.Exited {
		held, letGo, err := sandbox.Hold(sandboxes, name)
		if err != nil {
			return nil, release, err
		}
		if !held {
			printGoesOn(name)
		}
		release = func() { letGo(); folder.Close() }
	}
	c, err = sandbox.FindChanges(folder)
	return c, release, err
}
