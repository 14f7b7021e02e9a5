package main

import "sbx/sandbox"

type renameCmd struct {
	Name string `arg:"" help:"The sandbox."`
	To   string `arg:"" help:"Its new name."`
}

// Run gives a sandbox another name, be it running or not.
func (c *renameCmd) Run() error {
	store, _, err := lookUp(c.Name)
	if err != nil {
		return err
	}
	folder, err := store.Open(c.Name)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.LockPatiently(); err != nil {
		return err
	}
	return sandbox.Rename(store, folder, c.To)
}
