package main

import (
	"bufio"
	"fmt"
	"os"

	"sbx/review"
)

// choose asks for each change, and where wanted for each hunk of it, as `git add -p` does.
func choose(list []*review.Change) ([]*review.Change, error) {
	out := &screen{bufio.NewWriter(os.Stderr), os.Getenv("NO_COLOR") == ""}
	var chosen []*review.Change
	for i, c := range list {
		fmt.Fprintln(out)
		if err := printPatch(out, c); err != nil {
			return nil, err
		}
		out.Flush()
		said, err := askOne(fmt.Sprintf("sbx: apply this (%d of %d)", i+1, len(list)), "ynhadq",
			"y yes, n no, h hunk by hunk, a this and all further ones that do not run later, d no further ones, q nothing at all")
		if err != nil {
			return nil, err
		}
		switch said {
		case 'y':
			chosen = append(chosen, c)
		case 'h':
			part, err := chooseHunks(out, c)
			if err != nil {
				return nil, err
			}
			if part {
				chosen = append(chosen, c)
			}
		case 'a':
			chosen = append(chosen, c)
			for _, c := range list[i+1:] {
				if c.Later == "" {
					chosen = append(chosen, c)
				}
			}
			return chosen, nil
		case 'd':
			return chosen, nil
		case 'q':
			return nil, errNotApplied
		}
	}
	return chosen, nil
}

// chooseHunks asks for each hunk of a change, and tells whether any is to be applied.
func chooseHunks(out *screen, c *review.Change) (bool, error) {
	if c.Type() != "file" || c.Kind != review.Created && c.Kind != review.Changed {
		return false, nil
	}
	p, err := c.Patch()
	if err != nil || p.Binary || len(p.Hunks) == 0 {
		return false, err
	}
	wanted := make([]bool, len(p.Hunks))
	n := 0
	for i, h := range p.Hunks {
		printHunk(out, h)
		out.Flush()
		said, err := askOne(fmt.Sprintf("sbx: apply this hunk (%d of %d)", i+1, len(p.Hunks)), "ynq", "y yes, n no, q nothing at all")
		if err != nil {
			return false, err
		}
		if said == 'q' {
			return false, errNotApplied
		}
		if wanted[i] = said == 'y'; wanted[i] {
			n++
		}
	}
	if n > 0 && n < len(wanted) {
		c.ReplaceInPart(p.Choose(func(i int) bool { return wanted[i] }))
	}
	return n > 0, nil
}
