package main

import (
	"fmt"

	"sbx/review"
	"sbx/sandbox"
	"sbx/state"
)

type discardCmd struct {
	Yes  bool   `short:"y" help:"Do not ask."`
	Name string `arg:"" optional:"" help:"The sandbox. Without: the last one that holds back changes here."`
}

// Run throws away what a sandbox holds back.
func (c *discardCmd) Run() error {
	var args []string
	if c.Name != "" {
		args = []string{c.Name}
	}
	h, err := openHeld(args)
	if err != nil {
		return err
	}
	defer h.set.Close()
	if len(h.paths) > 0 {
		return &state.NotFoundError{Name: c.Name}
	}
	name := h.record.Name
	if h.set.Live {
		return &sandbox.UsageError{Problem: name + " is " + string(h.record.Status()), Hint: "sbx stop " + name}
	}
	list, err := h.set.Changes()
	if err != nil {
		return err
	}
	if !c.Yes && len(list) > 0 {
		if err := askToDiscard(name, list); err != nil {
			return err
		}
	}
	if err := h.throwAway(); err != nil {
		return err
	}
	printDiscarded(name, list)
	return nil
}

// throwAway removes the captures, or the whole sandbox where it was kept for them alone.
func (h *heldBack) throwAway() error {
	if !h.record.Kept {
		return h.release()
	}
	h.set.Close()
	folder, err := h.store.Open(h.record.Name)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.LockPatiently(); err != nil {
		return err
	}
	return review.Discard(h.set.Dir, sandbox.RemoveForeign)
}

func askToDiscard(name string, list []*review.Change) error {
	return confirm(fmt.Sprintf("sbx: throw away what %s holds back (%s)", name, count(list).words()),
		&sandbox.UsageError{Problem: "nobody can be asked here, so nothing is discarded", Hint: "sbx discard --yes " + name}, "nothing was discarded")
}
