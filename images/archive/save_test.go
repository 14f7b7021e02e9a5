package archive

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sbx/images"
)

// What lies at a name of the layout already, put there by whoever else writes to the folder, is neither written to nor
// followed: a link to a file of the caller's, to a folder, and one in the place of blobs.
func TestSaveFolderFollowsNoLink(t *testing.T) {
	store, img := smallImage(t)
	layer := blobName(img.Layers[0].Digest)
	for _, name := range []string{"index.json", "oci-layout", layer, filepath.Dir(layer), "blobs"} {
		dir, outside := t.TempDir(), t.TempDir()
		target := filepath.Join(outside, "file")
		if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "blobs" || name == filepath.Dir(layer) {
			target = outside
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := SaveFolder(store, img, dir); err == nil {
			t.Errorf("%s: written all the same", name)
		}
		got, err := os.ReadFile(filepath.Join(outside, "file"))
		left, _ := os.ReadDir(outside)
		if err != nil || string(got) != "mine" || len(left) != 1 {
			t.Errorf("%s: outside is now %q, %d files, %v", name, got, len(left), err)
		}
	}
	if err := SaveFolder(store, img, filepath.Join(t.TempDir(), "new/folder")); err != nil {
		t.Error(err)
	}
}

// smallImage is a store with the one layer of an image.
func smallImage(t *testing.T) (*images.Store, *images.Image) {
	t.Helper()
	store := &images.Store{Dir: t.TempDir()}
	if err := store.Prepare(); err != nil {
		t.Fatal(err)
	}
	layer, config := []byte(strings.Repeat("layer", 100)), []byte("{}")
	digest := images.Sum(layer)
	if err := os.WriteFile(store.Blob(digest), layer, 0o600); err != nil {
		t.Fatal(err)
	}
	img := &images.Image{RawConfig: config, Manifest: images.Manifest{SchemaVersion: 2, MediaType: images.TypeOCIManifest,
		Config: images.Descriptor{Digest: images.Sum(config)}}, Layers: []images.Layer{{Digest: digest, Size: int64(len(layer))}}}
	raw, err := json.Marshal(img.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	img.RawManifest = raw
	return store, img
}
