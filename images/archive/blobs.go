// Package archive moves images between the store and files: OCI image layouts, as folders or tars, and
// docker-archive tars, which it only reads.
//
// What is read is hostile input: nothing of it has a place in the store but under the digest of what it is.
package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sbx/images"
)

// blob is content that was read, on its way into the store.
type blob struct {
	path   string // in the store's tmp
	digest string
	size   int64
}

// intake takes content into the store.
type intake struct {
	store *images.Store
	dir   string // of the store's tmp; it goes with what was not kept
	lock  *os.File
	n     int
	left  int64
}

// LimitError is an archive that holds more than it may.
type LimitError struct{ Max int64 }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the archive holds more than %d bytes", e.Max)
}

func newIntake(s *images.Store, limit int64) (*intake, error) {
	dir, lock, err := s.TmpFolder()
	if err != nil {
		return nil, err
	}
	return &intake{store: s, dir: dir, lock: lock, left: limit}, nil
}

func (t *intake) end() {
	os.RemoveAll(t.dir)
	t.lock.Close()
}

// take reads content to its end. check, if not "", is the digest that it must have.
func (t *intake) take(r io.Reader, check string) (*blob, error) {
	t.n++
	b := &blob{path: fmt.Sprintf("%s/%d", t.dir, t.n)}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	b.size, err = io.CopyBuffer(onlyWriter{io.MultiWriter(f, sum)}, io.LimitReader(r, t.left+1), make([]byte, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("storing a blob: %w", err)
	}
	if t.left -= b.size; t.left < 0 {
		return nil, &LimitError{b.size}
	}
	b.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if check != "" && check != b.digest {
		return nil, &images.DamagedError{What: check, Why: "what the archive has under this name has the digest " + b.digest}
	}
	return b, f.Close()
}

type onlyWriter struct{ io.Writer }

// keep moves a blob to its place in the store, once it is on the disk: nobody looks at its content again
// before it is used.
func (t *intake) keep(b *blob) error {
	if t.store.HasBlob(b.digest) {
		return nil
	}
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("storing a blob: %w", err)
	}
	return os.Rename(b.path, t.store.Blob(b.digest))
}
