package archive

import (
	"encoding/json"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"

	"sbx/images"
	"sbx/images/layer"
)

// NewLayer takes a tar, compressed or not, as a layer into the store: compressed by gzip, which all others
// read.
func NewLayer(s *images.Store, r io.Reader, limit int64) (images.Layer, error) {
	t, err := newIntake(s, limit)
	if err != nil {
		return images.Layer{}, err
	}
	defer t.end()
	in, err := Decompressed(r)
	if err != nil {
		return images.Layer{}, err
	}
	ahead := layer.NewAhead(in)
	defer ahead.Close()
	pipe, w := io.Pipe()
	go func() {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err == nil {
			_, err = io.Copy(z, ahead)
		}
		if err == nil {
			err = z.Close()
		}
		w.CloseWithError(err)
	}()
	b, err := t.take(pipe, "")
	pipe.Close()
	if err == nil {
		err = t.keep(b)
	}
	if err != nil {
		return images.Layer{}, err
	}
	return images.Layer{Digest: b.digest, DiffID: ahead.Sum(), Size: b.size}, nil
}

// NewImage makes the image of a base, which may be nil, with one layer more. Nothing of it has a name yet.
func NewImage(s *images.Store, base *images.Image, l images.Layer, config images.Config, h images.History) (*images.Image, error) {
	now := time.Now().UTC().Truncate(time.Second)
	c := images.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: images.RootFS{Type: "layers"}}
	m := images.Manifest{SchemaVersion: 2, MediaType: images.TypeOCIManifest}
	if base != nil {
		c = base.Config
		m.Layers = append(m.Layers, base.Manifest.Layers...)
		for i := range m.Layers {
			m.Layers[i].MediaType = ociType(m.Layers[i].MediaType)
		}
	}
	h.Created, c.Created, c.Config = &now, &now, config
	c.RootFS.DiffIDs = append(append([]string{}, c.RootFS.DiffIDs...), l.DiffID)
	c.History = append(append([]images.History{}, c.History...), h)
	m.Layers = append(m.Layers, images.Descriptor{MediaType: images.TypeOCILayerGzip, Digest: l.Digest, Size: l.Size})
	rawConfig, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	m.Config = images.Descriptor{MediaType: images.TypeOCIConfig, Digest: images.Sum(rawConfig), Size: int64(len(rawConfig))}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	for _, data := range [][]byte{rawConfig, raw} {
		if err := s.Put(data); err != nil {
			return nil, err
		}
	}
	digest := images.Sum(raw)
	return images.NewImage(images.Record{Digest: digest, Manifest: digest}, raw, rawConfig)
}

// ociType is the image specification's name for one of Docker's.
func ociType(mediaType string) string {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return images.TypeOCILayerGzip
	case "application/vnd.docker.image.rootfs.diff.tar":
		return images.TypeOCILayer
	}
	return mediaType
}
