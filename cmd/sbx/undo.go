package main

import (
	"sbx/review"
	"sbx/sandbox"
)

type undoCmd struct {
	Redo bool   `help:"Do again what was undone last."`
	Name string `arg:"" optional:"" help:"The sandbox whose last apply is meant. Without: the last apply here."`
}

// Run takes the last apply back that has not been taken back.
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
		if a.Undone != c.Redo || c.Name != "" && a.Sandbox != c.Name {
			return false
		}
		return c.Name != "" || at.concerns(a.Folders, a.Projects)
	})
	if err != nil {
		return err
	}
	if last == nil {
		return &nothingAppliedError{c.Name, c.Redo}
	}
	printWriters(sandbox.Writers(store, last.Folders))
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
type nothingAppliedError struct {
	name string
	redo bool
}

func (e *nothingAppliedError) Error() string {
	what := "nothing that was applied"
	if e.redo {
		what = "nothing that was undone"
	}
	if e.name == "" {
		what += " here"
	} else {
		what += " of " + e.name
	}
	if e.redo {
		return what + " can be done again"
	}
	return what + " can be undone"
}
