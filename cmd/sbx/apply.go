package main

import (
	"errors"
	"slices"

	"sbx/review"
	"sbx/sandbox"
)

type applyCmd struct {
	Yes         bool     `short:"y" help:"Do not ask; leave out what runs later, unless a path names it."`
	Interactive bool     `short:"i" help:"Ask for each file, and where wanted for each hunk."`
	Merge       bool     `help:"Merge text that the host has changed, too."`
	Overwrite   bool     `help:"Replace also what the host has changed; sbx undo brings that back."`
	Args        []string `arg:"" optional:"" name:"name" help:"A sandbox, and paths or patterns. Without a sandbox: the last one that holds back changes here."`
}

// Run brings a sandbox's changes to the host.
func (c *applyCmd) Run() error {
	h, err := openHeld(c.Args)
	if err != nil {
		return err
	}
	defer h.set.Close()
	all, err := h.changes()
	if err != nil {
		return err
	}
	if err := h.set.Pin(all); err != nil {
		return err
	}
	chosen, later, refused := h.applicable(all)
	for _, r := range refused {
		printRefused(r)
	}
	if c.Interactive || !c.Yes {
		if chosen, err = c.ask(h, all, chosen, later); err != nil {
			return err
		}
	}
	if len(chosen) == 0 {
		printNothingToApply(h.record.Name, later)
		if len(all) == len(refused) && len(h.paths) == 0 {
			return h.release()
		}
		return nil
	}
	if err := h.set.HoldToShown(chosen); err != nil {
		return err
	}
	if c.Merge {
		mergeAll(chosen)
	}
	done := progress("applying")
	err = h.apply(chosen, c.Overwrite)
	done()
	if err != nil {
		return err
	}
	left := leftOver(h, all, chosen, refused)
	if len(left) == 0 && len(h.paths) > 0 {
		if left, err = h.unapplied(); err != nil {
			return err
		}
	}
	printApplied(h.record.Name, chosen, left)
	if len(left) == 0 {
		return h.release()
	}
	return nil
}

// unapplied are all changes that are still held back, and could be applied.
func (h *heldBack) unapplied() ([]*review.Change, error) {
	list, err := h.set.Changes()
	return slices.DeleteFunc(list, func(c *review.Change) bool { return c.Inner || c.Refused != "" }), err
}

// mergeAll merges what is in conflict, as far as that can be done. The rest stays in conflict, and says so.
func mergeAll(chosen []*review.Change) {
	for _, c := range chosen {
		if c.Conflict == "" {
			continue
		}
		var cannot *review.MergeError
		if err := c.Merge(); errors.As(err, &cannot) {
			c.Conflict += ", and it cannot be merged: " + cannot.Why
		} else if err != nil {
			c.Conflict += ", and merging it: " + err.Error()
		} else {
			printMerged(c)
		}
	}
}

// leftOver are the changes that are still held back.
func leftOver(h *heldBack, all, chosen, refused []*review.Change) []*review.Change {
	taken := map[*review.Change]bool{}
	for _, c := range append(chosen, refused...) {
		taken[c] = true
	}
	var left []*review.Change
	for _, c := range all {
		if !taken[c] && !c.Inner || c.InPart() {
			left = append(left, c)
		}
	}
	return left
}

// ask has a person choose.
func (c *applyCmd) ask(h *heldBack, all, chosen, later []*review.Change) ([]*review.Change, error) {
	if !canAsk() {
		return nil, &sandbox.UsageError{Problem: "nobody can be asked here what to apply, so nothing is", Hint: "sbx apply --yes " + h.record.Name + " applies all but what runs later"}
	}
	if len(all) == 0 {
		return nil, nil
	}
	if !c.Interactive {
		said, err := askWhatToApply(all, chosen, later)
		if err != nil || said != 'i' {
			if said == 'y' {
				return chosen, err
			}
			return nil, errors.Join(err, errNotApplied)
		}
	}
	return choose(append(later, chosen...))
}

// errNotApplied is an apply that its user did not go on with.
var errNotApplied = errors.New("nothing was applied")
