package main

import (
	"path/filepath"
	"slices"

	"sbx/sandbox"
)

type volumeCmd struct {
	Ls     volumeLsCmd     `cmd:"" help:"List volumes."`
	Create volumeCreateCmd `cmd:"" help:"Make an empty volume."`
	Rm     volumeRmCmd     `cmd:"" help:"Remove volumes with their files."`
	Prune  volumePruneCmd  `cmd:"" help:"List what is kept for projects that are gone, or remove it."`
}

type volumeLsCmd struct {
	Projects bool `help:"List what sandboxes keep for their projects instead: homes, and changes to caches."`
	JSON     bool `name:"json" help:"Print JSON."`
}

// Run lists the volumes, and the sandboxes that show them.
func (c *volumeLsCmd) Run() error {
	if c.Projects {
		list, err := listKept()
		if err != nil {
			return err
		}
		return printKept(list, c.JSON)
	}
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
		if err := removeKept(c.Project, sandbox.RemoveKept); err != nil || len(c.Names) == 0 {
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

type volumePruneCmd struct {
	Force bool `short:"f" help:"Remove it, instead of listing it."`
	JSON  bool `name:"json" help:"Print JSON."`
}

// Run lists, or removes, what is kept for projects whose folder is gone. Whether it will come back, with a disk, only its
// user knows.
func (c *volumePruneCmd) Run() error {
	list, err := listKept()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(k sandbox.Kept) bool { return !k.Gone })
	if !c.Force || len(list) == 0 {
		return printPrunable(list, c.JSON)
	}
	if err := each(projectsOf(list), func(dir string) error { return removeKept(dir, sandbox.RemoveNoted) }); err != nil {
		return err
	}
	return printPruned(list, c.JSON)
}

func projectsOf(list []sandbox.Kept) (dirs []string) {
	for _, k := range list {
		dirs = append(dirs, k.Project)
	}
	return dirs
}

func listKept() ([]sandbox.Kept, error) {
	account, err := sandbox.Caller()
	if err != nil {
		return nil, err
	}
	return sandbox.ListKept(account.Home)
}

func removeKept(dir string, remove func(home, project string) (bool, error)) error {
	account, err := sandbox.Caller()
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer progress("removing what sandboxes of " + dir + " keep")()
	there, err := remove(account.Home, dir)
	if err == nil && !there {
		err = &sandbox.UsageError{Problem: "no sandbox of " + dir + " keeps a home or changes to caches", Hint: "sbx volume ls --projects lists those that do"}
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
