package review

import (
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff/lcs"
)

// contextLines is how many unchanged lines are shown around changed ones.
const contextLines = 3

// splitLines are the lines of a text, each with its line feed where it has one.
func splitLines(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func compareText(old, new string) *Patch {
	before, after := splitLines(old), splitLines(new)
	p := &Patch{old: old}
	edits := lcs.DiffLines(before, after)
	for len(edits) > 0 {
		n := 1
		for n < len(edits) && edits[n].Start-edits[n-1].End <= 2*contextLines {
			n++
		}
		p.Hunks = append(p.Hunks, hunkOf(before, after, edits[:n]))
		edits = edits[n:]
	}
	return p
}

// hunkOf makes one hunk of edits that lie near each other.
func hunkOf(before, after []string, edits []lcs.Diff) Hunk {
	first, last := edits[0], edits[len(edits)-1]
	at := max(first.Start-contextLines, 0)
	h := Hunk{OldLine: at + 1, NewLine: first.ReplStart - (first.Start - at) + 1}
	add := func(mark byte, lines []string) {
		for _, l := range lines {
			h.Lines = append(h.Lines, Line{mark, l})
		}
		if mark != '+' {
			h.OldCount += len(lines)
		}
		if mark != '-' {
			h.NewCount += len(lines)
		}
	}
	for _, e := range edits {
		add(' ', before[at:e.Start])
		add('-', before[e.Start:e.End])
		add('+', after[e.ReplStart:e.ReplEnd])
		at = e.End
	}
	add(' ', before[at:min(last.End+contextLines, len(before))])
	return h
}

// edit replaces lines, from start up to end, by others.
type edit struct {
	start, end int
	lines      []string
}

func editsOf(before, after []string) []edit {
	var list []edit
	for _, d := range lcs.DiffLines(before, after) {
		list = append(list, edit{d.Start, d.End, after[d.ReplStart:d.ReplEnd]})
	}
	return list
}

func (e edit) same(o edit) bool {
	return e.start == o.start && e.end == o.end && slices.Equal(e.lines, o.lines)
}

// mergeText merges two texts that began as one. Edits that overlap or touch are a conflict, though one
// could guess.
func mergeText(began, host, sandbox string) (string, error) {
	before := splitLines(began)
	edits := editsOf(before, splitLines(host))
	theirs := editsOf(before, splitLines(sandbox))
	ours := len(edits)
	for _, t := range theirs {
		known := false
		for _, e := range edits[:ours] {
			same := e.same(t)
			if !same && e.start <= t.end && t.start <= e.end {
				return "", &MergeError{"both changed the same lines"}
			}
			known = known || same
		}
		if !known {
			edits = append(edits, t)
		}
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.start - b.start })
	var out strings.Builder
	write := func(lines []string) {
		for _, l := range lines {
			out.WriteString(l)
		}
	}
	at := 0
	for _, e := range edits {
		write(before[at:e.start])
		write(e.lines)
		at = e.end
	}
	write(before[at:])
	return out.String(), nil
}
