package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode/utf8"

	"sbx/review"
	"sbx/sandbox"
)

// What is printed of changes that are held back. All of it comes from a sandbox: every name and every line
// is escaped, on a pipe too, which may end at a terminal.

// screen is where changes are shown.
type screen struct {
	*bufio.Writer
	colours bool
}

// Colours of a terminal (ECMA-48, SGR).
const (
	plainColour = "\x1b[0m"
	bold        = "\x1b[1m"
	red         = "\x1b[31m"
	green       = "\x1b[32m"
	cyan        = "\x1b[36m"
	warning     = "\x1b[1;31m"
)

func (s *screen) in(colour, text string) string {
	if !s.colours {
		return text
	}
	return colour + text + plainColour
}

// paged shows something on stdout, by a pager where it is long and stdout is a terminal.
func paged(long bool, show func(*screen) error) error {
	terminal := sandbox.IsTerminal(os.Stdout)
	out := io.Writer(os.Stdout)
	end := func() error { return nil }
	if long && terminal {
		if w, wait := startPager(); w != nil {
			out, end = w, func() error { w.Close(); return wait() }
		}
	}
	s := &screen{bufio.NewWriterSize(out, 64<<10), terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	err := errors.Join(show(s), s.Flush())
	if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
		err = nil // whoever reads has seen enough
	}
	return errors.Join(err, end())
}

// startPager starts the caller's pager, or less. What it shows is escaped already, so it may let colours
// pass.
func startPager() (io.WriteCloser, func() error) {
	words := strings.Fields(os.Getenv("PAGER"))
	if len(words) == 0 {
		words = []string{"less"}
	}
	if words[0] == "cat" {
		return nil, nil
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = os.Environ()
	if os.Getenv("LESS") == "" {
		cmd.Env = append(cmd.Env, "LESS=FRX")
	}
	w, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return nil, nil
	}
	signal.Ignore(os.Interrupt) // it is the pager's
	return w, func() error {
		var status *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &status) {
			return err
		}
		return nil
	}
}

// shownPath is a change's path, with a slash where it is a folder.
func shownPath(c *review.Change) string {
	name := c.Shown()
	if c.Type() == "folder" {
		name += "/"
	}
	return name
}

// printChanges lists what is held back, what runs later first.
func printChanges(out *screen, list []*review.Change, all bool) {
	if len(list) == 0 {
		fmt.Fprintln(out, "nothing is changed")
		return
	}
	later, rest := rows(list, all)
	if len(later) > 0 {
		n := 0
		for _, r := range later {
			n += len(r.changes)
		}
		fmt.Fprintln(out, out.in(warning, fmt.Sprintf("runs later (%d):", n)))
		printRows(out, later, true)
	}
	if len(rest) > 0 {
		if len(later) > 0 {
			fmt.Fprintln(out, out.in(bold, "all else:"))
		}
		printRows(out, rest, false)
	}
	fmt.Fprintln(out, out.in(bold, count(list).words()))
}

func printRows(out *screen, list []row, later bool) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range list {
		c := r.changes[0]
		words := sizes(r)
		if later {
			words = c.Later + "; " + words
		}
		for _, r := range r.changes {
			if r.Conflict != "" {
				words += "; conflict: " + r.Conflict
				break
			}
		}
		if c.Refused != "" {
			words += "; " + c.Refused
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", kindOfRow(r), escapePath(r.name), escape(words))
	}
	w.Flush()
}

// escapePath shows a path: what could be taken for the columns beside it as well.
func escapePath(p string) string {
	if p != strings.TrimSpace(p) || strings.Contains(p, "  ") {
		return `"` + escape(p) + `"`
	}
	return escape(p)
}

func kindOfRow(r row) string {
	kind := r.changes[0].Kind
	for _, c := range r.changes {
		if c.Kind != kind {
			return string(review.Changed)
		}
	}
	return string(kind)
}

