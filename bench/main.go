// Command bench measures what the project holds itself to, and prints a table of ratios with their targets. It runs as
// root, for it reads the memory of processes that are not dumpable, and starts every command as an ordinary user:
// sbxtest has sub-ids, sbxnosub has none. What is compared is run in turns, so that a busy moment hits both sides.
// A miss is printed and does not fail.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// as begins the names that tests/setup.sh makes.
var as = cmp.Or(os.Getenv("SBX_TEST_AS"), "sbx")

func main() {
	dir := flag.String("dir", "/var/lib/"+as+"-test/bin", "folder of sbx and of a program that does nothing")
	runs := flag.Int("n", 60, "runs of each side")
	only := flag.Bool("limits", false, "only the start with limits, which the guest is for")
	onImages := flag.Bool("images", false, "only the rows of images")
	onReview := flag.Bool("review", false, "only the rows of captures and their review")
	flag.Parse()
	rows := []row{startSingle, startSubIDs, version, memory, many, throughput, filter, pulls, limited, execStart, records, detached, captures, diffStat, renameMany, applyMany}
	if *only {
		rows = []row{limited}
	}
	if *onImages {
		rows = []row{pulls}
	}
	if *onReview {
		rows = []row{captures, diffStat, renameMany, applyMany}
	}
	measure := func() error {
		return bench(*dir, max(*runs, 30), withNetworks(rows, *only || *onImages || *onReview))
	}
	if *inLab || *inPorts || *connectTo != "" {
		measure = inside
	}
	if *openFilter {
		measure = underOpenFilter
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A row measures something as a user with sub-ids and one without, and prints it.
type row func(withIDs, single runner, runs int) error

func bench(dir string, runs int, rows []row) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("reading the memory of other users' processes takes root: use make bench")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	withIDs, err := newRunner(as+"test", dir, null)
	if err != nil {
		return err
	}
	defer os.RemoveAll(withIDs.cwd)
	single, err := newRunner(as+"nosub", dir, null)
	if err != nil {
		return err
	}
	defer os.RemoveAll(single.cwd)

	fmt.Printf("medians of %d runs a side, in turns, %d cores, %s, load average %s\n\n", runs, runtime.NumCPU(), kernel(), load())
	fmt.Printf("%-44s %10s %10s %7s %7s\n", "", "sbx", "other", "ratio", "target")
	for _, measure := range rows {
		if err := measure(withIDs, single, runs); err != nil {
			return err
		}
	}
	fmt.Printf("\nload average at the end %s\n", load())
	return nil
}

var (
	bwrapTrue   = strings.Fields("bwrap --ro-bind / / --unshare-all --proc /proc --dev /dev true")
	unshareTrue = strings.Fields("unshare -U --map-root-user --map-auto true")
	sbxTrue     = strings.Fields("sbx run -- true")
)

func startSingle(_, u runner, runs int) error {
	t, err := u.inTurns(runs, sbxTrue, bwrapTrue)
	if err != nil {
		return err
	}
	ratio("start, single-id map, against bwrap", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.0)
	return nil
}

func startSubIDs(u, _ runner, runs int) error {
	t, err := u.inTurns(runs, sbxTrue, bwrapTrue, unshareTrue)
	if err != nil {
		return err
	}
	sum := t[1] + t[2]
	ratio("start, sub-ids, against bwrap + unshare", ms(t[0]), ms(sum), t[0].Seconds()/sum.Seconds(), 1.0)
	return nil
}

func version(u, _ runner, runs int) error {
	t, err := u.inTurns(runs, []string{"sbx", "version"}, []string{"nothing"})
	if err != nil {
		return err
	}
	ratio("sbx version, against an empty Go program", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 2.0)
	return nil
}

// memory sums the PSS of all that a sleeping sandbox takes besides its payload.
func memory(u, _ runner, _ int) error {
	own, err := u.sleeping(strings.Fields("sbx run -- sleep 1000"))
	if err != nil {
		return err
	}
	other, err := u.sleeping(strings.Fields("bwrap --ro-bind / / --unshare-all --proc /proc --dev /dev sleep 1000"))
	if err != nil {
		return err
	}
	const target = 5.0
	fmt.Printf("%-44s %6.2f MiB %6.2f MiB %7s %3.0f MiB  %s\n", "PSS of supervisor and init, asleep", own, other, "", target, verdict(own <= target))
	return nil
}

func many(u, _ runner, _ int) error {
	const n = 200
	start := time.Now()
	var failed sync.Map
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := u.command(sbxTrue).Run(); err != nil {
				failed.Store(i, err)
			}
		})
	}
	group.Wait()
	took := time.Since(start)
	bad := 0
	failed.Range(func(_, err any) bool { bad++; return true })
	left, err := u.settled()
	if err != nil {
		return err
	}
	fmt.Printf("%-44s %10s %10s %7s %7s  %s\n", fmt.Sprintf("%d sandboxes at once: failed, left over", n),
		fmt.Sprintf("%d, %d", bad, left), ms(took), "", "0, 0", verdict(bad == 0 && left == 0))
	return nil
}

