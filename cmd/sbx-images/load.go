package main

import (
	"context"
	"os"
	"strings"

	"sbx/images"
	"sbx/images/archive"
	"sbx/images/registry"
)

type loadCmd struct {
	Input string `short:"i" required:"" placeholder:"FILE|DIR[:TAG]" help:"An OCI image layout, as a tar or a folder, or a docker-archive."`
	Name  string `placeholder:"REF" help:"The name to file it under; else the one that it carries."`
}

// Run takes an image from a file or folder into the store, and unpacks it.
func (c *loadCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	keep, err := a.store.KeepGarbage()
	if err != nil {
		return err
	}
	defer keep.Close()
	path, tag := c.Input, ""
	if _, err := os.Stat(path); err != nil { // a name of a file may hold a colon
		if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
			path, tag = path[:i], path[i+1:]
		}
	}
	loaded, err := archive.Load(a.store, path, tag, a.layerOptions().MaxBytes)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = loaded.Name
	}
	if name == "" {
		return &usageError{"the image carries no name", "give it one: --name NAME"}
	}
	if !strings.ContainsAny(name, "/:") && c.Name == "" {
		return &usageError{"the image carries the name " + name + ", which is a tag alone", "give it a whole one: --name NAME:" + name}
	}
	l, err := a.rootLayout()
	if err != nil {
		return err
	}
	return l.file(ctx, loaded.Image, name)
}

// file unpacks an image whose blobs are in the store, and names it.
func (l *layout) file(ctx context.Context, img *images.Image, name string) error {
	ref, err := l.app.target(name)
	if err != nil {
		return err
	}
	img.Ref = ref.String()
	progress := newProgress()
	defer progress.end()
	if err := l.puller(progress).Complete(ctx, img); err != nil {
		return err
	}
	if err := l.app.store.Name(img.Record); err != nil {
		return err
	}
	progress.end()
	return printPulled(img)
}

// puller brings and unpacks for this layout.
func (l *layout) puller(progress *progress) *registry.Puller {
	return &registry.Puller{
		Client: l.app.client(), Store: l.app.store, Has: l.has, Unpack: l.unpack, Event: progress.event,
		Settle: func(layers []images.Layer) error { return l.app.store.Settle(l.name, layers) },
	}
}
