// Package tests holds what is true of the whole tree.
package tests

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Imports run one way: cmd/sbx to all, sandbox to the rest, and the rest to userns and host alone.
func TestImportDirection(t *testing.T) {
	parts := []string{"sbx/profiles", "sbx/userns", "sbx/fuseoverlay", "sbx/slirp", "sbx/cgroup", "sbx/images", "sbx/harden", "sbx/host", "sbx/state", "sbx/review"}
	shared := []string{"sbx/userns", "sbx/host"}
	for pkg, imports := range packages(t) {
		for _, to := range imports {
			ok := false
			switch {
			case strings.HasPrefix(pkg, "sbx/cmd/"), strings.HasPrefix(pkg, "sbx/tests"), strings.HasPrefix(pkg, "sbx/bench"):
				ok = !strings.HasPrefix(to, "sbx/cmd/")
			case pkg == "sbx/sandbox": // and no part of images but the light one
				ok = slices.Contains(parts, to)
			case pkg == "sbx/userns":
				ok = to == "sbx/host"
			default:
				ok = slices.Contains(shared, to) || family(pkg) == family(to)
			}
			if !ok {
				t.Errorf("%s imports %s", pkg, to)
			}
		}
	}
}

// family is a package and those below it: sbx/images for sbx/images/layer.
func family(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// What talks to registries, and what else is slow to load, is linked into no program that every start
// of sbx runs.
func TestStartLinksNothingHeavy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "sbx/cmd/sbx").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		switch pkg := strings.TrimSpace(line); {
		case pkg == "net/http", pkg == "crypto/tls", pkg == "text/template", pkg == "archive/tar",
			strings.HasPrefix(pkg, "github.com/google/go-containerregistry"), strings.HasPrefix(pkg, "github.com/klauspost"):
			t.Errorf("cmd/sbx links %s", pkg)
		}
	}
}

// kong parses the command line, in the two programs that have one, and nothing else knows that there is one.
func TestKongLivesInTheCommand(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "sbx/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "alecthomas/kong") && !strings.HasPrefix(line, "sbx/cmd/sbx ") && !strings.HasPrefix(line, "sbx/cmd/sbx-images ") {
			t.Errorf("kong is imported by %s", line)
		}
	}
}

// packages are the module's packages with what each imports of the module.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "sbx/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	list := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		imports := slices.DeleteFunc(p.Imports, func(i string) bool { return !strings.HasPrefix(i, "sbx/") })
		list[p.ImportPath] = imports
	}
	if len(list) < 8 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}
