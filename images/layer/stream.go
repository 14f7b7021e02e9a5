package layer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow bounds the memory of a zstd stream, in bytes; a stream says how much it wants.
const zstdWindow = 64 << 20

// Open reads a layer as it is transferred, compressed by gzip or zstd or not at all: what it is, its
// first bytes tell, not its media type.
func Open(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
	}
	return in, nil
}

// The tar goes from who decompresses it to who hashes it and to who unpacks it, in pieces: three
// things that take about as long, on as many processors as there are.
const (
	pieceSize = 256 << 10
	pieces    = 6
)

// piece is a part of the tar, read by two.
type piece struct {
	data []byte
	read sync.WaitGroup
}

// Ahead decompresses and hashes beside its reader. Sum may be asked after Read has said io.EOF.
type Ahead struct {
	toUnpack, toHash chan *piece
	stop             chan struct{}
	once             sync.Once
	current          *piece
	rest             []byte
	err              error // of the source; set before toUnpack is closed
	hash             hash.Hash
	hashed           chan struct{}
}

// NewAhead begins to read r.
func NewAhead(r io.Reader) *Ahead {
	a := &Ahead{
		toUnpack: make(chan *piece, pieces), toHash: make(chan *piece, pieces),
		stop: make(chan struct{}), hashed: make(chan struct{}), hash: sha256.New(),
	}
	go a.fill(r)
	go func() {
		defer close(a.hashed)
		for p := range a.toHash {
			a.hash.Write(p.data)
			p.read.Done()
		}
	}()
	return a
}

func (a *Ahead) fill(r io.Reader) {
	defer close(a.toUnpack)
	defer close(a.toHash)
	ring := make([]*piece, pieces)
	for i := range ring {
		ring[i] = &piece{data: make([]byte, pieceSize)}
	}
	for i := 0; ; i++ {
		p := ring[i%pieces]
		p.read.Wait()
		n, err := io.ReadFull(r, p.data[:pieceSize])
		if n > 0 {
			p.data = p.data[:n]
			p.read.Add(2)
			a.toHash <- p
			select {
			case a.toUnpack <- p:
			case <-a.stop:
				return
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && isEnd(r) {
			return
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// isEnd tells the end of a source from one that was cut off: decompressors say io.ErrUnexpectedEOF
// for the second, which io.ReadFull says for the first too.
func isEnd(r io.Reader) bool {
	n, err := r.Read(make([]byte, 1))
	return n == 0 && err == io.EOF
}

// Read gives the next bytes of the tar.
func (a *Ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		a.release()
		next, ok := <-a.toUnpack
		if !ok {
			if a.err != nil {
				return 0, a.err
			}
			return 0, io.EOF
		}
		a.current, a.rest = next, next.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *Ahead) release() {
	if a.current != nil {
		a.current.read.Done()
		a.current = nil
	}
}

// Close lets go of the source, read to its end or not.
func (a *Ahead) Close() { a.once.Do(func() { close(a.stop); a.rest = nil; a.release() }) }

// Sum is the digest of the whole tar.
func (a *Ahead) Sum() string {
	<-a.hashed
	return "sha256:" + hex.EncodeToString(a.hash.Sum(nil))
}
