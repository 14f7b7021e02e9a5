package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
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
	size := a.sizes()
	users := map[string]map[string]bool{} // of a layer: the manifests that have it
	for _, img := range all {
		for _, l := range img.Layers {
			if users[l.DiffID] == nil {
				users[l.DiffID] = map[string]bool{}
			}
			users[l.DiffID][img.Record.Manifest] = true
		}
	}
	var list []listed
	for _, img := range all {
		line := listed{Ref: img.Ref, Digest: img.Digest, Created: img.Created, Layers: len(img.Layers)}
		seen := map[string]bool{}
		for _, l := range img.Layers {
			if seen[l.DiffID] {
				continue
			}
			seen[l.DiffID] = true
			n := size(l)
			line.Size += n
			if len(users[l.DiffID]) == 1 {
				line.Own += n
			}
		}
		list = append(list, line)
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.Ref, b.Ref) })
	return list
}

// sizes tells what a layer takes: its blob, and its trees for all layouts, as their records say.
func (a *app) sizes() func(images.Layer) int64 {
	layouts, _ := os.ReadDir(a.store.Layout(""))
	return func(l images.Layer) (n int64) {
		if info, err := os.Lstat(a.store.Blob(l.Digest)); err == nil {
			n += info.Size()
		}
		for _, layout := range layouts {
			if meta, ok, err := a.store.Unpacked(filepath.Base(layout.Name()), l.DiffID); ok && err == nil {
				n += meta.Bytes
			}
		}
		return n
	}
}
