package review

import (
	"fmt"
	"strings"
	"testing"
)

// Edits with up to twice the context between them are one hunk, as diff(1) has it; each hunk tells where it begins.
func TestHunksNearEachOther(t *testing.T) {
	for gap, want := range map[int]string{0: "1,8 1,8", 6: "1,14 1,14", 7: "1,7 1,7; 9,7 9,7"} {
		var old, new []string
		add := func(was, is string, n int) {
			for range n {
				old, new = append(old, was), append(new, is)
			}
		}
		add("same\n", "same\n", 3)
		add("old\n", "new\n", 1)
		add("same\n", "same\n", gap)
		add("another\n", "other\n", 1)
		add("same\n", "same\n", 5)
		var got []string
		for _, h := range compareText(strings.Join(old, ""), strings.Join(new, "")).Hunks {
			got = append(got, fmt.Sprintf("%d,%d %d,%d", h.OldLine, h.OldCount, h.NewLine, h.NewCount))
		}
		if got := strings.Join(got, "; "); got != want {
			t.Errorf("%d lines between: %s, want %s", gap, got, want)
		}
	}
}
