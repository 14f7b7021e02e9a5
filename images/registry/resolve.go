package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sbx/images"
)

// PlatformError is an index that has nothing for this machine.
type PlatformError struct {
	Ref  string
	Want string
	Has  []string
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("%s has no image for %s; it has %s", e.Ref, e.Want, strings.Join(e.Has, ", "))
}

// MissingError is an image that no source has.
type MissingError struct {
	Ref string
	Err error // what each source said
}

func (e *MissingError) Error() string { return "finding " + e.Ref + ": " + e.Err.Error() }

func (e *MissingError) Unwrap() error { return e.Err }

// found is an image in a registry, before its layers are here.
type found struct {
	source *source
	image  *images.Image
	index  []byte // the index, where the name is of one
}

// maxDepth is how deep an index may lie in an index.
const maxDepth = 3

// find asks the sources for an image until one has it.
func (c *Client) find(ctx context.Context, ref images.Ref) (*found, error) {
	var said []error
	for _, s := range c.sources(ref) {
		f, err := c.findAt(ctx, s, ref)
		if err == nil {
			return f, nil
		}
		var damaged *images.DamagedError
		var platform *PlatformError
		if errors.As(err, &damaged) || errors.As(err, &platform) || ctx.Err() != nil {
			return nil, err
		}
		said = append(said, fmt.Errorf("%s: %w", s.host, err))
	}
	return nil, &MissingError{ref.String(), errors.Join(said...)}
}

func (c *Client) findAt(ctx context.Context, s *source, ref images.Ref) (*found, error) {
	data, err := s.top(ctx, ref)
	if err != nil {
		return nil, err
	}
	f := &found{source: s}
	rec := images.Record{Ref: ref.String(), Digest: images.Sum(data)}
	for depth := 0; ; depth++ {
		index, err := images.IsIndex(data)
		if err != nil {
			return nil, err
		}
		if !index {
			break
		}
		if depth == maxDepth {
			return nil, &images.DamagedError{What: ref.String(), Why: fmt.Sprintf("an index in an index, more than %d deep", maxDepth)}
		}
		if f.index == nil {
			f.index = data
		}
		d, err := choose(data, ref)
		if err != nil {
			return nil, err
		}
		if data, err = s.manifest(ctx, d.Digest); err != nil {
			return nil, err
		}
	}
	rec.Manifest = images.Sum(data)
	m, err := images.ParseManifest(data)
	if err != nil {
		return nil, err
	}
	config, err := s.small(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	f.image, err = images.NewImage(rec, data, config)
	if err == nil {
		err = fits(f.image)
	}
	return f, err
}

// fits refuses what is for another kind of machine.
func fits(img *images.Image) error {
	c := &img.Config
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return &PlatformError{img.Ref, here(), []string{c.OS + "/" + c.Architecture}}
	}
	return nil
}

func here() string { return "linux/" + runtime.GOARCH }

// choose finds the entry of an index for this machine.
func choose(data []byte, ref images.Ref) (images.Descriptor, error) {
	x, err := images.ParseIndex(data)
	if err != nil {
		return images.Descriptor{}, err
	}
	var has []string
	for _, d := range x.Manifests {
		p := d.Platform
		nested := p == nil && (d.MediaType == images.TypeOCIIndex || d.MediaType == images.TypeDockerIndex)
		if nested || p != nil && p.OS == "linux" && p.Architecture == runtime.GOARCH {
			if !images.IsDigest(d.Digest) {
				return d, &images.DamagedError{What: "the index of " + ref.String(), Why: fmt.Sprintf("%q is no sha256 digest", d.Digest)}
			}
			return d, nil
		}
		if p != nil && len(has) < 20 {
			has = append(has, strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
		}
	}
	slices.Sort(has)
	return images.Descriptor{}, &PlatformError{ref.String(), here(), slices.Compact(has)}
}

// IsDenied tells whether an error says that credentials are missing or wrong.
func IsDenied(err error) bool {
	var status *StatusError
	var answer *transport.Error
	if errors.As(err, &status) {
		return status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden
	}
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// Digest asks what a name stands for now.
func (c *Client) Digest(ctx context.Context, ref images.Ref) (string, error) {
	var said []error
	for _, s := range c.sources(ref) {
		data, err := s.top(ctx, ref)
		if err == nil {
			return images.Sum(data), nil
		}
		said = append(said, fmt.Errorf("%s: %w", s.host, err))
	}
	return "", &MissingError{ref.String(), errors.Join(said...)}
}

// top is the manifest or index of a name.
func (s *source) top(ctx context.Context, ref images.Ref) ([]byte, error) {
	err := s.client.again(ctx, func() error { return s.connect(ctx, ref.Repository, transport.PullScope) })
	if err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		return s.manifest(ctx, ref.Digest)
	}
	return s.manifest(ctx, ref.Tag)
}
