package nofile_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"sbx/host/nofile"
)

// The child of this test is the test binary itself: it says what it was started with and what the runtime made of it.
func TestMain(m *testing.M) {
	if os.Getenv("NOFILE_TEST_SAY") == "" {
		os.Exit(m.Run())
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		panic(err)
	}
	fmt.Println(nofile.AtStart.Soft, nofile.AtStart.Hard, now.Cur)
}

func TestReadBeforeTheRuntimeRaisesIt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -Sn 512 && ulimit -Hn 1024 && exec "$0"`, self)
	cmd.Env = append(os.Environ(), "NOFILE_TEST_SAY=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("running the test binary under ulimit: %v\n%s", err, out)
	}
	var soft, hard, raised int
	if _, err := fmt.Sscan(string(out), &soft, &hard, &raised); err != nil {
		t.Fatalf("reading %q: %v", out, err)
	}
	if soft != 512 || hard != 1024 {
		t.Errorf("limit at start = %d, %d, want 512, 1024", soft, hard)
	}
	// The runtime goes to the hard limit, or one below it: what matters is that it came too late to be seen.
	if raised <= 512 {
		t.Errorf("the runtime left the soft limit at %d, so this test shows nothing", raised)
	}
}
