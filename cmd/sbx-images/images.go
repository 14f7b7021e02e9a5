package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sbx/images"
)

type imagesCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// listed is a line of `sbx images`.
type listed struct {
	Ref     string    `json:"image"`
	Digest  string    `json:"digest"`
	Created time.Time `json:"created"`
	Layers  int       `json:"layers"`
	// Size is what the layers take in the store, blobs and trees, in bytes; Own is the part of it that
	// no other image shares.
	Size int64 `json:"size"`
	Own  int64 `json:"own"`
}

// Run lists the images. It reads records alone, and no file of an image.
func (c *imagesCmd) Run(context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	all, broken, err := a.store.All()
	if err != nil {
		return err
	}
	list := a.listed(all)
	for _, err := range broken {
		message("%v", err)
	}
	return printImages(list, c.JSON)
}

func (a *app) listed(all []*images.Image) []listed {
	sizes := a.store.Sizes(all)
	var list []listed
	for _, img := range all {
		size, own := sizes.Image(img)
		list = append(list, listed{Ref: img.Ref, Digest: img.Digest, Created: img.Created, Layers: len(img.Layers), Size: size, Own: own})
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.Ref, b.Ref) })
	return list
}
