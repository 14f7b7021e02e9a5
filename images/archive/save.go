package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sbx/images"
	"sbx/images/layer"
)

// Decompressed reads a file that may be compressed by gzip or zstd.
func Decompressed(r io.Reader) (io.Reader, error) { return layer.Open(r) }

// layoutFile marks a folder as an OCI image layout.
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// sink takes the files of a layout.
type sink interface {
	file(name string, size int64, r io.Reader) error
}

// SaveFolder writes an image as an OCI image layout into a new or empty folder. A sandbox may be writing to that meanwhile,
// so no file is taken that is there already: it may be a link to any of the caller's.
func SaveFolder(s *images.Store, img *images.Image, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll("blobs/sha256", 0o755); err != nil {
		return err
	}
	return save(s, img, folderSink{root})
}

// SaveTar writes an image as the tar of an OCI image layout.
func SaveTar(s *images.Store, img *images.Image, w io.Writer) error {
	t := tar.NewWriter(w)
	for _, name := range []string{"blobs/", "blobs/sha256/"} { // others make what is not named root's, and fail
		if err := t.WriteHeader(member(tar.TypeDir, name, 0, 0o755)); err != nil {
			return err
		}
	}
	if err := save(s, img, tarSink{t}); err != nil {
		return err
	}
	return t.Close()
}

func save(s *images.Store, img *images.Image, to sink) error {
	raw, err := ociManifest(img)
	if err != nil {
		return err
	}
	digest := images.Sum(raw)
	index, err := json.Marshal(images.Index{SchemaVersion: 2, MediaType: images.TypeOCIIndex, Manifests: []images.Descriptor{{
		MediaType: images.TypeOCIManifest, Digest: digest, Size: int64(len(raw)),
		Platform:    &images.Platform{OS: img.Config.OS, Architecture: img.Config.Architecture, Variant: img.Config.Variant},
		Annotations: map[string]string{refName: img.Ref},
	}}})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, l := range img.Layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		if err := saveBlob(s, l.Digest, to); err != nil {
			return err
		}
	}
	for _, small := range []struct {
		name string
		data []byte
	}{
		{blobName(img.Manifest.Config.Digest), img.RawConfig}, {blobName(digest), raw},
		{"oci-layout", []byte(layoutFile)}, {"index.json", index},
	} {
		if err := to.file(small.name, int64(len(small.data)), bytes.NewReader(small.data)); err != nil {
			return err
		}
	}
	return nil
}

// ociManifest is the manifest as a layout holds it: as it is, or, where it is of Docker's kind, which others do
// not look for in a layout, one of the image specification's that names the same configuration and layers.
func ociManifest(img *images.Image) ([]byte, error) {
	if img.Manifest.MediaType != images.TypeDockerManifest {
		return img.RawManifest, nil
	}
	m := img.Manifest
	m.MediaType, m.Config.MediaType = images.TypeOCIManifest, images.TypeOCIConfig
	m.Layers = slices.Clone(m.Layers)
	for i := range m.Layers {
		m.Layers[i].MediaType = ociType(m.Layers[i].MediaType)
	}
	return json.Marshal(m)
}

func blobName(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }

func saveBlob(s *images.Store, digest string, to sink) error {
	f, err := os.Open(s.Blob(digest))
	if err != nil {
		return fmt.Errorf("reading a layer from the store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return to.file(blobName(digest), info.Size(), f)
}

type folderSink struct{ root *os.Root }

func (s folderSink) file(name string, _ int64, r io.Reader) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return f.Close()
}

type tarSink struct{ w *tar.Writer }

func (s tarSink) file(name string, size int64, r io.Reader) error {
	if err := s.w.WriteHeader(member(tar.TypeReg, name, size, 0o644)); err != nil {
		return err
	}
	if n, err := io.Copy(s.w, r); err != nil || n != size {
		return fmt.Errorf("writing %s: %d of %d bytes: %w", name, n, size, err)
	}
	return nil
}

// member is the header of a file or folder. It belongs to the caller: some readers give what they unpack the
// owners of the tar, and fail where they may not.
func member(kind byte, name string, size, mode int64) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: name, Size: size, Mode: mode, ModTime: time.Unix(0, 0), Uid: os.Getuid(), Gid: os.Getgid(),
	}
}
