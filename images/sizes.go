package images

import "os"

// Sizes knows what layers take in the store, and who has them. It reads records, and no file of a layer.
type Sizes struct {
	store   *Store
	layouts []string
	users   map[string]map[string]bool // by DiffID: the manifests of images that have the layer
}

// Sizes looks at the images that all are compared with.
func (s *Store) Sizes(all []*Image) *Sizes {
	z := &Sizes{store: s, users: map[string]map[string]bool{}}
	entries, _ := os.ReadDir(s.Layout(""))
	for _, e := range entries {
		z.layouts = append(z.layouts, e.Name())
	}
	for _, img := range all {
		for _, l := range img.Layers {
			if z.users[l.DiffID] == nil {
				z.users[l.DiffID] = map[string]bool{}
			}
			z.users[l.DiffID][img.Record.Manifest] = true
		}
	}
	return z
}

// Layer is what a layer takes, in bytes: its blob, and its trees for all id layouts.
func (z *Sizes) Layer(l Layer) (blob, trees int64) {
	if info, err := os.Lstat(z.store.Blob(l.Digest)); err == nil {
		blob = info.Size()
	}
	for _, layout := range z.layouts {
		if meta, ok, err := z.store.Unpacked(layout, l.DiffID); ok && err == nil {
			trees += meta.Bytes
		}
	}
	return blob, trees
}

// Shared tells whether further images have a layer.
func (z *Sizes) Shared(l Layer) bool { return len(z.users[l.DiffID]) > 1 }

// Image is what the layers of an image take, in bytes, and the part of it that no other image has.
func (z *Sizes) Image(img *Image) (size, own int64) {
	seen := map[string]bool{}
	for _, l := range img.Layers {
		if seen[l.DiffID] {
			continue
		}
		seen[l.DiffID] = true
		blob, trees := z.Layer(l)
		size += blob + trees
		if !z.Shared(l) {
			own += blob + trees
		}
	}
	return size, own
}
