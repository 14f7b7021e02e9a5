package sandbox

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"sbx/fuseoverlay"
	"sbx/state"
	"sbx/userns"
)

// Changes are what a kept sandbox on an image has changed, and which of it belongs to the sandbox alone.
type Changes struct {
	// Image is what the sandbox was made on.
	Image *Image
	// Maps are the sandbox's: in them the files have the owners that they have inside.
	Maps userns.Maps
	// Tree is the folder with the files.
	Tree string
	// Fuse says that fuse-overlayfs made it.
	Fuse bool
	// Own are paths, relative to the tree, that no image contains: generated files, what the kernel provides,
	// mount points, and volumes.
	Own []string
	// Lines are those that sbx added to account files, by path.
	Lines map[string]string
}

// FindChanges reads what is known of a kept sandbox.
func FindChanges(folder *state.Folder) (*Changes, error) {
	spec, err := specOf(folder)
	if err != nil {
		return nil, err
	}
	if spec.Image == nil || spec.Image.Manifest == "" || spec.Root.Overlay == nil {
		return nil, &UsageError{folder.Name() + " was not made on an image", "make one: sbx run -n NAME -i IMAGE"}
	}
	c := &Changes{
		Image: spec.Image, Maps: spec.IDs.Maps, Tree: filepath.Join(folder.Upper(), "upper"), Fuse: spec.Root.Overlay.Fuse,
		Own: []string{"dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"}, Lines: map[string]string{},
	}
	for i := range spec.Root.Entries {
		c.leaveOut(&spec.Root.Entries[i])
	}
	for _, volume := range spec.Image.Volumes {
		c.Own = append(c.Own, strings.TrimPrefix(volume, "/"))
	}
	return c, nil
}

func (c *Changes) leaveOut(e *fuseoverlay.Entry) {
	path := strings.TrimPrefix(e.Target, "/")
	switch {
	case e.Kind == fuseoverlay.HideFile, e.Kind == fuseoverlay.HideDir, e.Kind == fuseoverlay.Lock: // of what another entry shows
	case e.Kind == fuseoverlay.File && (path == "etc/passwd" || path == "etc/group"):
		// Programs add users of their own to it.
		text := strings.TrimSuffix(e.Content, "\n")
		c.Lines[path] = text[strings.LastIndexByte(text, '\n')+1:] + "\n"
	default:
		c.Own = append(c.Own, path)
	}
}

// specFile is the spec that a kept sandbox was started with last, in its folder.
const specFile = "spec.json"

func readSpec(path string) (*Spec, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	spec := &Spec{}
	return spec, json.Unmarshal(data, spec)
}

// specOf is the spec that a sandbox was started with last.
func specOf(folder *state.Folder) (*Spec, error) {
	spec, err := readSpec(folder.Path(specFile))
	if err != nil {
		return nil, fmt.Errorf("reading what %s was made of: %w", folder.Name(), err)
	}
	return spec, nil
}

// MadeOn are the manifests of the images that kept sandboxes were made on, which they need to start again.
func MadeOn(store *state.Store) (manifests []string) {
	list, _, _ := store.List()
	for _, r := range list {
		spec, err := readSpec(filepath.Join(store.Folder(r.Name), specFile))
		if r.Kept && err == nil && spec.Image != nil && spec.Image.Manifest != "" {
			manifests = append(manifests, spec.Image.Manifest)
		}
	}
	return manifests
}

// Hold stops all processes of a running sandbox until release is called, or until the caller ends, however
// that ends. It tells whether it could: that takes a cgroup.
func Hold(store *state.Store, name string) (held bool, release func(), err error) {
	c, a, passed, err := ask(store, name, call{Op: "hold"})
	if err != nil {
		return false, nil, err
	}
	closeAll(passed)
	return a.Held, c.close, nil
}