// sizes tells how much a row is about.
func sizes(r row) string {
	c := r.changes[0]
	if len(r.changes) > 1 {
		var total int64
		for _, c := range r.changes {
			total += c.Size()
		}
		return fmt.Sprintf("%d files, %s", len(r.changes), inBytes(total))
	}
	switch {
	case c.Kind == review.Deleted && c.Type() == "folder":
		return fmt.Sprintf("%s, %s", several(uint64(c.Files), "file", "files"), inBytes(c.OldSize()))
	case c.Kind == review.Renamed && c.Type() == "folder":
		return fmt.Sprintf("from %s/, %s, %s", c.ShownFrom(), several(uint64(c.Files), "file", "files"), inBytes(c.Bytes))
	case c.Kind == review.Renamed:
		return "from " + c.ShownFrom()
	case c.Kind == review.Replaced:
		return "a " + c.Type() + " in place of a " + c.OldType() + targets(c)
	case c.Type() == "symlink":
		return "link" + targets(c)
	case c.Kind == review.Mode:
		return fmt.Sprintf("mode %04o to %04o", c.OldMode(), c.NewMode())
	case c.Kind == review.Changed && c.OldMode() != c.NewMode():
		return fmt.Sprintf("%s to %s, mode %04o to %04o", inBytes(c.OldSize()), inBytes(c.Size()), c.OldMode(), c.NewMode())
	case c.Kind == review.Changed:
		return inBytes(c.OldSize()) + " to " + inBytes(c.Size())
	case c.Kind == review.Deleted:
		return inBytes(c.OldSize())
	case c.Type() != "file":
		return c.Type()
	}
	return inBytes(c.Size())
}

func targets(c *review.Change) string {
	text := ""
	if c.OldTarget != "" {
		text += " from " + c.OldTarget
	}
	if c.Target != "" {
		text += " to " + c.Target
	}
	return text
}

func printPaths(list []*review.Change) error {
	w := bufio.NewWriter(os.Stdout)
	for _, c := range list {
		if !c.Inner {
			fmt.Fprintln(w, escape(c.Shown()))
		}
	}
	return w.Flush()
}

// changeJSON is a change as diff --json tells it. What is not UTF-8 in a path is replaced there; path_bytes
// is the path itself, in base64, where that has happened.
type changeJSON struct {
	Path      string  `json:"path"`
	PathBytes string  `json:"path_bytes,omitempty"`
	Change    string  `json:"change"`
	RunsLater *string `json:"runs_later"`
	Folder    string  `json:"folder"`
	Type      string  `json:"type"`
	From      string  `json:"from,omitempty"`
	Size      int64   `json:"size"`
	OldSize   int64   `json:"old_size"`
	Mode      string  `json:"mode,omitempty"`
	OldMode   string  `json:"old_mode,omitempty"`
	Target    string  `json:"target,omitempty"`
	OldTarget string  `json:"old_target,omitempty"`
	Files     int     `json:"files,omitempty"`
	Conflict  string  `json:"conflict,omitempty"`
	Refused   string  `json:"refused,omitempty"`
}

func changesAsJSON(list []*review.Change) []changeJSON {
	out := []changeJSON{}
	for _, c := range list {
		if c.Inner {
			continue
		}
		j := changeJSON{Path: c.Listed(), Change: string(c.Kind), Folder: c.Folder(), Type: c.Type(), From: c.ListedFrom(), Size: c.Size(), OldSize: c.OldSize(),
			Target: c.Target, OldTarget: c.OldTarget, Conflict: c.Conflict, Refused: c.Refused}
		if !utf8.ValidString(c.Listed()) {
			j.PathBytes = base64.StdEncoding.EncodeToString([]byte(c.Listed()))
		}
		if c.Later != "" {
			j.RunsLater = &c.Later
		}
		if c.Type() == "folder" {
			j.Files = c.Files
		}
		if m := c.NewMode(); c.Kind != review.Deleted {
			j.Mode = fmt.Sprintf("%04o", m)
		}
		if m := c.OldMode(); c.OldType() != "" {
			j.OldMode = fmt.Sprintf("%04o", m)
		}
		out = append(out, j)
	}
	return out
}

// printLineCounts is one line for each path, with lines that came and went, or a word.
func printLineCounts(list []*review.Change) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range list {
		if c.Inner {
			continue
		}
		words, err := lineCount(c)
		if err != nil {
			return err
		}
		if c.Later != "" {
			words += "\truns later: " + escape(c.Later)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Kind, escapePath(shownPath(c)), words)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Println(count(list).words())
	return err
}

func lineCount(c *review.Change) (string, error) {
	if c.Type() != "file" || c.Refused != "" {
		return escape(sizes(row{changes: []*review.Change{c}})), nil
	}
	p, err := c.Patch()
	if err != nil {
		return "", err
	}
	if p.Binary {
		return "binary, " + escape(sizes(row{changes: []*review.Change{c}})), nil
	}
	return linesOf(p), nil
}

