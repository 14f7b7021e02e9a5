package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What is measured of reviews: a diff of few changes in a large tree, and an apply of many files.

// reviewed makes a project in which a sandbox has made changes, by two shell scripts.
func reviewed(u runner, name, host, inside string) (runner, error) {
	p := u
	p.cwd = filepath.Join(u.cwd, name)
	if _, err := u.run("mkdir", "-p", p.cwd); err != nil {
		return p, err
	}
	if _, err := p.run("sh", "-c", host); err != nil {
		return p, err
	}
	_, err := p.run("sbx", "run", "-n", name, "--project", "review", "--", "sh", "-c", inside)
	return p, err
}

// diffStat takes the time of diff --stat of 100 changes in a tree of 200,000 files.
func diffStat(u, _ runner, runs int) error {
	const target = 100 * time.Millisecond
	p, err := reviewed(u, "bench-diff", "for d in $(seq 0 199); do mkdir d$d && (cd d$d && seq 1000 | xargs touch); done",
		"for d in $(seq 0 99); do echo changed >>d$d/1; done")
	defer u.run("sh", "-c", "sbx rm -f bench-diff; rm -rf bench-diff")
	if err != nil {
		return err
	}
	var times []time.Duration
	for range runs {
		start := time.Now()
		if _, err := p.run("sbx", "diff", "--stat", "bench-diff"); err != nil {
			return err
		}
		times = append(times, time.Since(start))
	}
	t := median(times)
	fmt.Printf("%-44s %10s %10s %7s %7s  %s\n", "sbx diff --stat: 100 changes, 200,000 files", ms(t), "", "", "100 ms", verdict(t <= target))
	return nil
}

// renameMany compares renaming a folder of the host in review with a copy of it. The start of the run is taken off.
func renameMany(u, _ runner, _ int) error {
	const runs = 7
	p := u
	p.cwd = filepath.Join(u.cwd, "bench-rename")
	defer u.run("rm", "-rf", "bench-rename", "bench-copy")
	if _, err := u.run("sh", "-c", "mkdir -p bench-rename/.git bench-rename/many && cd bench-rename/many && for f in $(seq 1000); do head -c 4000 /dev/urandom >$f; done"); err != nil {
		return err
	}
	run := "sbx run -n bench-rename --project review -- perl -e "
	scripts := []struct{ do, undo string }{
		{run + `'rename "many", "moved" or die'`, "sbx rm -f bench-rename; sync"},
		{run + "1", "sbx rm -f bench-rename; sync"},
		{"cp -a many ../bench-copy", "rm -rf ../bench-copy; sync"},
	}
	times := make([][]time.Duration, len(scripts))
	for range runs {
		for i, s := range scripts {
			start := time.Now()
			if _, err := p.run("sh", "-c", s.do); err != nil {
				return err
			}
			times[i] = append(times[i], time.Since(start))
			if _, err := p.run("sh", "-c", s.undo); err != nil {
				return err
			}
		}
	}
	rename, cp := median(times[0])-median(times[1]), median(times[2])
	ratio("renaming 1,000 files in review, of cp -a", ms(rename), ms(cp), rename.Seconds()/cp.Seconds(), 2)
	return nil
}

// applyMany compares apply of 20,000 files with a copy of them, in turns. Apply waits for the disk, once, so the copy is
// measured with and without a sync(1).
func applyMany(u, _ runner, _ int) error {
	const runs = 5
	p, err := reviewed(u, "bench-apply", "true", "for d in $(seq 400); do mkdir d$d; for f in $(seq 50); do head -c 4000 /dev/urandom >d$d/$f; done; done")
	// The journals of its applies go as well: other rows count what is left over.
	defer u.run("sh", "-c", `sbx rm -f bench-apply; rm -rf bench-apply copy "${XDG_STATE_HOME:-$HOME/.local/state}/sbx/applied"`)
	if err != nil {
		return err
	}
	upper, err := p.run("sh", "-c", `cd "${XDG_STATE_HOME:-$HOME/.local/state}/sbx/sandboxes/bench-apply/upper/captures/0/upper" && pwd`)
	if err != nil {
		return err
	}
	scripts := []struct{ do, undo string }{
		{"sbx apply --yes bench-apply", "sbx undo bench-apply; sync"},
		{"cp -a " + upper + " ../copy", "rm -rf ../copy; sync"},
		{"cp -a " + upper + " ../copy && sync -f ../copy", "rm -rf ../copy; sync"},
	}
	times := make([][]time.Duration, len(scripts))
	for range runs {
		for i, s := range scripts {
			start := time.Now()
			if _, err := p.run("sh", "-c", s.do); err != nil {
				return err
			}
			times[i] = append(times[i], time.Since(start))
			if _, err := p.run("sh", "-c", s.undo); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}
	}
	apply, cp, synced := median(times[0]), median(times[1]), median(times[2])
	ratio("sbx apply of 20,000 files, against cp -a", ms(apply), ms(cp), apply.Seconds()/cp.Seconds(), 1.3)
	ratio("the same, against cp -a and sync -f", ms(apply), ms(synced), apply.Seconds()/synced.Seconds(), 1.3)
	return nil
}
