package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sbx/images/archive"
)

type saveCmd struct {
	Ref    string `arg:"" name:"image" help:"An image of this machine."`
	Output string `short:"o" required:"" placeholder:"FILE|DIR" help:"Where to: a tar, or a folder where it exists or the name ends in '/'; - is stdout."`
}

// Run writes the image as an OCI image layout.
func (c *saveCmd) Run(context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	img, err := a.find(c.Ref)
	if err != nil {
		return err
	}
	info, err := os.Stat(c.Output)
	switch {
	case c.Output == "-":
		return archive.SaveTar(a.store, img, os.Stdout)
	case err == nil && info.IsDir(), strings.HasSuffix(c.Output, "/"):
		if names, err := os.ReadDir(c.Output); err == nil && len(names) > 0 {
			return &usageError{c.Output + " is not empty", "name a folder that is not there yet, or a file"}
		}
		return archive.SaveFolder(a.store, img, c.Output)
	}
	// Whole, or not at all.
	f, err := os.CreateTemp(filepath.Dir(c.Output), ".sbx-save-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", c.Output, err)
	}
	defer os.Remove(f.Name())
	err = archive.SaveTar(a.store, img, f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), c.Output)
	}
	return err
}
