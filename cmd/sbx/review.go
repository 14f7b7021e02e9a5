package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sbx/host"
	"sbx/review"
	"sbx/sandbox"
	"sbx/state"
)

// This file is what the verbs diff, apply, discard and undo share.

// heldBack is a sandbox with what it holds back, open.
type heldBack struct {
	store  *state.Store
	record *state.Record
	set    *review.Set
	// paths are what the command line names beside the sandbox.
	paths []string
	// base is where relative paths count from.
	base string
}

// journalsOf are those of the caller's applies.
func journalsOf(store *state.Store) review.Journals {
	return review.Journals(filepath.Join(store.State, "applied"))
}

// openHeld opens the sandbox that the first word names or, where none is called so, the last one that holds
// back changes to the folder that the caller is in. What was interrupted is put right first.
func openHeld(args []string) (*heldBack, error) {
	store, err := ownStore()
	if err != nil {
		return nil, err
	}
	if err := recoverApplies(store); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		record, left, err := store.Get(args[0])
		if left != nil {
			printLeft(*left)
		}
		if err == nil {
			h, err := openSandbox(store, record, args[1:])
			if err == nil && len(h.set.Folders()) == 0 {
				err = &nothingHeldError{record.Name}
			}
			return h, err
		}
		if !isMissing(err) {
			return nil, err
		}
	}
	return lastHeld(store, args)
}

// recoverApplies finishes, or takes back, applies that were killed.
func recoverApplies(store *state.Store) error {
	journals := journalsOf(store)
	if _, err := os.Stat(string(journals)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := journals.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	list, err := journals.Recover()
	for _, r := range list {
		printRecovered(r)
	}
	return err
}

func openSandbox(store *state.Store, record *state.Record, paths []string) (*heldBack, error) {
	at, err := findPlace()
	if err != nil {
		return nil, err
	}
	set, err := review.Open(sandbox.CapturesFolder(store.Upper(record.Name)))
	if err != nil {
		return nil, err
	}
	set.Live = record.Status() != state.Exited
	set.Foreign = sandbox.OpenForeign
	set.Path = foldersOnPath(at.cwd)
	return &heldBack{store, record, set, fromHome(paths, at.account.Home), at.cwd}, nil
}

// foldersOnPath are those of PATH, resolved: what is in them is executed by its bare name.
func foldersOnPath(cwd string) []string {
	var list []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(cwd, dir)
		}
		list = append(list, filepath.Clean(dir))
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			list = append(list, real)
		}
	}
	return list
}

