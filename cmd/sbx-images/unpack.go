package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sbx/images"
	"sbx/images/layer"
	"sbx/images/registry"
	"sbx/sandbox"
	"sbx/userns"
)

// unpacking is a layer that goes through the program inside into a tree.
type unpacking struct {
	layout  *layout
	layer   images.Layer
	dir     string   // of the store's tmp
	lock    *os.File // on it
	blob    *os.File // the writing end of a pipe
	process *userns.Process
	answer  chan outcome
	ended   *outcome
}

// outcome is what became of the program inside.
type outcome struct {
	*answer
	err error
}

// has tells whether a layer is unpacked for this layout.
func (l *layout) has(diffID string) (bool, error) {
	_, ok, err := l.app.store.Unpacked(l.name, diffID)
	return ok, err
}

// pipeSize lets the program inside take large pieces, in bytes.
const pipeSize = 1 << 20

// unpack begins to unpack a layer.
func (l *layout) unpack(_ context.Context, lay images.Layer) (registry.Unpacker, error) {
	options := l.app.layerOptions()
	options.SingleID = l.single
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	u := &unpacking{layout: l, layer: lay, answer: make(chan outcome, 1)}
	if u.dir, u.lock, err = l.app.store.TmpFolder(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(u.dir, images.TreeName), 0o755); err != nil {
		return nil, err
	}
	if err := u.start(string(text)); err != nil {
		u.Abort()
		return nil, err
	}
	return u, nil
}

func (u *unpacking) start(options string) error {
	in, blob, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	u.blob = blob
	unix.FcntlInt(blob.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	said, saying, err := os.Pipe()
	if err != nil {
		return err
	}
	defer saying.Close()
	work := sandbox.Inside{
		Maps: u.layout.maps, Args: []string{"unpack", options},
		Folders: map[string]string{sandbox.InsideFolder: u.dir}, Stdin: in, Stderr: saying,
	}
	if u.process, err = work.Start(); err != nil {
		said.Close()
		return err
	}
	go func() {
		defer said.Close()
		a, err := listen(u.process, said)
		u.answer <- outcome{a, err}
	}()
	return nil
}

// end is what the program inside said at its end.
func (u *unpacking) end() *outcome {
	if u.ended == nil {
		u.blob.Close()
		a := <-u.answer
		u.ended = &a
	}
	return u.ended
}

// Write hands a piece of the blob to the program inside.
func (u *unpacking) Write(p []byte) (int, error) {
	n, err := u.blob.Write(p)
	if err == nil {
		return n, nil
	}
	if end := u.end(); end.err != nil {
		return n, end.err
	}
	return n, err
}

// Finish waits for the tree and files it.
func (u *unpacking) Finish() error {
	end := u.end()
	err := end.err
	if err == nil && end.Meta.DiffID != u.layer.DiffID {
		err = &images.DamagedError{What: u.layer.Digest, Why: "its tar has the digest " + end.Meta.DiffID + ", and the configuration says " + u.layer.DiffID}
	}
	if err == nil {
		err = u.layout.app.store.File(u.dir, u.layout.name, end.Meta)
	}
	if err != nil {
		u.Abort()
		return err
	}
	u.lock.Close()
	printLeftOut(u.layer, end.Meta)
	return nil
}

// Abort throws away what came of the tree.
func (u *unpacking) Abort() {
	if u.process != nil && u.ended == nil {
		u.process.Kill()
		u.end()
	} else if u.blob != nil {
		u.blob.Close()
	}
	u.layout.remove(u.dir)
	u.lock.Close()
}

// layerOptions are the bounds of a layer, as configured.
func (a *app) layerOptions() layer.Options {
	o := layer.DefaultOptions
	if limit := a.config.Storage.LayerLimit; limit.Set {
		o.MaxBytes = int64(limit.V)
	}
	return o
}
