package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sbx/profiles"
)

func readDoc(t *testing.T, path string) string {
	b, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestManPage holds the flags of the man page against those of --help.
func TestManPage(t *testing.T) {
	page := readDoc(t, "docs/man/sbx.1")
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)(?:Fl|,) -([a-z][a-z-]*)`).FindAllStringSubmatch(page, -1) {
		documented = append(documented, m[1])
	}
	var all []string
	for _, verb := range []string{"run", "shell", "explain", "doctor", "ps", "exec", "attach", "logs", "inspect", "stats", "top", "port", "start", "stop", "kill",
		"pause", "resume", "wait", "rename", "cp", "rm", "events", "volume ls", "volume create", "volume rm", "profile list", "profile show", "profile check", "init", "trust", "untrust", "tasks",
		"pull", "images", "rmi", "tag", "save", "load", "import", "commit", "push", "login", "lock", "prune",
		"diff", "apply", "discard", "undo", "snapshot", "restore", "selfcheck", "version"} {
		help, err := exec.Command("sbx", append(strings.Fields(verb), "--help")...).Output()
		if err != nil {
			t.Fatalf("sbx %s --help: %v", verb, err)
		}
		for _, m := range regexp.MustCompile(`--([a-z][a-z-]*)`).FindAllStringSubmatch(string(help), -1) {
			if m[1] != "help" && m[1] != "no" {
				all = append(all, m[1])
			}
		}
	}
	for _, flag := range all {
		if !slices.Contains(documented, flag) {
			t.Errorf("--%s is in --help, not in docs/man/sbx.1", flag)
		}
	}
	for _, flag := range documented {
		if !slices.Contains(all, flag) {
			t.Errorf("--%s is in docs/man/sbx.1, not in --help", flag)
		}
	}
}

// TestSafeEnvironmentDocumented holds the list in docs/profile.md against the table.
func TestSafeEnvironmentDocumented(t *testing.T) {
	doc := readDoc(t, "docs/profile.md")
	_, rest, ok := strings.Cut(doc, "<!-- safe-env")
	list, _, ok2 := strings.Cut(rest, "<!-- /safe-env")
	if !ok || !ok2 {
		t.Fatal("docs/profile.md has no safe-env list")
	}
	var want []string
	for _, s := range profiles.SafeEnv {
		want = append(want, s.Name)
	}
	var got []string
	for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(list, -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/profile.md lists\n%v\nprofiles.SafeEnv is\n%v", got, want)
	}
}

// TestPromisesHaveTests: each line of the promise in SECURITY.md names scripts that exist, and no attack is left out.
func TestPromisesHaveTests(t *testing.T) {
	doc := readDoc(t, "SECURITY.md")
	_, doc, _ = strings.Cut(doc, "## What is promised")
	promised, _, _ := strings.Cut(doc, "## What is not promised")
	lines := 0
	for line := range strings.Lines(promised) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.Contains(line, "---") || strings.Contains(line, "| tests |") {
			continue
		}
		lines++
		for _, name := range strings.Split(cells[2], ",") {
			if !exists(strings.TrimSpace(name) + ".txtar") {
				t.Errorf("SECURITY.md names the test %q, which is not there", strings.TrimSpace(name))
			}
		}
	}
	if lines < 10 {
		t.Errorf("only %d promises found in SECURITY.md", lines)
	}
	attacks, _ := filepath.Glob("attacks_*.txtar")
	for _, path := range attacks {
		if !strings.Contains(promised, strings.TrimSuffix(path, ".txtar")) {
			t.Errorf("%s stands for no promise in SECURITY.md", path)
		}
	}
}

// TestPromisesAttacked holds the table of attacks in docs/testing.md against the scripts: each is there, runs in the guest
// where a g stands behind it, and no attack is left out.
func TestPromisesAttacked(t *testing.T) {
	_, table, _ := strings.Cut(readDoc(t, "docs/testing.md"), "| attack | scripts |")
	table, _, _ = strings.Cut(table, "\n\n")
	named := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || strings.Contains(line, "---") {
			continue
		}
		for _, m := range regexp.MustCompile(`([a-z][a-z0-9_]+)( g\b|\*)?`).FindAllStringSubmatch(cells[2], -1) {
			name, inGuest := m[1], m[2] == " g"
			if m[2] == "*" || strings.Contains(cells[2], "`"+name) || name == "make" || !strings.Contains(name, "_") && !exists(name+".txtar") {
				continue // all of a kind, or a word
			}
			named[name] = true
			if !exists(name + ".txtar") {
				t.Errorf("docs/testing.md names the script %q, which is not there", name)
				continue
			}
			tags := readTags(t, name+".txtar")
			if runs := (slices.Contains(tags, "vm") || slices.Contains(tags, "guest")) && !slices.Contains(tags, "long"); runs != inGuest {
				t.Errorf("docs/testing.md says that %s runs in the guest in make test: %t; its tags say %t", name, inGuest, runs)
			}
		}
	}
	attacks, _ := filepath.Glob("attacks_*.txtar")
	for _, path := range attacks {
		if name := strings.TrimSuffix(path, ".txtar"); !named[name] {
			t.Errorf("%s is not in the table of docs/testing.md", name)
		}
	}
}
