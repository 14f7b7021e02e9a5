package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sbx/images"
)

// Unpacker is who makes a tree from the blob that is written to it. Close, after the last byte, waits
// for its end and files the layer; Abort throws away what it made.
type Unpacker interface {
	io.Writer
	Finish() error
	Abort()
}

// Puller brings images into a store.
type Puller struct {
	Client *Client
	Store  *images.Store
	// Has tells whether a layer is unpacked; Unpack begins to unpack one.
	Has    func(diffID string) (bool, error)
	Unpack func(ctx context.Context, layer images.Layer) (Unpacker, error)
	// Settle brings unpacked layers to the disk.
	Settle func([]images.Layer) error
	// Event, if not nil, hears how it goes; it may be called side by side.
	Event func(Event)
}

// Event is a step of a pull.
type Event struct {
	Layer images.Layer
	Kind  EventKind
	Bytes int64 // of the blob, that are here
}

// EventKind says what happened to a layer.
type EventKind int

// What can happen to a layer.
const (
	Present EventKind = iota // it is here already
	Waiting                  // another process is bringing it
	Resumed                  // what came of it earlier is used
	Loading                  // Bytes of it are here
	Done                     // it is here
)

// sideBySide is how many layers come at once.
const sideBySide = 3

// Pull brings an image: its layers, then what names them, then its name.
func (p *Puller) Pull(ctx context.Context, ref images.Ref) (*images.Image, error) {
	keep, err := p.Store.KeepGarbage()
	if err != nil {
		return nil, err
	}
	defer keep.Close()
	f, err := p.Client.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := p.layers(ctx, f.source, f.image); err != nil {
		return nil, err
	}
	blobs := [][]byte{f.image.RawConfig, f.image.RawManifest}
	if f.index != nil {
		blobs = append(blobs, f.index)
	}
	for _, data := range blobs {
		if err := p.Store.Put(data); err != nil {
			return nil, err
		}
	}
	return f.image, p.Store.Name(f.image.Record)
}

// Complete unpacks what is not unpacked yet of an image that the store has. Its error is a
// *images.NotFoundError where the store has not all of its blobs any more.
func (p *Puller) Complete(ctx context.Context, img *images.Image) error {
	keep, err := p.Store.KeepGarbage()
	if err != nil {
		return err
	}
	defer keep.Close()
	for _, layer := range img.Layers {
		if has, err := p.Has(layer.DiffID); err != nil || !has && !p.Store.HasBlob(layer.Digest) {
			return errors.Join(err, &images.NotFoundError{Ref: img.Ref})
		}
	}
	return p.layers(ctx, nil, img)
}

