package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// A file that comes into the place of one that was moved already is the newer one, wherever both go.
func TestTransferToWhatIsThere(t *testing.T) {
	for _, back := range []bool{false, true} {
		from, to := openTemp(t), openTemp(t)
		for name, text := range map[string]string{from.Name() + "/a": "from", to.Name() + "/a": "to", from.Name() + "/b": "b"} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := (&transfer{back: back}).all(from, to, nil); err != nil {
			t.Errorf("back %v: %v", back, err)
		}
		want := map[bool]string{false: "from", true: "to"}[back]
		a, _ := os.ReadFile(filepath.Join(to.Name(), "a"))
		b, _ := os.ReadFile(filepath.Join(to.Name(), "b"))
		if left, _ := os.ReadDir(from.Name()); string(a) != want || string(b) != "b" || len(left) > 0 {
			t.Errorf("back %v: a is %q, want %q; b is %q; %d left", back, a, want, b, len(left))
		}
	}
}

func openTemp(t *testing.T) *os.File {
	t.Helper()
	f, err := openFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