// linesOf counts the lines that came and went.
func linesOf(p *review.Patch) string {
	came, went := 0, 0
	for _, h := range p.Hunks {
		for _, l := range h.Lines {
			switch l.Mark {
			case '+':
				came++
			case '-':
				went++
			}
		}
	}
	return fmt.Sprintf("+%d -%d", came, went)
}

// printPatches shows the lines that changed, what runs later first.
func printPatches(out *screen, list []*review.Change) error {
	for _, later := range []bool{true, false} {
		for _, c := range list {
			if (c.Later != "") != later || c.Inner {
				continue
			}
			fmt.Fprintln(out)
			if err := printPatch(out, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func printPatch(out *screen, c *review.Change) error {
	printPatchHead(out, c)
	if c.Type() != "file" || c.Kind == review.Mode || c.Refused != "" {
		return nil
	}
	p, err := c.Patch()
	if err != nil {
		return err
	}
	if p.Binary {
		fmt.Fprintln(out, "binary")
		return nil
	}
	rootless := func(path string) string { return strings.TrimPrefix(path, "/") }
	old, now := "a/"+rootless(c.Shown()), "b/"+rootless(c.Shown())
	if c.Kind == review.Created {
		old = "/dev/null"
	}
	if c.Kind == review.Renamed {
		old = "a/" + rootless(c.ShownFrom())
	}
	if c.Kind == review.Deleted {
		now = "/dev/null"
	}
	if len(p.Hunks) > 0 {
		fmt.Fprintln(out, out.in(bold, "--- "+escape(old)))
		fmt.Fprintln(out, out.in(bold, "+++ "+escape(now)))
	}
	for _, h := range p.Hunks {
		printHunk(out, h)
	}
	return nil
}

// printPatchHead says what a patch is about, and what it could hide.
func printPatchHead(out *screen, c *review.Change) {
	words := fmt.Sprintf("%s %s (%s)", c.Kind, shownPath(c), sizes(row{changes: []*review.Change{c}}))
	fmt.Fprintln(out, out.in(bold, escape(words)))
	if c.Later != "" {
		fmt.Fprintln(out, out.in(warning, "runs later: "+escape(c.Later)))
	}
	if c.Conflict != "" {
		fmt.Fprintln(out, out.in(warning, "conflict: "+escape(c.Conflict)))
	}
	if c.Refused != "" {
		fmt.Fprintln(out, escape(c.Refused))
	}
}

// printHunk shows some lines. What would act on a terminal, or show text in another order than it is read by
// programs, is escaped and marked by a line of its own.
func printHunk(out *screen, h review.Hunk) {
	begin := func(line, count int) int { // of no lines: the one before
		if count == 0 {
			return line - 1
		}
		return line
	}
	fmt.Fprintln(out, out.in(cyan, fmt.Sprintf("@@ -%d,%d +%d,%d @@", begin(h.OldLine, h.OldCount), h.OldCount, begin(h.NewLine, h.NewCount), h.NewCount)))
	for _, l := range h.Lines {
		text, whole := strings.CutSuffix(l.Text, "\n")
		shown := escapeLine(text)
		line := string(l.Mark) + shown
		switch l.Mark {
		case '+':
			line = out.in(green, line)
		case '-':
			line = out.in(red, line)
		}
		fmt.Fprintln(out, line)
		if shown != text {
			fmt.Fprintln(out, out.in(warning, "! the line above holds what is not shown as it is: it is escaped"))
		}
		if !whole {
			fmt.Fprintln(out, `\ No newline at end of file`)
		}
	}
}

// escapeLine is escape, but for tabs.
func escapeLine(s string) string {
	parts := strings.Split(s, "\t")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	return strings.Join(parts, "\t")
}

func printRecovered(r review.Recovered) {
	what := "apply"
	if r.Undo {
		what = "undo"
	}
	if r.Err != nil {
		message("an %s of %s to %s had been interrupted, and cannot be gone on with: %s", what, r.Sandbox, r.Folder, r.Err)
	} else if r.Finished {
		message("an %s of %s to %s had been interrupted, and is finished now", what, r.Sandbox, r.Folder)
	} else {
		message("an %s of %s to %s had been interrupted, and is taken back", what, r.Sandbox, r.Folder)
	}
	for _, path := range r.Lost {
		message("%s is lost: somebody removed the folder in which it was kept meanwhile", path)
	}
}

// printWriters names the sandboxes that may change what is being put in place.
func printWriters(names []string) {
	for _, name := range names {
		message("warning: %s is running and may write to these files meanwhile", name)
	}
}

func printRefused(c *review.Change) { message("left out %s: %s", c.Shown(), c.Refused) }

func printMerged(c *review.Change) { message("merged %s", c.Shown()) }

func printNothingToApply(name string, later []*review.Change) {
	if len(later) == 0 {
		message("%s holds nothing back that could be applied", name)
		return
	}
	message("nothing was applied: %s", several(uint64(len(later)), "change runs later", "changes run later"))
	hint("sbx diff --patch %s shows them; sbx apply %s PATH applies one that is named", name, name)
}

func printApplied(name string, chosen, left []*review.Change) {
	message("applied: %s", count(chosen).words())
	if len(left) > 0 {
		message("%s still holds back: %s", name, count(left).words())
		hint("sbx diff %s; sbx apply %s PATH; sbx discard %s", name, name, name)
	}
}

func printDiscarded(name string, list []*review.Change) {
	message("discarded what %s held back: %s", name, count(list).words())
}

func printUndone(a *review.Applied) {
	if a.Undone {
		message("applied again what had been undone of %s: %s", a.Sandbox, several(uint64(len(a.Paths)), "path", "paths"))
	} else {
		message("took back what was applied of %s: %s", a.Sandbox, several(uint64(len(a.Paths)), "path", "paths"))
		hint("sbx undo --redo %s does it again", a.Sandbox)
	}
}

// printUnclean says why a run's changes are not applied by themselves.
func printUnclean(name string, list []*review.Change) {
	message("nothing was applied: %s", count(list).words())
	if told := slices.DeleteFunc(slices.Clone(list), func(c *review.Change) bool { return c.Inner }); len(told) > 0 {
		list = told // folders by what is in them
	}
	for _, c := range list[:min(len(list), few)] {
		message("%s", strings.Join(slices.DeleteFunc([]string{c.Shown(), c.Later, c.Conflict, c.Refused}, func(s string) bool { return s == "" }), ": "))
	}
	hint("sbx diff %s; sbx apply %s; sbx discard %s", name, name, name)
}

// printReviewAdvice is what helps with errors about changes that are held back.
func printReviewAdvice(err error) {
	var conflict *review.ConflictError
	var notShown *review.NotShownError
	var nothing *nothingHeldError
	switch {
	case errors.As(err, &conflict):
		for _, c := range conflict.Conflicts[min(1, len(conflict.Conflicts)):min(len(conflict.Conflicts), few)] {
			message("%s: %s", c.Path, c.Why)
		}
		if !conflict.Undo {
			hint("sbx apply --merge merges text that both changed, --overwrite takes the sandbox's; or name other paths")
		}
	case errors.As(err, &notShown), errors.Is(err, review.ErrNotAsShown):
		hint("sbx diff shows it as it is now")
	case errors.As(err, &nothing):
		hint("sbx ps -a lists sandboxes; sbx run --project review -- CMD holds back what CMD changes")
	}
}

// askWhatToApply shows the list and asks: y, n, or i.
func askWhatToApply(all, chosen, later []*review.Change) (byte, error) {
	out := &screen{bufio.NewWriter(os.Stderr), os.Getenv("NO_COLOR") == ""}
	printChanges(out, all, false)
	out.Flush()
	question := fmt.Sprintf("sbx: apply %d of these", len(chosen))
	if len(later) > 0 {
		question += fmt.Sprintf(", without the %d that run later", len(later))
	}
	return askOne(question, "yni", "y yes, n no, i one by one")
}

// printSummary is the line at the end of a run in review.
func printSummary(name string, t tally) {
	message("held back: %s", t.words())
	hint("sbx diff %s; sbx apply %s; sbx discard %s", name, name, name)
}

func printRestored(name, point string) { message("%s is as it was at %s", name, point) }

// printPoints lists the snapshots of a sandbox.
func printPoints(list []sandbox.Point, asJSON bool) error {
	if asJSON {
		if list == nil {
			list = []sandbox.Point{}
		}
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SNAPSHOT\tMADE")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\n", p.Name, ago(p.Made))
	}
	return w.Flush()
}
