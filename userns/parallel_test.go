package userns

import (
	"os"
	"sync"
	"testing"
)

// Many at once from one process: none leaves out the memory that another needs.
func TestStartSideBySide(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 8 {
				p, err := Start(shell("true"), Options{Stdin: null, Stdout: null, Stderr: null, Maps: ownIDs()})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := p.Wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
