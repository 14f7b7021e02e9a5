package main

import "sbx/sandbox"

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
	Force bool     `short:"f" help:"Also where a sandbox that has ended would show it again."`
	Names []string `arg:"" name:"name" help:"The volumes."`
}

// Run removes volumes.
func (c *volumeRmCmd) Run() error {
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

func ownVolumes() (*sandbox.Volumes, error) {
	account, err := sandbox.Caller()
	if err != nil {
		return nil, err
	}
	return sandbox.OwnVolumes(account.Home), nil
}