// throughput is that of a pipe into `sbx run -- cat` and out of it, against cat alone.
func throughput(u, _ runner, _ int) error {
	const size = 1 << 30
	var own, other []time.Duration
	for range 7 {
		a, err := u.through(strings.Fields("sbx run -- cat"), size)
		if err != nil {
			return err
		}
		b, err := u.through([]string{"cat"}, size)
		if err != nil {
			return err
		}
		own, other = append(own, a), append(other, b)
	}
	a, b := median(own), median(other)
	rate := func(d time.Duration) string { return fmt.Sprintf("%.2f GB/s", size/1e9/d.Seconds()) }
	// That of a pipe: within a tenth, which two runs of the same cat differ by.
	ratio("time for 1 GiB through a pipe, against cat", rate(a), rate(b), a.Seconds()/b.Seconds(), 1.1)
	return nil
}

// A runner starts commands as an ordinary user, in a folder of the user's own.
type runner struct {
	cred *syscall.Credential
	env  []string
	cwd  string
	null *os.File
}

func newRunner(name, bin string, null *os.File) (runner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return runner{}, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	cwd, err := os.MkdirTemp("", "sbx-bench")
	if err != nil {
		return runner{}, err
	}
	if err := os.Chown(cwd, uid, gid); err != nil {
		return runner{}, err
	}
	return runner{
		cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		env:  []string{"PATH=" + bin + ":/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + u.HomeDir, "USER=" + name, "LANG=C.UTF-8"},
		cwd:  cwd, null: null,
	}, nil
}

func (r runner) command(args []string) *exec.Cmd {
	path := args[0]
	for _, dir := range filepath.SplitList(strings.TrimPrefix(r.env[0], "PATH=")) {
		if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
			path = filepath.Join(dir, path)
			break
		}
	}
	return &exec.Cmd{Path: path, Args: args, Env: r.env, Dir: r.cwd, Stdin: r.null, Stdout: r.null, Stderr: r.null,
		SysProcAttr: &syscall.SysProcAttr{Credential: r.cred, Setsid: true}}
}

// inTurns runs each command once per round, A B A B, and gives the medians.
func (r runner) inTurns(rounds int, commands ...[]string) ([]time.Duration, error) {
	const warm = 3
	times := make([][]time.Duration, len(commands))
	for round := range rounds + warm {
		for i := range commands {
			cmd := r.command(commands[i])
			start := time.Now()
			err := cmd.Run()
			took := time.Since(start)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", strings.Join(commands[i], " "), err)
			}
			if round >= warm {
				times[i] = append(times[i], took)
			}
		}
	}
	medians := make([]time.Duration, len(commands))
	for i := range times {
		medians[i] = median(times[i])
	}
	return medians, nil
}

// sleeping starts a command that ends in a sleep, and sums in MiB the PSS of all its processes but the sleep.
func (r runner) sleeping(args []string) (float64, error) {
	cmd := r.command(args)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer end(cmd)
	for range 200 {
		time.Sleep(10 * time.Millisecond)
		pids, names := family(cmd.Process.Pid)
		if !slices.Contains(names, "sleep") {
			continue
		}
		time.Sleep(time.Second) // sbx gives memory back after 0.3 s
		var sum float64
		for i, pid := range pids {
			if names[i] != "sleep" {
				sum += pss(pid)
			}
		}
		return sum, nil
	}
	return 0, fmt.Errorf("%s: the sleep did not come", strings.Join(args, " "))
}

// end ends all that a command started, which it then follows: a bwrap that is told to end leaves its payload to live on.
func end(cmd *exec.Cmd) {
	pids, _ := family(cmd.Process.Pid)
	for _, pid := range pids[1:] {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	killer := time.AfterFunc(3*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	killer.Stop()
}

// family lists pid and all below it.
func family(pid int) (pids []int, names []string) {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	pids, names = []int{pid}, []string{strings.TrimSpace(string(name))}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(b)) {
			child, _ := strconv.Atoi(word)
			p, n := family(child)
			pids, names = append(pids, p...), append(names, n...)
		}
	}
	return pids, names
}

func pss(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib / 1024
		}
	}
	return 0
}

// settled is leftOver once nothing changes any more: a namespace goes down after its last process, and a supervisor after
// the end of its sandbox is on record. It waits three seconds at most.
func (r runner) settled() (left int, err error) {
	for start := time.Now(); time.Since(start) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
		if left, err = r.leftOver(); left == 0 || err != nil {
			break
		}
	}
	return left, err
}

// leftOver counts the user's processes of sbx and its files on disk.
func (r runner) leftOver() (int, error) {
	left := 0
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, path := range comms {
		b, _ := os.ReadFile(path)
		info, err := os.Stat(filepath.Dir(path))
		if err == nil && strings.HasPrefix(string(b), "sbx") && info.Sys().(*syscall.Stat_t).Uid == r.cred.Uid {
			left++
		}
	}
	state := filepath.Join(strings.TrimPrefix(r.env[1], "HOME="), ".local/state/sbx")
	filepath.WalkDir(state, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left++
		}
		return nil
	})
	return left, nil
}

func (r runner) through(args []string, size int64) (time.Duration, error) {
	cmd := r.command(args)
	cmd.Stdin, cmd.Stdout = nil, nil
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		defer in.Close()
		block := make([]byte, 1<<16)
		for n := int64(0); n < size; n += int64(len(block)) {
			if _, err := in.Write(block); err != nil {
				return
			}
		}
	}()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<16))
	took := time.Since(start)
	if waitErr := cmd.Wait(); err == nil {
		err = waitErr
	}
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes of %d came through", args[0], n, size)
	}
	return took, err
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func ratio(what, own, other string, got, target float64) {
	fmt.Printf("%-44s %10s %10s %7.2f %7v  %s\n", what, own, other, got, target, verdict(got <= target))
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "MISS"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

// load is the load average of one, five and fifteen minutes.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(b))
}
