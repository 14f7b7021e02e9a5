// Command run is what `make test` starts: it sets the machine up, builds, puts binaries and sources where an
// unprivileged user can read them, runs every part of the tests as the users they are meant for, and prints the time
// of each part. It does not test anything itself.
//
//	go run ./tests/run [-only unit|e2e|real|guest] [-all] [-run REGEXP]
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sbx/tests/gotest"
)

// The names that tests/setup.sh makes: the users with and without sub-ids, and the world-readable place that it fills.
var (
	as       = cmp.Or(os.Getenv("SBX_TEST_AS"), "sbx")
	withIDs  = as + "test"
	noSubIDs = as + "nosub"
	stage    = "/var/lib/" + as + "-test"
)

type options struct {
	only string
	all  bool
	run  string
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "one part: unit, e2e, real or guest")
	flag.BoolVar(&o.all, "all", false, "also the long scripts")
	flag.StringVar(&o.run, "run", "", "only tests and scripts that match")
	flag.Parse()
	start := time.Now()
	total, err := testAll(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/run:", err)
		os.Exit(2)
	}
	fmt.Printf("%-28s %7.1f s\n", "all parts", time.Since(start).Seconds())
	if total.Skipped > 0 {
		fmt.Printf("%d skipped, each named above with its reason\n", total.Skipped)
	}
	fmt.Printf("%d passed, %d failed\n", total.Passed, total.Failed)
	if total.Failed > 0 || total.Passed == 0 {
		os.Exit(1)
	}
}

