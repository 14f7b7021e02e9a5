package main

import (
	"sbx/host"
	"sbx/review"
)

type undoCmd struct {
	Name string `arg:"" optional:"" help:"The sandbox whose last apply is meant. Without: the last apply here."`
}

// Run takes the last apply back; after an undo it does again what that took back.
func (c *undoCmd) Run() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	at, err := findPlace()
	if err != nil {
		return err
	}
	if err := recoverApplies(store); err != nil {
		return err
	}
	journals := journalsOf(store)
	lock, err := journals.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	last, err := journals.Last(func(a *review.Applied) bool {
		if c.Name != "" {
			return a.Sandbox == c.Name
		}
		return host.Within(at.cwd, a.Folder) || host.Within(a.Folder, at.cwd)
	})
	if err != nil {
		return err
	}
	if last == nil {
		return &nothingAppliedError{c.Name}
	}
	done := progress("undoing")
	err = journals.Undo(last)
	done()
	if err != nil {
		return err
	}
	printUndone(last)
	return nil
}

// nothingAppliedError is the lack of an apply to undo.
type nothingAppliedError struct{ name string }

func (e *nothingAppliedError) Error() string {
	if e.name == "" {
		return "nothing that was applied to this folder can be undone"
	}
	return "nothing that was applied from " + e.name + " can be undone"
}
