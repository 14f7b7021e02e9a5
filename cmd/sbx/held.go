package main

import (
	"errors"
	"os"

	"sbx/sandbox"
	"sbx/state"
)

// This file is what run and shell do at the end of a sandbox in review.

// checkReview refuses flags of review where nothing could be reviewed in the end.
func (l *launch) checkReview() error {
	flag := ""
	switch {
	case l.flags.Review && l.flags.ApplyIfClean:
		return &sandbox.UsageError{Problem: "--review and --apply-if-clean: either a person looks at the changes or nobody", Hint: "give one of them"}
	case l.flags.Review:
		flag = "--review"
	case l.flags.ApplyIfClean:
		flag = "--apply-if-clean"
	default:
		return nil
	}
	switch {
	case !l.held():
		return &sandbox.UsageError{Problem: flag + ": no changes are held for review here", Hint: "add --project review"}
	case l.flags.Detach:
		return &sandbox.UsageError{Problem: flag + ": nobody waits for the end of a sandbox in the background", Hint: "use sbx wait, and then sbx diff and sbx apply"}
	case l.flags.Rm:
		return &sandbox.UsageError{Problem: flag + ": with --rm nothing is left to review", Hint: "leave out one of them"}
	}
	return nil
}

// endReview tells what a sandbox holds back, shows it, or applies it, as its flags say. ended is how its run
// ended, which stands unless that was well and nothing could be applied.
func (l *launch) endReview(name string, ended error) error {
	if !l.held() || l.flags.Rm || name == "" {
		return ended
	}
	if !l.flags.Review && !l.flags.ApplyIfClean && !sandbox.IsTerminal(os.Stderr) && sandbox.HoldsSome(l.store.Upper(name)) {
		return ended // nobody is told what it is, which takes a look at each file
	}
	t, err := summary(l.store, name)
	switch {
	case err != nil:
		message("warning: reading what %s holds back: %v", name, err)
		hint("sbx diff %s", name)
		if l.flags.ApplyIfClean && ended == nil {
			return exitStatus(statusFailed)
		}
	case t == nil:
		if err := releaseHeld(l.store, name); err != nil {
			message("warning: %v", err)
		}
	case l.flags.ApplyIfClean:
		return l.applyClean(name, t, ended)
	case l.flags.Review:
		if err := showAndAsk(name); err != nil {
			printError(err)
		}
	case sandbox.IsTerminal(os.Stderr):
		printSummary(name, *t)
	}
	return ended
}

// applyClean applies what is clean after a run that ended well. What a failed one has left is held.
func (l *launch) applyClean(name string, t *tally, ended error) error {
	if ended != nil {
		message("the run failed, so nothing was applied")
		printSummary(name, *t)
		return ended
	}
	applied, err := applyIfClean(l.store, name)
	if err != nil {
		printError(err)
	}
	if !applied {
		return exitStatus(statusFailed)
	}
	return nil
}

// showAndAsk shows what a sandbox holds back, and asks what to apply where somebody can be asked.
func showAndAsk(name string) error {
	if err := (&diffCmd{Patch: true, Args: []string{name}}).Run(); err != nil {
		return err
	}
	if !canAsk() {
		return nil
	}
	err := (&applyCmd{Args: []string{name}}).Run()
	if errors.Is(err, errNotApplied) {
		hint("sbx diff %s; sbx apply %s; sbx discard %s", name, name, name)
		return nil
	}
	return err
}

// releaseHeld removes a sandbox that was kept for its review alone and holds nothing back.
func releaseHeld(store *state.Store, name string) error {
	record, _, err := store.Get(name)
	if err != nil {
		return err
	}
	h, err := openSandbox(store, record, nil)
	if err != nil {
		return err
	}
	return h.release()
}

// askToLose asks before changes that nobody has reviewed go with their sandbox.
func askToLose(store *state.Store, record *state.Record) error {
	if !record.Held {
		return nil
	}
	t, err := summary(store, record.Name)
	if t == nil && err == nil {
		return nil
	}
	what := "changes that cannot be read"
	if err == nil {
		what = t.words()
	}
	return confirm("sbx: remove "+record.Name+" with all it holds back ("+what+")",
		&sandbox.UsageError{Problem: record.Name + " holds back what was neither applied nor discarded: " + what, Hint: "sbx diff " + record.Name + "; sbx rm -f " + record.Name + " removes it all the same"},
		"nothing was removed")
}

func holdsAny(store *state.Store, record *state.Record) (bool, error) {
	h, err := openSandbox(store, record, nil)
	if err != nil {
		return false, err
	}
	defer h.set.Close()
	return h.set.Any()
}

// holding tells which sandboxes hold changes back. What cannot be read counts.
func holding(store *state.Store, list []*state.Record) map[string]bool {
	held := map[string]bool{}
	for _, r := range list {
		if r.Held {
			some, err := holdsAny(store, r)
			held[r.Name] = some || err != nil
		}
	}
	return held
}
