package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeTree makes what copies often lose.
func makeTree(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "sub/file"), []byte("content"), 0o640))
	must(t, os.Link(filepath.Join(dir, "sub/file"), filepath.Join(dir, "linked")))
	must(t, os.Symlink("/nowhere", filepath.Join(dir, "link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("x"), 1<<30)
	must(t, err)
	must(t, sparse.Truncate(2<<30))
	must(t, sparse.Close())
	must(t, os.Chmod(filepath.Join(dir, "sub/deep"), 0o2750))
	when := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	must(t, os.Chtimes(filepath.Join(dir, "sub/file"), when, when))
	must(t, os.Chtimes(filepath.Join(dir, "sub"), when, when))
	return dir
}

func open(t *testing.T, dir string) *os.File {
	f, err := openFolder(dir)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestCopyTree(t *testing.T) {
	from, to := makeTree(t), t.TempDir()
	must(t, copyTree(open(t, from), open(t, to)))
	must(t, filepath.WalkDir(from, func(path string, _ os.DirEntry, err error) error {
		must(t, err)
		copied := filepath.Join(to, strings.TrimPrefix(path, from))
		var a, b unix.Stat_t
		must(t, unix.Lstat(path, &a))
		must(t, unix.Lstat(copied, &b))
		folder := a.Mode&unix.S_IFMT == unix.S_IFDIR
		if a.Mode != b.Mode || a.Nlink != b.Nlink || !folder && a.Size != b.Size || a.Mode&unix.S_IFMT != unix.S_IFIFO && a.Mtim != b.Mtim {
			t.Errorf("%s: mode %o, links %d, size %d, time %v: is %o, %d, %d, %v", path, a.Mode, a.Nlink, a.Size, a.Mtim, b.Mode, b.Nlink, b.Size, b.Mtim)
		}
		if !folder && b.Blocks > a.Blocks+16 {
			t.Errorf("%s: takes %d blocks, and its copy %d", path, a.Blocks, b.Blocks)
		}
		return nil
	}))
	text, err := os.ReadFile(filepath.Join(to, "linked"))
	if err != nil || string(text) != "content" {
		t.Errorf("the copy has %q, %v", text, err)
	}
	var a, b unix.Stat_t
	must(t, unix.Lstat(filepath.Join(to, "linked"), &a))
	must(t, unix.Lstat(filepath.Join(to, "sub/file"), &b))
	if a.Ino != b.Ino {
		t.Error("a hard link became a file of its own")
	}
	at := make([]byte, 1)
	sparse, err := os.Open(filepath.Join(to, "sparse"))
	must(t, err)
	defer sparse.Close()
	if _, err := sparse.ReadAt(at, 1<<30); err != nil || at[0] != 'x' {
		t.Errorf("the data between holes is %q, %v", at, err)
	}
}

func TestSurvey(t *testing.T) {
	dir := makeTree(t)
	for _, c := range []struct {
		left   bounds
		uid    int
		copied bool
	}{
		{bounds{100, 1 << 20}, os.Getuid(), true},
		{bounds{3, 1 << 20}, os.Getuid(), false},
		{bounds{100, 100}, os.Getuid(), false},
		{bounds{100, 1 << 20}, os.Getuid() + 1, false},
	} {
		err := survey(open(t, dir), &c.left, uint32(c.uid))
		var not *notCopiedError
		if (err == nil) != c.copied || err != nil && !errors.As(err, &not) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// A file that its owner cannot read would be missing in a copy.
	must(t, os.Chmod(filepath.Join(dir, "sub/file"), 0o200))
	if survey(open(t, dir), &bounds{100, 1 << 20}, uint32(os.Getuid())) == nil {
		t.Error("an unreadable file is no hindrance")
	}
}

func TestCopyTreeLeavesPlacesBlank(t *testing.T) {
	from, to := makeTree(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(from, "sub/deep/key"), []byte("secret"), 0o600))
	must(t, copyTree(open(t, from), open(t, to), "sub/deep", "sub/file"))
	if names, err := os.ReadDir(filepath.Join(to, "sub/deep")); err != nil || len(names) > 0 {
		t.Errorf("sub/deep has %v, %v", names, err)
	}
	if info, err := os.Stat(filepath.Join(to, "sub/file")); err != nil || info.Size() > 0 || info.Mode() != 0o640 {
		t.Errorf("sub/file is %v, %v", info, err)
	}
}
