package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// byPath are calls that write by a path and follow links in it, or remove what a path leads to. Where payloads, images and
// repositories lay the trees, such a path may lead anywhere: there files are opened by descriptor, without links, and new
// ones made with O_EXCL (os.Root, openat2(2)).
var byPath = map[string]bool{
	"os.Chmod": true, "os.Chown": true, "os.Chtimes": true, "os.CopyFS": true, "os.Create": true, "os.RemoveAll": true, "os.Truncate": true, "os.WriteFile": true,
	"filepath.Walk": true, "filepath.WalkDir": true, "unix.Chmod": true, "unix.Chown": true, "unix.Fchmodat": true, "unix.Truncate": true, "unix.Mknod": true,
}

// hostileTrees are the folders whose packages handle such trees.
var hostileTrees = []string{"sandbox", "review", "fuseoverlay", "state", "images", "cmd/sbx-images"}

// byPathAllowed are the places where such a call is no way out, with the reason. os.RemoveAll follows no link itself.
var byPathAllowed = map[string]string{
	"cmd/sbx-images/app.go os.RemoveAll":    "the store's own folders, which no sandbox sees",
	"images/archive/blobs.go os.RemoveAll":  "a folder of the store's own, which no sandbox sees",
	"images/layer/entries.go unix.Fchmodat": "a FIFO that was made just now, in the jail that one layer is unpacked in",
	"review/apply.go unix.Chmod":            "/proc/self/fd of a file that was opened without links",
	"sandbox/copy.go unix.Chmod":            "/proc/self/fd of an open file",
	"sandbox/life.go unix.Chmod":            "a folder of the sandbox's own on disk, before it runs",
	"sandbox/points.go os.Chtimes":          "a folder of the sandbox's own on disk, which no sandbox sees",
	"review/capture.go filepath.WalkDir":    "the sandbox has ended, and no other one sees the folder",
	"review/capture.go unix.Fchmodat":       "the sandbox has ended, and no other one sees the folder",
	"review/capture.go os.RemoveAll":        "the sandbox has ended, and no other one sees the folder",
	"review/hidden.go os.Chmod":             "/proc/self/fd of a file that was opened without links",
	"review/hidden.go os.Truncate":          "/proc/self/fd of a file that was opened without links",
	"review/hidden.go unix.Chmod":           "/proc/self/fd of a file that was opened without links",
	"review/journal.go os.RemoveAll":        "the journal's own folders, which no sandbox sees",
	"review/record.go os.WriteFile":         "a folder of the record's own, which no sandbox sees",
	"sandbox/detach.go os.WriteFile":        "/proc/self/comm",
	"sandbox/fuse.go os.Create":             "beside the upper, where no sandbox sees it",
	"sandbox/owncopy.go os.WriteFile":       "/proc/self/comm",
	"sandbox/upper.go os.Chmod":             "beside the upper, where no sandbox sees it",
	"sandbox/upper.go os.RemoveAll":         "the sandbox has ended, and no other one sees the folder",
	"state/state.go filepath.WalkDir":       "the sandbox has ended, and no other one sees the folder",
	"state/state.go unix.Fchmodat":          "the sandbox has ended, and no other one sees the folder",
	"state/state.go os.RemoveAll":           "the sandbox has ended, and no other one sees the folder",
}

func TestHostileTreesAreNotHandledByPath(t *testing.T) {
	unused := map[string]bool{}
	for place := range byPathAllowed {
		unused[place] = true
	}
	for _, dir := range hostileTrees {
		err := filepath.WalkDir("../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, call := range callsByPath(t, path) {
				place := strings.TrimPrefix(path, "../") + " " + call
				delete(unused, place)
				if byPathAllowed[place] == "" {
					t.Errorf("%s: by descriptor, or with the reason why not in byPathAllowed", place)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for place := range unused {
		t.Errorf("%s is allowed, and is not there", place)
	}
}

// callsByPath are those of a file.
func callsByPath(t *testing.T, path string) (calls []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && byPath[pkg.Name+"."+s.Sel.Name] {
				calls = append(calls, pkg.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return calls
}
