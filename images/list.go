package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// All are the images of the store that have names; broken is what is wrong with the others.
func (s *Store) All() (all []*Image, broken []error, err error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, "refs"))
	if err != nil {
		return nil, nil, fmt.Errorf("listing images: %w", err)
	}
	for _, e := range entries {
		var rec Record
		if err := readJSON(filepath.Join(s.Dir, "refs", e.Name()), &rec); err != nil {
			broken = append(broken, err)
			continue
		}
		img, err := s.Image(rec)
		if err != nil {
			broken = append(broken, fmt.Errorf("%s: %w", rec.Ref, err))
			continue
		}
		all = append(all, img)
	}
	return all, broken, nil
}

// Unname removes a name.
func (s *Store) Unname(name string) error {
	err := os.Remove(s.RefFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return &NotFoundError{name}
	}
	return err
}

// Garbage is a part of the store that no name and no running sandbox leads to.
type Garbage struct {
	What string `json:"what"` // "blob", "layer" or "remnant"
	Name string `json:"name"`
	Size int64  `json:"size"` // in bytes, as far as records tell
	path string
	lock string // the name under which its makers lock it
}

// PruneLock is locked by who removes garbage.
const PruneLock = "prune"

// Garbage lists what can go; kept are manifests that are used besides. Damaged records keep nothing alive, and are no garbage themselves.
func (s *Store) Garbage(kept []string) ([]Garbage, error) {
	blobs, layers, err := s.reached(kept)
	if err != nil {
		return nil, err
	}
	var list []Garbage
	for _, dir := range []string{"blobs/sha256", "blobs/partial"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir, dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && !blobs[e.Name()] {
				list = append(list, Garbage{"blob", "sha256:" + e.Name(), info.Size(), filepath.Join(s.Dir, dir, e.Name()), e.Name()})
			}
		}
	}
	trees, err := filepath.Glob(filepath.Join(s.Dir, "layers/*/*"))
	if err != nil {
		return nil, err
	}
	for _, path := range trees {
		if !layers[filepath.Base(path)] {
			var meta Meta
			readJSON(MetaFile(path), &meta)
			list = append(list, Garbage{"layer", cmp.Or(meta.DiffID, filepath.Base(path)), meta.Bytes, path, ""})
		}
	}
	for _, path := range s.Remnants() {
		list = append(list, Garbage{"remnant", filepath.Base(path), 0, path, ""})
	}
	slices.SortStableFunc(list, func(a, b Garbage) int { return cmp.Compare(a.What, b.What) })
	return list, nil
}

// reached are the blobs, by their hex, and the layers, by their names, that a name or a running sandbox
// leads to.
func (s *Store) reached(kept []string) (blobs, layers map[string]bool, err error) {
	blobs, layers = map[string]bool{}, map[string]bool{}
	all, _, err := s.All()
	if err != nil {
		return nil, nil, err
	}
	inUse, err := s.inUse()
	if err != nil {
		return nil, nil, err
	}
	for _, manifest := range append(inUse, kept...) {
		if img, err := s.Image(Record{Ref: manifest, Digest: manifest, Manifest: manifest}); err == nil {
			all = append(all, img)
		}
	}
	for _, img := range all {
		for _, digest := range []string{img.Record.Digest, img.Record.Manifest, img.Manifest.Config.Digest} {
			blobs[hexOf(digest)] = true
		}
		for _, l := range img.Layers {
			blobs[hexOf(l.Digest)], layers[LayerName(l.DiffID)] = true, true
		}
	}
	return blobs, layers, nil
}

// inUse are the manifests that running sandboxes have locked.
func (s *Store) inUse() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, "uses"))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		f, err := os.Open(filepath.Join(s.Dir, "uses", e.Name()))
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			list = append(list, "sha256:"+e.Name())
		}
		f.Close()
	}
	return list, nil
}

// Discard removes a piece of garbage, unless somebody is making it at this moment. remove removes what
// may belong to sub-ids. A layer is renamed before it is removed, so that it is there whole or not.
func (s *Store) Discard(ctx context.Context, g Garbage, remove func(path string) error) error {
	if g.lock != "" {
		f, err := os.OpenFile(s.Lock(g.lock), os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return nil
		}
		defer os.Remove(f.Name())
		return os.Remove(g.path)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	path := g.path
	if g.What == "layer" {
		var err error
		if path, err = s.setAside(g.path); err != nil {
			return err
		}
	}
	return remove(path)
}
