package profiles

import (
	"fmt"
	"sort"
	"strings"
)

// didYouMean is a hint that names the word nearest to what was written: one
// that is near enough to be a slip of the hand, else all of them.
func didYouMean(wrote string, words []string) string {
	if w := nearest(wrote, words); w != "" {
		return fmt.Sprintf("did you mean %q?", w)
	}
	if len(words) == 0 {
		return ""
	}
	return "one of: " + strings.Join(sorted(words), ", ")
}

func sorted(words []string) []string {
	out := append([]string(nil), words...)
	sort.Strings(out)
	return out
}

// nearest returns the word within a third of its length in edits, or "".
func nearest(wrote string, words []string) string {
	const longest = 64 // longer ones are no slip of the hand, and cost time
	if len(wrote) > longest {
		return ""
	}
	best, at := "", 1<<30
	for _, w := range words {
		d := distance(strings.ToLower(wrote), strings.ToLower(w))
		if d < at && d <= max(1, len(w)/3) {
			best, at = w, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours between two words.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			rows[i][j] = step(rows, x, y, i, j)
		}
	}
	return rows[len(x)][len(y)]
}

func step(rows [][]int, x, y []rune, i, j int) int {
	cost := 1
	if x[i-1] == y[j-1] {
		cost = 0
	}
	d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
	if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
		d = min(d, rows[i-2][j-2]+1)
	}
	return d
}
