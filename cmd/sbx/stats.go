package main

import (
	"os"
	"time"

	"sbx/sandbox"
	"sbx/state"
)

type statsCmd struct {
	JSON     bool     `name:"json" help:"Print JSON, once."`
	NoStream bool     `help:"Print once."`
	Names    []string `arg:"" optional:"" name:"name" help:"The sandboxes; all that run if none."`
}

// namedLoad is what one sandbox uses.
type namedLoad struct {
	Name string `json:"name"`
	*sandbox.Load
}

// Run prints what sandboxes use: again and again on a terminal, else once.
func (c *statsCmd) Run() error {
	live := !c.JSON && !c.NoStream && sandbox.IsTerminal(os.Stdout)
	var before []namedLoad
	for {
		list, err := c.ask()
		if err != nil {
			return err
		}
		if err := printStats(list, before, live, c.JSON); err != nil || !live {
			return err
		}
		before = list
		time.Sleep(statsPause)
	}
}

// statsPause is the time between two tables.
const statsPause = time.Second

func (c *statsCmd) ask() ([]namedLoad, error) {
	store, err := ownStore()
	if err != nil {
		return nil, err
	}
	names := c.Names
	if len(names) == 0 {
		list, _, _ := store.List()
		for _, r := range list {
			if r.Status() != state.Exited {
				names = append(names, r.Name)
			}
		}
	}
	list := []namedLoad{}
	for _, name := range names {
		load, err := sandbox.Stats(store, name)
		if isNotRunning(err) && len(c.Names) == 0 {
			continue
		}
		if isNotRunning(err) {
			_, _, err = lookUpRunning(name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, namedLoad{name, load})
	}
	return list, nil
}
