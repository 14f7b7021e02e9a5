// Command vm runs the tests in a guest: a whole Debian with systemd, its own kernel and a unified cgroup tree, under qemu
// without KVM. It builds the image where there is none, puts what was built from this checkout in on a second drive,
// boots, and prints what the tests inside say. Inside, the same program starts them.
//
//	go run ./tests/vm [-user session|plain|nosub|root] [-run REGEXP] [-all]
//	go run ./tests/vm [-user ...] -shell 'COMMAND'
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

type options struct {
	user  string
	run   string
	all   bool
	shell string
	bench bool
	bin   string
	limit time.Duration
	times int
	loud  bool
}

func main() {
	// qemu is ended by the kernel when the thread that started it ends: this one does so last.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.user, "user", "", "as one user: session, plain (no session), nosub (no sub-ids) or root")
	flag.StringVar(&o.run, "run", "", "only scripts that match")
	flag.BoolVar(&o.all, "all", false, "also scripts that do not depend on the kernel, and the long ones")
	flag.StringVar(&o.shell, "shell", "", "run this command line instead of the tests")
	flag.BoolVar(&o.bench, "bench", false, "run the benchmark instead of the tests")
	flag.StringVar(&o.bin, "bin", "", "folder of binaries that were built already")
	flag.DurationVar(&o.limit, "limit", 15*time.Minute, "end the guest after this time")
	flag.IntVar(&o.times, "times", 0, "print the time of this many scripts, the slowest first")
	flag.BoolVar(&o.loud, "v", false, "print everything the tests print, as it comes")
	inside := flag.Bool("inside", false, "this is the guest: do the job on the second drive")
	flag.Parse()
	if *inside {
		fmt.Fprintln(os.Stderr, "vm:", work())
		os.Exit(1)
	}
	status, err := testInGuest(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/vm:", err)
		os.Exit(2)
	}
	os.Exit(status)
}

// testInGuest returns the exit status: 0 if tests ran and none failed; that of the command under -shell.
func testInGuest(o options) (int, error) {
	j, err := newJob(o)
	if err != nil {
		return 0, err
	}
	image, err := readyImage()
	if err != nil {
		return 0, err
	}
	drive, err := makeDrive(o.bin, j)
	if err != nil {
		return 0, err
	}
	defer drive.Close()
	g, err := boot(image, drive, o.limit)
	if err != nil {
		return 0, err
	}
	defer g.end()
	if j.Raw {
		return g.showOutput()
	}
	return g.report(j, o)
}
