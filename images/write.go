package images

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// HasBlob tells whether the store has a blob, whole.
func (s *Store) HasBlob(digest string) bool {
	_, err := os.Lstat(s.Blob(digest))
	return err == nil
}

// Put files a small blob under its digest.
func (s *Store) Put(data []byte) error {
	if path := s.Blob(Sum(data)); !exists(path) {
		return s.write(path, data, true)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Name files a record under its name.
func (s *Store) Name(rec Record) error {
	rec.Created = time.Now().UTC().Truncate(time.Second)
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return s.write(s.RefFile(rec.Ref), append(data, '\n'), true)
}

// write makes a file whole or not at all; durable says that this holds whenever the power goes.
func (s *Store) write(path string, data []byte, durable bool) error {
	f, err := os.CreateTemp(s.Tmp(), "file-")
	if err != nil {
		return fmt.Errorf("writing to the image store: %w", err)
	}
	defer os.Remove(f.Name())
	unix.Flock(int(f.Fd()), unix.LOCK_EX) // a remnant is what nobody has locked
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing to the image store: %w", err)
	}
	return nil
}

// LockName locks a blob or layer for its maker until the file is closed. waiting is called once, where
// somebody else has it.
func (s *Store) LockName(ctx context.Context, name string, waiting func()) (*os.File, error) {
	f, err := os.OpenFile(s.Lock(hexOf(name)), os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking a layer: %w", err)
	}
	for told := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("locking a layer: %w", err)
		}
		if !told && waiting != nil {
			waiting()
		}
		told = true
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// KeepGarbage keeps prune from removing what has no name yet, until the file is closed.
func (s *Store) KeepGarbage() (*os.File, error) {
	f, err := os.OpenFile(s.Lock(PruneLock), os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the image store: %w", err)
	}
	return f, nil
}

// TmpFolder makes a folder in which something is made. It is its maker's, by a lock, until the file
// that is returned is closed; what nobody has locked is a remnant.
func (s *Store) TmpFolder() (dir string, lock *os.File, err error) {
	dir, err = os.MkdirTemp(s.Tmp(), "layer-")
	if err == nil {
		lock, err = os.Open(dir)
	}
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for a layer: %w", err)
	}
	return dir, lock, nil
}

// Remnants are the parts of tmp that nobody makes any more: of processes that were killed.
func (s *Store) Remnants() []string {
	entries, _ := os.ReadDir(s.Tmp())
	var list []string
	for _, e := range entries {
		path := filepath.Join(s.Tmp(), e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && olderThan(f, time.Second) {
			list = append(list, path)
		}
		f.Close()
	}
	return list
}

// olderThan spares what is between being made and being locked.
func olderThan(f *os.File, age time.Duration) bool {
	info, err := f.Stat()
	return err == nil && time.Since(info.ModTime()) > age
}

// File files an unpacked layer: dir, of TmpFolder, has its tree and gets its record. It is good for this
// boot of the machine, and for others once Settle has been called.
func (s *Store) File(dir, layout string, meta *Meta) error {
	meta.Boot = bootID()
	if err := s.record(dir, meta); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Layout(layout), 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.Layout(layout), LayerName(meta.DiffID))
	if exists(path) { // of an earlier boot: Remnants will find it
		if _, err := s.setAside(path); err != nil {
			return fmt.Errorf("replacing a layer that the disk may have lost: %w", err)
		}
	}
	return os.Rename(dir, path)
}

// setAside takes a tree from its place in one step, to where Remnants finds it should nobody remove it.
func (s *Store) setAside(path string) (string, error) {
	dir, err := os.MkdirTemp(s.Tmp(), "gone-")
	if err == nil {
		err = os.Rename(path, filepath.Join(dir, TreeName))
	}
	return dir, err
}

func (s *Store) record(dir string, meta *Meta) error {
	data, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	if err := s.write(MetaFile(dir), data, false); err != nil {
		return fmt.Errorf("writing the record of a layer: %w", err)
	}
	return nil
}

// Settle brings what was filed to the disk, once for many layers.
func (s *Store) Settle(layout string, layers []Layer) error {
	var fresh []Meta
	for _, l := range layers {
		if meta, ok, err := s.Unpacked(layout, l.DiffID); ok && err == nil && meta.Boot != "" {
			fresh = append(fresh, meta)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	f, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("writing layers to the disk: %w", err)
	}
	for _, meta := range fresh {
		meta.Boot = ""
		if err := s.record(filepath.Join(s.Layout(layout), LayerName(meta.DiffID)), &meta); err != nil {
			return err
		}
	}
	return nil
}
