package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sbx/images"
	"sbx/profiles"
)

type lockCmd struct {
	Refs []string `arg:"" optional:"" name:"image" help:"Images to pin; else that of the project's own profile."`
}

// Run writes the lock file of the project in the working folder, or above it. Other pins in it stay.
func (c *lockCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	project, names, err := a.toLock(c.Refs)
	if err != nil {
		return err
	}
	pins, err := profiles.ReadLock(project)
	if err != nil {
		return err
	}
	if pins == nil {
		pins = map[string]string{}
	}
	for _, name := range names {
		ref, err := a.ref(name)
		if err != nil {
			return err
		}
		if ref.Digest != "" {
			return &usageError{name + " is a digest already", "lock a name with a tag"}
		}
		if pins[ref.String()], err = a.client().Digest(ctx, ref); err != nil {
			return err
		}
		printPin(ref, pins[ref.String()])
	}
	return writeLock(filepath.Join(project, profiles.LockFile), profiles.FormatLock(pins))
}

// toLock is the project, and the images that are to be pinned.
func (a *app) toLock(names []string) (string, []string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", nil, fmt.Errorf("finding the working folder: %w", err)
	}
	project, err := profiles.FindProject(cwd, a.account.Home, a.account.PasswdHome)
	if err != nil || len(names) > 0 {
		return project.Dir, names, err
	}
	loaded, err := profiles.Load(profiles.Options{
		ConfigHome: profiles.ConfigHome(a.account.Home), Home: a.account.Home, Project: project,
	})
	if err != nil {
		return "", nil, err
	}
	if image := loaded.Profile.Root.Image; image.Set {
		return project.Dir, []string{image.V}, nil
	}
	return "", nil, &usageError{"the profile of this project has no image", "name one: sbx lock NAME"}
}

// writeLock replaces the file whole.
func writeLock(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sbx.lock-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	if _, err = f.WriteString(text); err == nil {
		err = f.Chmod(0o644)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func printPin(ref images.Ref, digest string) { message("%s is %s", ref, digest) }
