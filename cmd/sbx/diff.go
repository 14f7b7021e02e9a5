package main

import (
	"sbx/review"
)

type diffCmd struct {
	Patch    bool     `help:"Show changed lines, too."`
	Stat     bool     `help:"One line for each path, with the lines that came and went."`
	NameOnly bool     `name:"name-only" help:"Print paths alone."`
	All      bool     `short:"a" help:"List each path: gather none in groups."`
	ExitCode bool     `name:"exit-code" help:"End with 1 where there are changes."`
	JSON     bool     `name:"json" help:"Print JSON."`
	Args     []string `arg:"" optional:"" name:"name" help:"A sandbox, and paths or patterns; or two snapshots, NAME@SNAPSHOT. Without a sandbox: the last one that holds back changes here."`
}

// Run shows what a sandbox holds back: first what would run later.
func (c *diffCmd) Run() error {
	if twoSides(c.Args) {
		return c.between()
	}
	h, err := openHeld(c.Args)
	if err != nil {
		return err
	}
	defer h.set.Close()
	h.set.Unfolded = c.All
	done := progress("reading what was changed")
	list, err := h.changes()
	if err == nil {
		err = h.set.Pin(list)
	}
	done()
	if err != nil {
		return err
	}
	if err := c.print(h, list); err != nil {
		return err
	}
	if err := h.set.NoteShown(list, len(h.paths) == 0); err != nil {
		return err
	}
	if c.ExitCode && len(list) > 0 {
		return exitStatus(1)
	}
	return nil
}

func (c *diffCmd) print(h *heldBack, list []*review.Change) error {
	switch {
	case c.JSON:
		return printJSON(changesAsJSON(list))
	case c.NameOnly:
		return printPaths(list)
	case c.Stat:
		return printLineCounts(list)
	}
	return paged(c.Patch, func(out *screen) error {
		printChanges(out, list, c.All)
		if c.Patch {
			return printPatches(out, list)
		}
		return nil
	})
}
