package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Media types of what can be in the place of a manifest.
const (
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	TypeOCILayerGzip   = "application/vnd.oci.image.layer.v1.tar+gzip"
	TypeOCILayer       = "application/vnd.oci.image.layer.v1.tar"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Index is a list of manifests, of which each is for one platform.
type Index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []Descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Sum is the digest of data.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// IsIndex tells whether data is an index. A document that is both an index and a manifest is neither
// (CVE-2021-41190): which of the two it is would depend on who reads it.
func IsIndex(data []byte) (bool, error) {
	var both struct {
		MediaType string           `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
		Layers    *json.RawMessage `json:"layers"`
		Config    *json.RawMessage `json:"config"`
		FSLayers  *json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &both); err != nil {
		return false, &DamagedError{"the manifest", err.Error()}
	}
	index := both.Manifests != nil
	switch {
	case index && (both.Layers != nil || both.Config != nil):
		return false, &DamagedError{"the manifest", "it claims to be both an index and a manifest"}
	case both.FSLayers != nil:
		return false, &DamagedError{"the manifest", "it is of Docker's schema 1, which nothing makes any more"}
	}
	return index, nil
}

// ParseIndex reads an index.
func ParseIndex(data []byte) (*Index, error) {
	var x Index
	if err := json.Unmarshal(data, &x); err != nil {
		return nil, &DamagedError{"the index", err.Error()}
	}
	return &x, nil
}

// ParseManifest reads a manifest and checks all that others rely on: what it names are digests, and
// there are not more of them than can be stacked.
func ParseManifest(data []byte) (*Manifest, error) {
	if index, err := IsIndex(data); err != nil || index {
		if err == nil {
			err = &DamagedError{"the manifest", "it is an index"}
		}
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, &DamagedError{"the manifest", err.Error()}
	}
	if m.SchemaVersion != 2 {
		return nil, &DamagedError{"the manifest", fmt.Sprintf("its schema version is %d, not 2", m.SchemaVersion)}
	}
	if len(m.Layers) > MaxLayers {
		return nil, &DamagedError{"the manifest", fmt.Sprintf("it has %d layers, and at most %d can be stacked", len(m.Layers), MaxLayers)}
	}
	for _, d := range append([]Descriptor{m.Config}, m.Layers...) {
		if err := d.check(); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

func (d *Descriptor) check() error {
	switch {
	case !IsDigest(d.Digest):
		return &DamagedError{"the manifest", fmt.Sprintf("%q is no sha256 digest", d.Digest)}
	case d.Size < 0:
		return &DamagedError{"the manifest", fmt.Sprintf("%s has the size %d", d.Digest, d.Size)}
	}
	return nil
}

// NewImage puts an image together from the bytes of its manifest and configuration, and checks that
// they belong together.
func NewImage(rec Record, manifest, config []byte) (*Image, error) {
	m, err := ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	var c ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, &DamagedError{"the configuration of " + rec.Ref, err.Error()}
	}
	img := &Image{Record: rec, RawManifest: manifest, RawConfig: config, Manifest: *m, Config: c}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, &DamagedError{rec.Ref, fmt.Sprintf("its manifest has %d layers and its configuration %d", len(m.Layers), len(c.RootFS.DiffIDs))}
	}
	for i, d := range m.Layers {
		if !IsDigest(c.RootFS.DiffIDs[i]) {
			return nil, &DamagedError{rec.Ref, fmt.Sprintf("%q is no sha256 digest", c.RootFS.DiffIDs[i])}
		}
		img.Layers = append(img.Layers, Layer{Digest: d.Digest, DiffID: c.RootFS.DiffIDs[i], Size: d.Size})
	}
	return img, c.Config.check(rec.Ref)
}

// check refuses what no system call takes.
func (c *Config) check(ref string) error {
	for _, list := range [][]string{c.Env, c.Entrypoint, c.Cmd, {c.User, c.WorkingDir, c.StopSignal}} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return &DamagedError{"the configuration of " + ref, "a text in it has a NUL byte"}
		}
	}
	return nil
}