// layers brings all layers, some side by side; the first error ends the others.
func (p *Puller) layers(ctx context.Context, s *source, img *images.Image) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	places := make(chan struct{}, sideBySide)
	seen := map[string]bool{}
	for i, layer := range img.Layers {
		if seen[layer.Digest] {
			continue
		}
		seen[layer.Digest] = true
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			if ctx.Err() != nil {
				return
			}
			if err := p.layer(ctx, s, img.Manifest.Layers[i], layer); err != nil {
				cancel(fmt.Errorf("layer %s: %w", layer.Digest[:19], err))
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return p.Settle(img.Layers)
}

// layer brings one layer: its blob and its tree. Whoever wants the same layer waits.
func (p *Puller) layer(ctx context.Context, s *source, d images.Descriptor, layer images.Layer) error {
	lock, err := p.Store.LockName(ctx, layer.Digest, func() { p.event(layer, Waiting, 0) })
	if err != nil {
		return err
	}
	defer lock.Close()
	has, err := p.Has(layer.DiffID)
	if err != nil {
		return err
	}
	stored := p.Store.HasBlob(layer.Digest)
	if has && (stored || s == nil) {
		p.event(layer, Present, layer.Size)
		return nil
	}
	var out Unpacker = ignored{}
	if !has {
		if out, err = p.Unpack(ctx, layer); err != nil {
			return err
		}
	}
	if stored {
		err = p.fromStore(out, d)
	} else {
		err = p.download(ctx, s, d, layer, out)
	}
	if damaged := new(images.DamagedError); stored && s != nil && errors.As(err, &damaged) {
		// Of a pull before the power went: the name of an image comes last, so that none has it.
		out.Abort()
		if err := os.Remove(p.Store.Blob(d.Digest)); err != nil {
			return err
		}
		lock.Close()
		return p.layer(ctx, s, d, layer)
	}
	if err != nil {
		out.Abort()
		return err
	}
	if err := out.Finish(); err != nil {
		return err
	}
	p.event(layer, Done, layer.Size)
	return nil
}

func (p *Puller) event(layer images.Layer, kind EventKind, bytes int64) {
	if p.Event != nil {
		p.Event(Event{layer, kind, bytes})
	}
}

// ignored is the unpacker of a layer that is unpacked already.
type ignored struct{}

func (ignored) Write(b []byte) (int, error) { return len(b), nil }
func (ignored) Finish() error               { return nil }
func (ignored) Abort()                      {}

// fromStore unpacks a blob that the store has.
func (p *Puller) fromStore(out Unpacker, d images.Descriptor) error {
	f, err := os.Open(p.Store.Blob(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, out), onlyReader{f})
	if err != nil {
		return err
	}
	return prove(d, n, "sha256:"+hex.EncodeToString(sum.Sum(nil)))
}

type onlyReader struct{ io.Reader }

// download is a blob on its way: into a file, which a later pull goes on with, through a hash, and to
// who unpacks it.
type download struct {
	*Puller
	d     images.Descriptor
	layer images.Layer
	file  *os.File
	sum   hash.Hash
	have  int64
	out   Unpacker
}

func (p *Puller) download(ctx context.Context, s *source, d images.Descriptor, layer images.Layer, out Unpacker) error {
	path := p.Store.Partial(d.Digest)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	l := &download{Puller: p, d: d, layer: layer, file: file, sum: sha256.New(), out: out}
	err = l.resume()
	if err == nil {
		err = p.Client.again(ctx, func() error { return l.from(ctx, s) })
	}
	if err == nil {
		err = prove(d, l.have, "sha256:"+hex.EncodeToString(l.sum.Sum(nil)))
	}
	if err != nil {
		if !mayPass(err) && ctx.Err() == nil { // else a later pull goes on here
			os.Remove(path)
		}
		return err
	}
	if _, alone := out.(ignored); alone { // no fresh tree will bring it to the disk with it
		if err := file.Sync(); err != nil {
			return fmt.Errorf("storing the layer: %w", err)
		}
	}
	return os.Rename(path, p.Store.Blob(d.Digest))
}

// resume takes what an earlier pull left.
func (l *download) resume() error {
	info, err := l.file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if info.Size() > l.d.Size {
		return l.file.Truncate(0)
	}
	n, err := io.Copy(io.MultiWriter(l.sum, l.out), onlyReader{l.file})
	l.have = n
	l.event(l.layer, Resumed, n)
	return err
}

// from asks for what is missing. What came is kept, whatever the end.
func (l *download) from(ctx context.Context, s *source) error {
	if l.have == l.d.Size {
		return nil
	}
	body, from, err := s.blob(ctx, l.d, l.have)
	if status := new(StatusError); errors.As(err, &status) && status.Status == http.StatusRequestedRangeNotSatisfiable {
		return &images.DamagedError{What: l.d.Digest, Why: fmt.Sprintf("the registry has no more than %d of its %d bytes", l.have, l.d.Size)}
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, l.have-from); err != nil {
		return &cutError{fmt.Errorf("the body ended %d bytes early: %w", l.d.Size-l.have, err)}
	}
	buffer := make([]byte, 256<<10)
	for {
		n, err := body.Read(buffer)
		if wrong := l.take(buffer[:n]); wrong != nil {
			return wrong
		}
		switch {
		case err == io.EOF && l.have < l.d.Size:
			return &cutError{fmt.Errorf("the body ended %d bytes early", l.d.Size-l.have)}
		case err == io.EOF:
			return nil
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return &cutError{err}
		}
	}
}

// take keeps a piece of the blob.
func (l *download) take(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if l.have+int64(len(piece)) > l.d.Size {
		return prove(l.d, l.have+int64(len(piece)), "")
	}
	if _, err := l.file.WriteAt(piece, l.have); err != nil {
		return fmt.Errorf("storing the layer: %w", err)
	}
	l.sum.Write(piece)
	l.have += int64(len(piece))
	l.event(l.layer, Loading, l.have)
	if _, err := l.out.Write(piece); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}
