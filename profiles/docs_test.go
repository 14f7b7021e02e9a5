package profiles

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what tests compare with")

// The table of docs/profile.md is written from the keys, as `go test ./profiles -update`.
func TestMergingDocumented(t *testing.T) {
	var want strings.Builder
	want.WriteString("\n| key | a later layer's value is |\n|---|---|\n")
	for _, k := range profileKeys {
		table, name, _ := strings.Cut(k.path(), ".")
		fmt.Fprintf(&want, "| `[%s] %s` | %s |\n", table, name, k.rule())
	}
	holdBetween(t, "../docs/profile.md", "<!-- merging: a test writes this table from the keys themselves -->", "<!-- /merging -->", want.String())
}

// holdBetween holds what a file has between two marks against a text, or writes it.
func holdBetween(t *testing.T, path, from, to, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), from)
	got, after, ok2 := strings.Cut(rest, to)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %s", path, from)
	}
	if *update && got != want {
		if err := os.WriteFile(path, []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s: go test ./profiles -update writes the table anew\ngot:%swant:%s", path, got, want)
	}
}

// Every key that works has a row in the table of values.
func TestKeysDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/profile.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(data), "## Keys")
	rows, _, _ = strings.Cut(rows, "\n## ")
	for _, k := range profileKeys {
		table, name, _ := strings.Cut(k.path(), ".")
		shown := false
		for line := range strings.Lines(rows) {
			shown = shown || strings.HasPrefix(line, "| `["+table+"]") && strings.Contains(line, name+"`")
		}
		if !shown {
			t.Errorf("%s: not in the table of docs/profile.md", k.path())
		}
	}
}
