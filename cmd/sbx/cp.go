package main

import (
	"errors"
	"os"
	"strings"

	"sbx/sandbox"
	"sbx/state"
)

type cpCmd struct {
	From string `arg:"" help:"What to copy: a path, or NAME:PATH."`
	To   string `arg:"" help:"Where to: a path, or NAME:PATH."`
}

// Run copies files into a sandbox, or out of it.
func (c *cpCmd) Run() error {
	from, fromPath := sandboxPath(c.From)
	to, toPath := sandboxPath(c.To)
	if (from == "") == (to == "") {
		return &sandbox.UsageError{Problem: "one of the two has to be in a sandbox, as NAME:PATH", Hint: "a path of the host with a colon is written ./PATH"}
	}
	done := progress("copying " + c.From)
	var skipped []string
	err := useRoot(from+to, func(root *os.File) (err error) {
		if from != "" {
			skipped, err = sandbox.CopyOut(root, fromPath, toPath)
		} else {
			skipped, err = sandbox.CopyIn(root, fromPath, toPath)
		}
		return err
	})
	done()
	for _, path := range skipped {
		printSkipped(path)
	}
	var fuse sandbox.FuseError
	if errors.As(err, &fuse) {
		name := from + to
		return &sandbox.UsageError{Problem: err.Error(), Hint: "sbx start " + name + "; sbx exec " + name + " -- cat FILE > FILE, or tar"}
	}
	return err
}

// useRoot calls use with the root folder of a sandbox, be it running or not. One that does not run is not
// started meanwhile.
func useRoot(name string, use func(root *os.File) error) error {
	store, record, err := lookUp(name)
	if err != nil {
		return err
	}
	if record.Status() == state.Exited {
		return useStopped(store, name, use)
	}
	root, err := sandbox.Root(store, name)
	if isNotRunning(err) { // it ended just now
		return useStopped(store, name, use)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return use(root)
}

func useStopped(store *state.Store, name string, use func(root *os.File) error) error {
	folder, record, err := openLocked(store, name, (*state.Folder).LockPatiently)
	if err != nil {
		return err
	}
	defer folder.Close()
	switch {
	case record.Status() != state.Exited:
		return &state.BusyError{Name: name}
	case !record.Kept:
		return filesGone(name)
	}
	return sandbox.UseStoppedRoot(folder, use)
}

// sandboxPath takes NAME:PATH apart. What has a slash before its colon, or exists, is a path of the host.
func sandboxPath(text string) (name, path string) {
	name, path, found := strings.Cut(text, ":")
	if _, err := os.Lstat(text); !found || name == "" || strings.Contains(name, "/") || err == nil {
		return "", text
	}
	return name, path
}
