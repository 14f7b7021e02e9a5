package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What is measured of sandboxes with a life: exec, lists, and many in the background.

// run runs a command of the user's and gives its stdout.
func (r runner) run(args ...string) (string, error) {
	cmd := r.command(args)
	cmd.Stdout = nil
	out, err := cmd.Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, e.Stderr)
		}
		err = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), err
}

func execStart(u, _ runner, runs int) error {
	if _, err := u.run("sbx", "run", "-n", "bench-exec", "-d", "--", "sleep", "1000"); err != nil {
		return err
	}
	defer u.run("sbx", "rm", "-f", "bench-exec")
	t, err := u.inTurns(runs, []string{"sbx", "exec", "bench-exec", "true"}, sbxTrue)
	if err != nil {
		return err
	}
	ratio("sbx exec NAME true, against sbx run -- true", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.0)
	return nil
}

// records compares ps with 500 records, in a state folder of their own, with ps with none.
func records(u, _ runner, runs int) error {
	const n, target = 500, 20 * time.Millisecond
	full := u
	full.env = append(append([]string{}, u.env...), "XDG_STATE_HOME="+filepath.Join(u.cwd, "state"))
	if _, err := full.run("sbx", "run", "-n", "record", "--", "true"); err != nil {
		return err
	}
	script := `cd "$XDG_STATE_HOME/sbx/sandboxes" && for i in $(seq ` + strconv.Itoa(n) + `); do cp -r record r$i; done`
	if _, err := full.run("sh", "-c", script); err != nil {
		return err
	}
	var own, none []time.Duration
	for range runs {
		for _, side := range []struct {
			r    runner
			list *[]time.Duration
		}{{full, &own}, {u, &none}} {
			start := time.Now()
			if _, err := side.r.run("sbx", "ps", "-a"); err != nil {
				return err
			}
			*side.list = append(*side.list, time.Since(start))
		}
	}
	a, b := median(own), median(none)
	fmt.Printf("%-44s %10s %10s %7s %7s  %s\n", fmt.Sprintf("sbx ps -a with %d records, against none", n), ms(a), ms(b), "", "+20 ms", verdict(a-b <= target))
	return nil
}

// detached starts many sandboxes that sleep, lists and stops them.
func detached(u, _ runner, _ int) error {
	const n, atOnce, target = 300, 10, 6.0
	failed := 0
	start := time.Now()
	slots := make(chan struct{}, atOnce)
	results := make(chan error, n)
	for i := range n {
		slots <- struct{}{}
		go func() {
			_, err := u.run("sbx", "run", "-n", fmt.Sprintf("many%d", i), "-d", "--", "sleep", "1000")
			<-slots
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			failed++
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	started := time.Since(start)
	time.Sleep(time.Second) // sbx gives memory back after 0.3 s
	pids, err := u.run("sh", "-c", "for n in $(sbx ps -q); do sbx inspect $n | jq '.supervisor.pid, .init.pid'; done")
	if err != nil {
		return err
	}
	var sum float64
	list := strings.Fields(pids)
	for _, word := range list {
		pid, _ := strconv.Atoi(word)
		sum += pss(pid)
	}
	start = time.Now()
	if _, err := u.run("sh", "-c", "sbx stop $(sbx ps -q) && sbx rm $(sbx ps -aq)"); err != nil {
		failed++
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	stopped := time.Since(start)
	each := sum / float64(max(len(list)/2, 1))
	left, err := u.settled()
	if err != nil {
		return err
	}
	fmt.Printf("%-44s %10s %10s %7s %7s  %s\n", fmt.Sprintf("%d detached: failed, left over; start, stop", n),
		fmt.Sprintf("%d, %d", failed, left), fmt.Sprintf("%.1f, %.1f s", started.Seconds(), stopped.Seconds()), "", "0, 0", verdict(failed == 0 && left == 0 && len(list) == 2*n))
	fmt.Printf("%-44s %6.2f MiB %10s %7s %3.0f MiB  %s\n", "PSS of supervisor and init, each of those", each, "", "", target, verdict(each <= target))
	return nil
}
