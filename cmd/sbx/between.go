package main

import (
	"strings"

	"sbx/review"
	"sbx/sandbox"
	"sbx/state"
)

// twoSides are the two sides of a comparison, NAME or NAME@SNAPSHOT each, where the words are such: one of them
// at least has to name a snapshot, since a word that names none may be a path.
func twoSides(words []string) bool {
	return len(words) == 2 && (strings.Contains(words[0], "@") || strings.Contains(words[1], "@") && !strings.Contains(words[1], "/"))
}

// openSide opens one.
func openSide(store *state.Store, word string) (*review.Set, error) {
	name, point, isPoint := strings.Cut(word, "@")
	record, left, err := store.Get(name)
	if left != nil {
		printLeft(*left)
	}
	if err != nil {
		return nil, err
	}
	upper := store.Upper(name)
	if isPoint {
		list, err := sandbox.Points(store.Folder(name))
		if err != nil {
			return nil, err
		}
		known := false
		for _, p := range list {
			known = known || p.Name == point
		}
		if !known {
			return nil, &sandbox.PointMissingError{Sandbox: name, Point: point}
		}
		upper = sandbox.PointUpper(store.Folder(name), point)
	}
	set, err := review.Open(sandbox.CapturesFolder(upper))
	if err != nil {
		return nil, err
	}
	set.Live = !isPoint && record.Status() != state.Exited
	set.Foreign = sandbox.OpenForeign
	at, err := findPlace()
	if err == nil {
		set.Path = foldersOnPath(at.cwd)
	}
	return set, err
}

// between shows in what the second of two sides differs from the first.
func (c *diffCmd) between() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	first, err := openSide(store, c.Args[0])
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := openSide(store, c.Args[1])
	if err != nil {
		return err
	}
	defer second.Close()
	list, err := review.Between(first, second)
	if err != nil {
		return err
	}
	if err := c.printBetween(list); err != nil {
		return err
	}
	if c.ExitCode && len(list) > 0 {
		return exitStatus(1)
	}
	return nil
}

func (c *diffCmd) printBetween(list []*review.Difference) error {
	switch {
	case c.JSON:
		return printJSON(differencesAsJSON(list))
	case c.NameOnly:
		return printDifferences(list)
	case c.Stat:
		return printDifferenceCounts(list)
	}
	return paged(c.Patch, func(out *screen) error { return printBetween(out, list, c.Patch) })
}
