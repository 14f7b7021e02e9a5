package main

import (
	"sbx/sandbox"
	"sbx/state"
)

type snapshotCmd struct {
	List  bool   `short:"l" help:"List the snapshots of the sandbox."`
	JSON  bool   `name:"json" help:"Print JSON."`
	Name  string `arg:"" help:"The sandbox."`
	Point string `arg:"" optional:"" name:"snapshot" help:"A name for the snapshot; a number if there is none."`
}

// Run keeps what a sandbox has changed so far, or lists what was kept.
func (c *snapshotCmd) Run() error {
	if c.List {
		return c.list()
	}
	if c.Point != "" {
		if err := state.CheckName(c.Point); err != nil {
			return err
		}
	}
	return withEnded(c.Name, func(folder *state.Folder) error {
		done := progress("copying what " + c.Name + " has changed")
		point, err := sandbox.MakePoint(folder, c.Point)
		done()
		if err != nil {
			return err
		}
		return printName(c.Name+"@"+point, c.JSON)
	})
}

func (c *snapshotCmd) list() error {
	store, record, err := lookUp(c.Name)
	if err != nil {
		return err
	}
	list, err := sandbox.Points(store.Folder(record.Name))
	if err != nil {
		return err
	}
	return printPoints(list, c.JSON)
}

// withEnded does something with the folder of a kept sandbox that does not run, and cannot be started meanwhile.
func withEnded(name string, do func(*state.Folder) error) error {
	store, _, err := lookUp(name)
	if err != nil {
		return err
	}
	folder, record, err := openLocked(store, name, (*state.Folder).Lock)
	if err != nil {
		return err
	}
	defer folder.Close()
	switch {
	case record.Status() != state.Exited:
		return &sandbox.UsageError{Problem: name + " is " + string(record.Status()), Hint: "sbx stop " + name}
	case !record.Kept && !record.Held:
		return filesGone(name)
	}
	return do(folder)
}
