package main

import (
	"context"
	"errors"

	"sbx/images"
	"sbx/profiles"
)

type pullCmd struct {
	List    bool   `help:"List the tags of the repository instead."`
	Missing bool   `help:"Ask no registry where the image is here already."`
	User    string `short:"u" default:"root" placeholder:"me|root|UID[:GID]" help:"Unpack for sandboxes with this user inside; root by default."`
	Ref     string `arg:"" name:"image" help:"NAME, REGISTRY/NAME:TAG or NAME@DIGEST."`
}

// Run brings the image, and says where it is.
func (c *pullCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	ref, err := a.ref(c.Ref)
	if err != nil {
		return err
	}
	if c.List {
		tags, err := a.client().Tags(ctx, ref)
		if err != nil {
			return err
		}
		return printTags(tags)
	}
	user, err := profiles.ParseUser(c.User)
	if err != nil {
		return err
	}
	l, err := a.layout(user)
	if err != nil {
		return err
	}
	img, err := l.pull(ctx, ref, c.Missing)
	if err != nil {
		return err
	}
	return printPulled(img)
}

// pull brings an image for this layout: from the store, where that will do and has all of it, else from
// a registry.
func (l *layout) pull(ctx context.Context, ref images.Ref, storeWillDo bool) (*images.Image, error) {
	if err := l.sweep(); err != nil {
		return nil, err
	}
	if l.single {
		message("level single-id: the files of the image all show as one user's, for there are no sub-ids here")
	}
	progress := newProgress()
	defer progress.end()
	p := l.puller(progress)
	if storeWillDo {
		img, err := l.app.store.Find(ref)
		if err == nil {
			err = p.Complete(ctx, img)
		}
		if !errors.As(err, new(*images.NotFoundError)) && !errors.As(err, new(*images.DamagedError)) {
			return img, err
		}
	}
	return p.Pull(ctx, ref)
}
