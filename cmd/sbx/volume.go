package main

import (
	"path/filepath"

	"sbx/sandbox"
)

type volumeCmd struct {
	Ls     volumeLsCmd     `cmd:"" help:"List volumes."`
	Create volumeCreateCmd `cmd:"" help:"Make an empty volume."`
	Rm     volumeRmCmd     `cmd:"" help:"Remove volumes with their files."`
}

type volumeLsCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the volumes, and the sandboxes that show them.
func (c *volumeLsCmd) Run() error {
	volumes, err := ownVolumes()
	if err != nil {
		return err
	}
	store, err := ownStore()
	if err != nil {
		return err
	}
	list, err := volumes.List(store)
	if err != nil {
		return err
	}
	return printVolumes(list, c.JSON)
}

type volumeCreateCmd struct {
	Names []string `arg:"" name:"name" help:"The volumes."`
}

// Run makes volumes. A sandbox that names one makes it as well.
func (c *volumeCreateCmd) Run() error {
	volumes, err := ownVolumes()
	if err != nil {
		return err
	}
	return each(c.Names, volumes.Create)
}

type volumeRmCmd struct {
	Force   bool     `short:"f" help:"Also where a sandbox that has ended would show it again."`
	Project string   `placeholder:"DIR" help:"Remove what the sandboxes of this project keep: its home and its changes to caches."`
	Names   []string `arg:"" optional:"" name:"name" help:"The volumes."`
}

// Run removes volumes, and what projects keep.
func (c *volumeRmCmd) Run() error {
	if len(c.Names) == 0 && c.Project == "" {
		return &sandbox.UsageError{Problem: "which volumes? None was named", Hint: "sbx volume ls lists them"}
	}
	if c.Project != "" {
		if err := removeKept(c.Project); err != nil || len(c.Names) == 0 {
			return err
		}
	}
	volumes, err := ownVolumes()
	if err != nil {
		return err
	}
	store, err := ownStore()
	if err != nil {
		return err
	}
	volumes.Sweep()
	return each(c.Names, func(name string) error {
		defer progress("removing " + name)()
		return volumes.Remove(name, store, c.Force)
	})
}

func removeKept(dir string) error {
	account, err := sandbox.Caller()
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	defer progress("removing what sandboxes of " + dir + " keep")()
	there, err := sandbox.RemoveKept(account.Home, dir)
	if err == nil && !there {
		err = &sandbox.UsageError{Problem: "no sandbox of " + dir + " keeps a home or changes to caches", Hint: "name the project's own folder"}
	}
	return err
}

func ownVolumes() (*sandbox.Volumes, error) {
	account, err := sandbox.Caller()
	if err != nil {
		return nil, err
	}
	return sandbox.OwnVolumes(account.Home), nil
}