// lastHeld finds the youngest sandbox that holds back changes where the caller is.
func lastHeld(store *state.Store, paths []string) (*heldBack, error) {
	at, err := findPlace()
	if err != nil {
		return nil, err
	}
	list, left, _ := store.List()
	for _, l := range left {
		printLeft(l)
	}
	for _, record := range list {
		captures, err := review.Captures(sandbox.CapturesFolder(store.Upper(record.Name)))
		here := func(c *review.Capture) bool {
			if c.Driver == review.Empty && at.cwd != c.Folder {
				return at.concerns(nil, []string{c.Project}) // what lies beside is other people's, or another project's
			}
			return at.concerns([]string{c.Folder}, []string{c.Project}) || host.Within(at.project.Dir, c.Folder)
		}
		if err != nil || !slices.ContainsFunc(captures, here) {
			continue
		}
		h, err := openSandbox(store, record, paths)
		if err != nil {
			return nil, err
		}
		some, err := h.set.Any()
		if some {
			return h, nil
		}
		h.set.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, &nothingHeldError{}
}

// concerns tells whether changes to some folders are meant by whoever is here: in one of them, above one, or in one of
// the projects of the sandboxes that made them.
func (p *place) concerns(folders, projects []string) bool {
	return slices.ContainsFunc(folders, func(dir string) bool { return host.Within(p.cwd, dir) || host.Within(dir, p.cwd) }) ||
		slices.ContainsFunc(projects, func(dir string) bool { return dir != "" && host.Within(p.cwd, dir) })
}

// nothingHeldError is the lack of anything to review.
type nothingHeldError struct{ name string }

func (e *nothingHeldError) Error() string {
	if e.name == "" {
		return "no sandbox holds back changes to this folder"
	}
	return e.name + " holds nothing back"
}

// changes are those that the paths choose, or all. A path that chooses none is an error.
func (h *heldBack) changes() ([]*review.Change, error) {
	all, err := h.set.Changes()
	if err == nil && h.unfoldFor(all) {
		all, err = h.set.Changes()
	}
	if err != nil {
		return nil, err
	}
	for _, p := range h.paths {
		if !slices.ContainsFunc(all, func(c *review.Change) bool { return h.matches(c, p) }) {
			return nil, &sandbox.UsageError{Problem: "there is no change at " + p, Hint: "sbx diff --name-only " + h.record.Name + " lists them all"}
		}
	}
	return slices.DeleteFunc(all, func(c *review.Change) bool {
		return len(h.paths) > 0 && !slices.ContainsFunc(h.paths, func(p string) bool { return h.matches(c, p) })
	}), nil
}

// unfoldFor has the files of renamed folders told one by one where a path names one of them.
func (h *heldBack) unfoldFor(all []*review.Change) bool {
	missed := slices.ContainsFunc(h.paths, func(p string) bool {
		return !slices.ContainsFunc(all, func(c *review.Change) bool { return h.matches(c, p) })
	})
	unfold := missed && !h.set.Unfolded
	h.set.Unfolded = h.set.Unfolded || missed
	return unfold
}

// matches takes a path as from the working folder, and as from the top of the captured one, as the list of
// changes shows it.
func (h *heldBack) matches(c *review.Change, p string) bool {
	return c.Matches(h.base, []string{p}) || !filepath.IsAbs(p) && !strings.HasPrefix(p, "..") && !c.Labelled() && c.Matches(c.Folder(), []string{p})
}

func (h *heldBack) named(c *review.Change) bool {
	return c.Named(h.base, h.paths) || !c.Labelled() && c.Named(c.Folder(), slices.DeleteFunc(slices.Clone(h.paths), filepath.IsAbs))
}

// fromHome puts the home in the place of ~, which the list of changes shows, where no shell has done that. A file of that
// name is written ./~.
func fromHome(paths []string, home string) []string {
	list := slices.Clone(paths)
	for i, p := range list {
		if p == "~" || strings.HasPrefix(p, "~/") {
			list[i] = filepath.Join(home, p[1:])
		}
	}
	return list
}

// applicable are the changes that an apply takes by itself: not what can never be applied, and what runs
// later only where it is named.
func (h *heldBack) applicable(all []*review.Change) (chosen, later, refused []*review.Change) {
	for _, c := range all {
		switch {
		case c.Refused != "":
			refused = append(refused, c)
		case c.Inner:
		case c.Later != "" && !h.named(c):
			later = append(later, c)
		default:
			chosen = append(chosen, c)
		}
	}
	return chosen, later, refused
}

// apply brings changes to the host.
func (h *heldBack) apply(chosen []*review.Change, overwrite bool) error {
	journals := journalsOf(h.store)
	lock, err := journals.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	list, err := journals.Recover()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Holds(h.set.Folders()) {
			return r.Err
		}
	}
	printWriters(sandbox.Writers(h.store, h.set.Folders()))
	return journals.Apply(h.set, chosen, review.ApplyOptions{Sandbox: h.record.Name, Overwrite: overwrite})
}

// release removes a sandbox that was kept for its review alone, which is over.
func (h *heldBack) release() error {
	h.set.Close()
	if h.record.Kept || h.set.Live {
		return nil
	}
	folder, err := h.store.Open(h.record.Name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.LockPatiently(); err != nil {
		return err
	}
	return folder.Remove(sandbox.RemoveForeign)
}

// summary is what the end of a run says of a sandbox in review; nil where it holds nothing back.
func summary(store *state.Store, name string) (*tally, error) {
	record, _, err := store.Get(name)
	if err != nil {
		return nil, err
	}
	h, err := openSandbox(store, record, nil)
	if err != nil {
		return nil, err
	}
	defer h.set.Close()
	all, err := h.set.Changes()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	t := count(all)
	return &t, nil
}

// applyIfClean applies all that a sandbox holds back, if none of it runs later, is in conflict, or cannot be
// applied; else it changes nothing. applied is also true where there is nothing to apply.
func applyIfClean(store *state.Store, name string) (applied bool, err error) {
	if err := recoverApplies(store); err != nil {
		return false, err
	}
	record, _, err := store.Get(name)
	if err != nil {
		return false, err
	}
	h, err := openSandbox(store, record, nil)
	if err != nil {
		return false, err
	}
	defer h.set.Close()
	all, err := h.set.Changes()
	if err != nil {
		return false, err
	}
	if unclean := slices.DeleteFunc(slices.Clone(all), func(c *review.Change) bool {
		return c.Later == "" && c.Conflict == "" && c.Refused == ""
	}); len(unclean) > 0 {
		printUnclean(name, unclean)
		return false, nil
	}
	chosen, _, _ := h.applicable(all)
	if len(chosen) > 0 {
		if err := h.apply(chosen, false); err != nil {
			return false, err
		}
		printApplied(name, chosen, nil)
	}
	return true, h.release()
}
