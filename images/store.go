package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a folder of images. What is in its final place is whole: everything is made elsewhere,
// written to the disk, and renamed.
//
//	blobs/sha256/HEX      manifests, configurations and compressed layers, as they were transferred
//	blobs/partial/HEX     what has come of a layer so far
//	layers/LAYOUT/NAME/   a layer unpacked for one id layout: the tree f and the record layer.json
//	refs/HEX.json         a name and the digest it stands for; HEX is the hash of the name
//	uses/HEX              locked, shared, by each running sandbox on the manifest HEX
//	locks/NAME            locked by who makes the blob or layer NAME
//	tmp/                  what is being made; each part is locked by its maker
type Store struct{ Dir string }

// Media types and sizes that the store knows.
const (
	// MaxJSON bounds a manifest, an index and a configuration, in bytes.
	MaxJSON = 4 << 20
	// MaxLayers bounds the layers of an image: the kernel's overlay stacks at most 500 (OVL_MAX_STACK),
	// and sbx needs some of its own.
	MaxLayers = 480
)

// Blob is where a blob lies, or would lie. The digest must be one (IsDigest).
func (s *Store) Blob(digest string) string {
	return filepath.Join(s.Dir, "blobs/sha256", hexOf(digest))
}

// Partial is where what has come of a blob so far lies.
func (s *Store) Partial(digest string) string {
	return filepath.Join(s.Dir, "blobs/partial", hexOf(digest))
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// Layout is the folder of the layers for one id layout.
func (s *Store) Layout(layout string) string { return filepath.Join(s.Dir, "layers", layout) }

// Lock is the file that the maker of a blob or layer locks.
func (s *Store) Lock(name string) string { return filepath.Join(s.Dir, "locks", name) }

// Tmp is the folder of what is being made.
func (s *Store) Tmp() string { return filepath.Join(s.Dir, "tmp") }

// Prepare makes the folders of the store.
func (s *Store) Prepare() error {
	for _, dir := range []string{"blobs/sha256", "blobs/partial", "layers", "refs", "uses", "locks", "tmp"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("making the image store: %w", err)
		}
	}
	return nil
}

// Record is what the store knows about a name.
type Record struct {
	Ref string `json:"ref"`
	// Digest is what the registry has under the name: of an index or of a manifest.
	Digest string `json:"digest"`
	// Manifest is the digest of this platform's manifest.
	Manifest string    `json:"manifest"`
	Created  time.Time `json:"created"` // when the name was filed here
}

// Manifest is a manifest as the image specification has it, or Docker's of schema 2.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Descriptor names content by its digest.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Platform is what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// ConfigFile is the configuration of an image.
type ConfigFile struct {
	Created      *time.Time `json:"created,omitempty"`
	Author       string     `json:"author,omitempty"`
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	Variant      string     `json:"variant,omitempty"`
	Config       Config     `json:"config"`
	RootFS       RootFS     `json:"rootfs"`
	History      []History  `json:"history,omitempty"`
}

// Config is what an image says about the processes started on it. It is hostile input.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// RootFS lists the layers, lowest first, by the digests of their uncompressed tars.
type RootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// History tells how a layer came to be.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Image is an image of the store.
type Image struct {
	Record
	// Raw are the bytes of manifest and configuration that the digests are of.
	RawManifest, RawConfig []byte `json:"-"`
	Manifest               Manifest
	Config                 ConfigFile
	Layers                 []Layer
}

// Layer is one layer of an image.
type Layer struct {
	Digest string `json:"digest"`  // of the compressed blob
	DiffID string `json:"diff_id"` // of the tar
	Size   int64  `json:"size"`    // of the blob, in bytes
}

// NotFoundError is an image that the store does not have.
type NotFoundError struct{ Ref string }

func (e *NotFoundError) Error() string { return e.Ref + " is not in the image store" }

// DamagedError is content of the store or of a registry that is not what its name says.
type DamagedError struct{ What, Why string }

func (e *DamagedError) Error() string { return e.What + ": " + e.Why }

// Find is the image of a name.
func (s *Store) Find(ref Ref) (*Image, error) {
	var rec Record
	err := readJSON(s.RefFile(ref.String()), &rec)
	if errors.Is(err, fs.ErrNotExist) && ref.Digest != "" {
		return s.byDigest(ref)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{ref.String()}
	}
	if err != nil {
		return nil, err
	}
	return s.Image(rec)
}

// byDigest is an image that is here under another name, or under none any more.
func (s *Store) byDigest(ref Ref) (*Image, error) {
	raw, err := s.Document(ref.Digest)
	if err != nil {
		return nil, &NotFoundError{ref.String()}
	}
	if index, err := IsIndex(raw); index || err != nil {
		return nil, &NotFoundError{ref.String()}
	}
	return s.Image(Record{Ref: ref.String(), Digest: ref.Digest, Manifest: ref.Digest})
}

// Image reads the manifest and the configuration that a record leads to.
func (s *Store) Image(rec Record) (*Image, error) {
	if !IsDigest(rec.Manifest) {
		return nil, &DamagedError{rec.Ref, "its record in the store has no digest"}
	}
	raw, err := readSmall(s.Blob(rec.Manifest))
	if err != nil {
		return nil, notWhole(rec.Ref, err)
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	config, err := readSmall(s.Blob(m.Config.Digest))
	if err != nil {
		return nil, notWhole(rec.Ref, err)
	}
	img, err := NewImage(rec, raw, config)
	if err != nil {
		return nil, err
	}
	return img, nil
}

// Document reads a small blob, and proves it.
func (s *Store) Document(digest string) ([]byte, error) {
	data, err := readSmall(s.Blob(digest))
	if err == nil && Sum(data) != digest {
		err = &DamagedError{digest, "the store has something else in its place"}
	}
	return data, err
}

// notWhole makes a missing part of an image a missing image: what is there is pulled no second time.
func notWhole(ref string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &NotFoundError{ref}
	}
	return err
}

// RefFile is where the record of a name lies.
func (s *Store) RefFile(name string) string {
	return filepath.Join(s.Dir, "refs", hexOf(Sum([]byte(name)))+".json")
}

// UseFile is the file that running sandboxes on a manifest lock.
func (s *Store) UseFile(manifest string) string { return filepath.Join(s.Dir, "uses", hexOf(manifest)) }

// Use keeps an image from being pruned until the file that it returns is closed.
func (s *Store) Use(manifest string) (*os.File, error) {
	f, err := os.OpenFile(s.UseFile(manifest), os.O_RDONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		return nil, fmt.Errorf("marking the image as in use: %w", err)
	}
	return f, nil
}

// readSmall reads a file of at most MaxJSON bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxJSON+1))
	if err == nil && len(data) > MaxJSON {
		err = &DamagedError{path, "it is larger than any of its kind may be"}
	}
	return data, err
}

func readJSON(path string, into any) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return &DamagedError{path, err.Error()}
	}
	return nil
}
