package registry

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sbx/images"
)

// Push sends an image of the store to the registry of a name: what of it the registry lacks. Mirrors are not
// pushed to.
func (c *Client) Push(ctx context.Context, s *images.Store, img *images.Image, ref images.Ref) error {
	to := &source{client: c, host: ref.Registry}
	if err := c.again(ctx, func() error { return to.connect(ctx, ref.Repository, transport.PushScope) }); err != nil {
		return fmt.Errorf("pushing to %s: %w", ref.Registry, err)
	}
	image, err := partial.CompressedToImage(&stored{s, img})
	if err != nil {
		return err
	}
	// The transport has talked to the registry already, and has the credentials.
	err = remote.Write(to.repo.Tag(ref.Tag), image, remote.WithContext(ctx), remote.WithTransport(to.http.Transport), remote.WithJobs(sideBySide))
	if err != nil {
		return fmt.Errorf("pushing %s: %w", ref, err)
	}
	return nil
}

// stored is an image of the store, as go-containerregistry knows images.
type stored struct {
	store *images.Store
	image *images.Image
}

func (s *stored) RawConfigFile() ([]byte, error) { return s.image.RawConfig, nil }
func (s *stored) RawManifest() ([]byte, error)   { return s.image.RawManifest, nil }

func (s *stored) MediaType() (types.MediaType, error) {
	if s.image.Manifest.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return types.MediaType(s.image.Manifest.MediaType), nil
}

func (s *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range s.image.Manifest.Layers {
		if d.Digest == h.String() {
			return &storedLayer{s.store, d, h}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type storedLayer struct {
	store *images.Store
	d     images.Descriptor
	hash  v1.Hash
}

func (l *storedLayer) Digest() (v1.Hash, error) { return l.hash, nil }
func (l *storedLayer) Size() (int64, error)     { return l.d.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.d.MediaType), nil
}
func (l *storedLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.store.Blob(l.d.Digest)) }
