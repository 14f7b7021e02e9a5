// Package review knows what sandboxes have changed in appearance only: what they changed, which of it the
// host would run later, and how it is brought to the host, or not.
//
// In scope: captures on disk, reading them, their changes against the host, and applying these with a
// journal. Not in scope: how a capture comes about (package sandbox), and what is printed (cmd/sbx).
//
// Everything in a capture is hostile: names, links, attributes, kinds of files, sizes, and that it changes
// while it is read. So is the host's folder, in which another sandbox may be at work. Both are walked by
// descriptor (openat2), below one folder, through no link and into no other mount.
package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Drivers of captures.
const (
	// Overlay: the folder upper is the upper of an overlayfs that was mounted with userxattr, over Folder.
	Overlay = "overlay"
	// Copy: the folder upper is a copy of all of Folder, and the file list tells how it was when it was made.
	Copy = "copy"
	// Empty: the folder upper is all that the sandbox sees in the place of Folder, and was empty when it began.
	Empty = "empty"
)

// CaptureVersion is that of capture.json.
const CaptureVersion = 1

// Capture is one folder of the host that a sandbox changes only in appearance.
type Capture struct {
	Version int `json:"version"`
	// Folder is the folder of the host that is held back: a real path, free of symlinks.
	Folder string `json:"folder"`
	Driver string `json:"driver"`
	// Shown is where a folder of sbx's own would lie on the host, by which people name it, and Label how that is
	// written, as in ~. Both are empty of a folder of the host.
	Shown string `json:"shown,omitempty"`
	Label string `json:"label,omitempty"`
	// Project is the project of the sandbox, from where its changes are asked for, too.
	Project string `json:"project,omitempty"`
	// Began is a moment just before the sandbox could first see the folder, by the precise clock. A file of
	// the host whose ctime is not later has not been changed since; nobody can set a ctime.
	Began time.Time `json:"began"`
	// User names the layout of ids that the sandbox has, for people.
	User string `json:"user"`
	// Hidden are paths, relative to the folder, that the sandbox must not see.
	Hidden []raw `json:"hidden,omitempty"`
	// Points are paths, relative to the folder, at which sbx itself mounts something into one that began empty.
	Points []raw `json:"points,omitempty"`
	// Dir is where the capture lies.
	Dir string `json:"-"`
}

// Names in a capture's folder.
const (
	captureFile = "capture.json"
	UpperName   = "upper" // what the sandbox changed
	WorkName    = "work"  // of the overlay
	listFile    = "list"  // of a copy
	baseFile    = "base.json"
	baseFolder  = "base"
)

// maxFile bounds a file of a capture's own that is read whole, in bytes: a million entries fit.
const maxFile = 1 << 30

// Begin writes capture.json, before a payload starts. Where the same folder is captured there already, of
// a sandbox that is started again, the moment that it began stays the first one: what lies in the upper was
// made from the host's files of then.
func Begin(dir string, c Capture) error {
	if old, err := ReadCapture(dir); err == nil && old.Folder == c.Folder && old.Driver == c.Driver {
		c.Began = old.Began
	}
	c.Version = CaptureVersion
	// A payload waits for this: that the disk has it is nobody's need, for a capture without it is none.
	return noteJSON(dir, captureFile, &c)
}

// ReadCapture reads the capture in a folder.
func ReadCapture(dir string) (*Capture, error) {
	c := &Capture{}
	if err := readJSON(dir, captureFile, c); err != nil {
		return nil, fmt.Errorf("reading the capture in %s: %w", dir, err)
	}
	if c.Version != CaptureVersion || !filepath.IsAbs(c.Folder) || !slices.Contains([]string{Overlay, Copy, Empty}, c.Driver) {
		return nil, fmt.Errorf("reading the capture in %s: it is of a version that this sbx does not know, or damaged", dir)
	}
	c.Dir = dir
	return c, nil
}

// Captures lists those of a sandbox, in the folders of the folder dir that are named by numbers. None is
// no error.
func Captures(dir string) ([]*Capture, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing captures: %w", err)
	}
	var list []*Capture
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 32); err != nil || !e.IsDir() {
			continue
		}
		c, err := ReadCapture(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its sandbox never started
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Capture) int { return len(a.Folder) - len(b.Folder) })
	return list, nil
}

// writeJSON replaces a file of sbx's own atomically, mode 0600, and waits until the disk has it.
func writeJSON(dir, name string, v any) error { return putJSON(dir, name, v, true) }

// noteJSON is writeJSON without the wait: for what is worth as much as the capture beside it, which nobody
// waits for either. A kill of sbx loses none of it.
func noteJSON(dir, name string, v any) error { return putJSON(dir, name, v, false) }

func putJSON(dir, name string, v any, lasting bool) error {
	return replaceFile(dir, name, lasting, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(v)
	})
}

// replaceFile replaces a file atomically by what is written; lasting waits until the disk has it.
func replaceFile(dir, name string, lasting bool, write func(io.Writer) error) error {
	path, temporary := filepath.Join(dir, name), filepath.Join(dir, name+".new")
	os.Remove(temporary)
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil && lasting {
		err = f.Sync()
	}
	f.Close()
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return err
	}
	if !lasting {
		return nil
	}
	return syncFolder(dir)
}

// syncFolder waits until the disk has the names in a folder.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func readJSON(dir, name string, v any) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// Discard throws away what a sandbox holds back: the folder with its captures. The sandbox does not run, and
// makes new ones when it is started again. foreign removes a tree that the caller may not.
func Discard(dir string, foreign func(path string) error) error {
	gone := dir + ".gone"
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discarding: %w", err)
	}
	filepath.WalkDir(gone, func(p string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			unix.Fchmodat(unix.AT_FDCWD, p, 0o700, 0) // work, of overlayfs, is shut to everybody
		}
		return nil
	})
	if err := os.RemoveAll(gone); err != nil {
		if err := foreign(gone); err != nil {
			return fmt.Errorf("discarding: %w", err)
		}
	}
	return nil
}
