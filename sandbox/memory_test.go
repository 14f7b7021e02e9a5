package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a loader has relocated in a file's pages, and then made read-only, must not go: it would come back as it
// is in the file. (A position-independent program, and each with the C library, has such pages.)
func TestDropProgramKeepsRelocatedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "library")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	memory[4096] = 'x'
	if err := unix.Mprotect(memory, unix.PROT_READ); err != nil {
		t.Fatal(err)
	}
	dropProgram()
	if memory[4096] != 'x' {
		t.Error("a page that was changed and then made read-only has lost the change")
	}
}