// testAll runs the steps in order; a step before the tests that fails ends the run.
func testAll(o options) (gotest.Count, error) {
	var total gotest.Count
	allowed, err := gotest.ReadAllowedSkips("tests/skips.txt")
	if err != nil {
		return total, err
	}
	dir, err := os.MkdirTemp("", "sbx-test-bin")
	if err != nil {
		return total, err
	}
	defer os.RemoveAll(dir)
	var pkgs []string
	steps := []struct {
		name string
		do   func() error
	}{
		{"set-up", func() error { return setup("prepare") }},
		{"source of hello", func() error { return setup("hello") }},
		{"a Debian base", func() error { return setup("debian") }},
		{"for the long scripts", func() error {
			if !o.all {
				return nil
			}
			return setup("long")
		}},
		{"build", func() (err error) { pkgs, err = build(dir); return err }},
		{"copy to the test users", func() error { return setup("stage", dir, goEnv("GOMODCACHE")) }},
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.do(); err != nil {
			return total, fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("%-28s %7.1f s\n", s.name, time.Since(began).Seconds())
	}
	all := parts(pkgs, o)
	if o.all && o.run == "" && (o.only == "" || o.only == "unit") {
		fuzz, err := fuzzing(dir, pkgs)
		if err != nil {
			return total, err
		}
		all = append(all, fuzz...)
	}
	for _, p := range all {
		total.Add(p.run(allowed))
	}
	if o.only == "guest" || o.only == "" {
		total.Add(guest(dir, o))
	}
	return total, nil
}

// A part is one test binary run as one user.
type part struct {
	name string
	user string
	dir  string // below the staged source tree
	args []string
	env  []string
}

func parts(pkgs []string, o options) []part {
	var ps []part
	want := func(kind string) bool { return o.only == "" || o.only == kind }
	filter := []string{}
	if o.run != "" {
		filter = []string{"-test.run=" + o.run}
	}
	if want("unit") {
		var env []string
		if o.all {
			env = []string{"SBX_TEST_LONG=1"}
		}
		for _, pkg := range pkgs {
			args := append([]string{stage + "/bin/" + testBinary(pkg), "-test.v", "-test.timeout=10m"}, filter...)
			ps = append(ps, part{name: "unit " + pkg, user: withIDs, dir: pkg, args: args, env: env})
			if pkg == "userns" || pkg == "sandbox" {
				ps = append(ps,
					part{name: "unit " + pkg + " (no sub-ids)", user: noSubIDs, dir: pkg, args: args},
					part{name: "unit " + pkg + " (root)", user: "root", dir: pkg, args: args})
			}
		}
	}
	if want("e2e") {
		for _, user := range []string{withIDs, noSubIDs, "root"} {
			ps = append(ps, scripts("scripts as "+user, user, "TestScripts/("+o.run+")", o.all))
		}
		if o.run == "" {
			fuse := scripts("scripts, fuse-overlayfs", withIDs, "TestScripts/image_", o.all)
			fuse.env = append(fuse.env, "SBX_TEST_DRIVER=fuse-overlayfs")
			ps = append(ps, fuse)
		}
		if o.run == "" {
			ps = append(ps, scripts("documents", withIDs, "Test(ManPage|SafeEnv|Promises)", o.all))
		}
	}
	if want("real") {
		ps = append(ps, scripts("real input", withIDs, "TestReal/("+o.run+")", o.all),
			scripts("real input (no sub-ids)", noSubIDs, "TestReal/("+o.run+")", o.all))
	}
	return ps
}

// fuzzing runs each fuzz target for a minute. Its binaries are built once more, for what tells a fuzzer where an
// input went.
func fuzzing(dir string, pkgs []string) (ps []part, err error) {
	for _, pkg := range pkgs {
		out, err := exec.Command(filepath.Join(dir, testBinary(pkg)), "-test.list=^Fuzz").Output()
		if err != nil {
			return nil, fmt.Errorf("listing the fuzz targets of %s: %w", pkg, err)
		}
		targets := strings.Fields(string(out))
		if len(targets) == 0 {
			continue
		}
		binary := filepath.Join(dir, testBinary(pkg)+".fuzz")
		if err := goRun("test", "-c", "-trimpath", "-fuzz=^Fuzz", "-o", binary, "./"+pkg); err != nil {
			return nil, err
		}
		for _, target := range targets {
			ps = append(ps, part{name: "fuzz " + target, user: withIDs, dir: pkg, args: []string{
				stage + "/bin/" + filepath.Base(binary), "-test.v", "-test.run=^$", "-test.fuzz=^" + target + "$", "-test.fuzztime=1m",
				"-test.fuzzminimizetime=20x", "-test.parallel=1", "-test.fuzzcachedir=/tmp/" + withIDs + "-fuzz"}})
		}
	}
	return ps, setup("stage", dir, goEnv("GOMODCACHE"))
}

func scripts(name, user, run string, all bool) part {
	env := []string{}
	if all {
		env = append(env, "SBX_TEST_LONG=1")
	}
	return part{name: name, user: user, dir: "tests/e2e", env: env,
		args: []string{stage + "/bin/e2e.test", "-test.v", "-test.timeout=20m", "-test.run=" + run}}
}

// run prints failing tests whole, skips with their reason, and one line at the end.
func (p part) run(allowed []*regexp.Regexp) gotest.Count {
	began := time.Now()
	cmd := asUser(p.user, filepath.Join(stage, "src", p.dir), p.env, p.args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return p.broken(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return p.broken(err)
	}
	r := gotest.NewReader()
	r.Read(out)
	err = cmd.Wait()
	c := r.Report(os.Stdout, p.name, allowed)
	if err != nil && c.Failed == 0 {
		fmt.Printf("%s: %v\n%s", p.name, err, r.Tail())
		c.Failed++
	}
	fmt.Printf("%-28s %7.1f s   %d passed, %d failed, %d skipped\n", p.name, time.Since(began).Seconds(), c.Passed, c.Failed, c.Skipped)
	return c
}

// guest runs the scripts once more, in the guest of tests/vm, which prints them; its last line has the sum.
func guest(bin string, o options) gotest.Count {
	args := []string{"-bin", bin, "-run", o.run}
	if o.all {
		args = append(args, "-all", "-limit", "90m")
	}
	cmd := exec.Command(filepath.Join(bin, "vm"), args...)
	last := &lastLine{}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, last), os.Stderr
	err := cmd.Run()
	var c gotest.Count
	if _, scan := fmt.Sscanf(last.text, "guest: %d passed, %d failed, %d skipped", &c.Passed, &c.Failed, &c.Skipped); scan != nil {
		fmt.Printf("the guest gave no results: %v\n", err)
		c.Failed++
	}
	if err != nil && c.Failed == 0 {
		fmt.Printf("the guest: %v\n", err)
		c.Failed++
	}
	return c
}

// A lastLine keeps the last whole line that was written.
type lastLine struct {
	text, part string
}

func (l *lastLine) Write(b []byte) (int, error) {
	lines := strings.Split(l.part+string(b), "\n")
	l.part = lines[len(lines)-1]
	if len(lines) > 1 {
		l.text = lines[len(lines)-2]
	}
	return len(b), nil
}

func (p part) broken(err error) gotest.Count {
	fmt.Printf("%s: %v\n", p.name, err)
	return gotest.Count{Failed: 1}
}

// asUser builds a command that runs as user in a session, an environment and a folder of its own.
func asUser(user, dir string, env []string, args ...string) *exec.Cmd {
	full := []string{"setsid", "--wait", "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all",
		"--reset-env", "env", "--default-signal", "-C", dir, "PATH=" + stage + "/bin:" + filepath.Join(goEnv("GOROOT"), "bin") +
			":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "STAGE=" + stage, "NASTY_LAYERS=" + stage + "/nasty", "GOMODCACHE=" + stage + "/modcache", "GOPROXY=off", "GOFLAGS=-mod=mod -buildvcs=false",
		"GOTOOLCHAIN=local", "CI=" + os.Getenv("CI")}
	full = append(full, env...)
	return root(append(full, args...)...)
}

// root builds a command that runs as root: as it is for root, through sudo for others.
func root(args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

func setup(args ...string) error {
	cmd := root(append([]string{"env", "SBX_TEST_AS=" + as, "tests/setup.sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// build compiles sbx, the helper programs of the tests and each package's test binary into dir.
func build(dir string) ([]string, error) {
	if err := goRun("build", "-trimpath", "-o", dir+"/", "./cmd/...", "./tests/enosys", "./tests/lab", "./tests/vm", "./bench"); err != nil {
		return nil, err
	}
	// sbx with the switch that leaves walls out.
	if err := goRun("build", "-trimpath", "-tags", "walls", "-o", filepath.Join(dir, "sbx-without"), "./cmd/sbx"); err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var pkgs []string
	for _, path := range strings.Fields(string(out)) {
		pkg := strings.TrimPrefix(path, "sbx/")
		if err := goRun("test", "-c", "-trimpath", "-o", filepath.Join(dir, testBinary(pkg)), "./"+pkg); err != nil {
			return nil, err
		}
		if pkg != "tests/e2e" {
			pkgs = append(pkgs, pkg)
		}
	}
	return pkgs, nil
}

func testBinary(pkg string) string {
	if pkg == "tests/e2e" {
		return "e2e.test"
	}
	return strings.ReplaceAll(pkg, "/", "_") + ".unit.test"
}

func goRun(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out))
}
