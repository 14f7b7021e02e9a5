package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// captures measures the start in review, and builds in it: a source tree that is unpacked and compiled, and
// packages that npm installs.
func captures(u, _ runner, runs int) error {
	u.env = append(u.env, "XDG_STATE_HOME="+u.cwd+"/held/state", "npm_config_cache="+u.cwd+"/npm")
	if err := u.script("cd " + u.cwd + " && mkdir -p held/state"); err != nil {
		return err
	}
	if err := u.captureStart(runs); err != nil {
		return err
	}
	for _, measure := range []func() error{u.sourceTree, u.packages} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

// captureStart runs in projects of its own: a small one and a large one.
func (r runner) captureStart(runs int) error {
	top := r.cwd
	for _, p := range []struct{ files, what string }{{"400", "400 files"}, {"20000", "20,000 files"}} {
		r.cwd = top + "/start-" + p.files
		if err := r.script("mkdir -p " + r.cwd + "/.git " + r.cwd + "/d && cd " + r.cwd + "/d && seq -f %05g " + p.files + " | xargs touch"); err != nil {
			return err
		}
		t, err := r.pair(runs, "true", "true")
		if err != nil {
			return err
		}
		ratio("start in review ("+p.what+"), of write", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 10)
	}
	return nil
}

// sourceTree unpacks and compiles GNU hello, as Debian's source package brings it.
func (r runner) sourceTree() error {
	stage := filepath.Dir(strings.SplitN(strings.TrimPrefix(r.env[0], "PATH="), ":", 2)[0])
	tars, _ := filepath.Glob(stage + "/hello/hello_*.orig.tar.gz")
	if len(tars) == 0 {
		fmt.Printf("%-44s %s\n", "a source tree in review", "not measured: tests/setup.sh hello fetches one")
		return nil
	}
	r.cwd += "/source"
	if err := r.script("mkdir -p " + r.cwd + "/.git && cp " + tars[0] + " " + r.cwd + "/source.tar.gz"); err != nil {
		return err
	}
	t, err := r.pair(3, "mkdir tree && tar xf source.tar.gz -C tree --strip-components=1 && cd tree && ./configure -q && make -s", "rm -rf tree")
	if err != nil {
		return err
	}
	ratio("unpack and compile in review, against write", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.15)
	return nil
}

// makePackages makes 500 packages of 20 files, and a project that needs them all.
const makePackages = `
mkdir -p .git packages && cd packages
for i in $(seq 500); do
    mkdir -p p/package && printf '{"name":"p%d","version":"1.0.0"}' $i >p/package/package.json
    for f in $(seq 19); do echo "module.exports = $f" >p/package/f$f.js; done
    tar czf p$i.tgz -C p package
done
rm -r p && cd ..
{ printf '{"name":"x","version":"1.0.0","dependencies":{'; seq 500 | sed 's,.*,"p&":"file:packages/p&.tgz",' | paste -sd, ; printf '}}'; } >package.json
npm install --package-lock-only --offline --no-audit --no-fund --silent`

func (r runner) packages() error {
	if _, err := exec.LookPath("npm"); err != nil {
		fmt.Printf("%-44s %s\n", "npm ci in review", "not measured: "+err.Error())
		return nil
	}
	r.cwd += "/packages"
	if err := r.script("mkdir " + r.cwd + " && cd " + r.cwd + makePackages); err != nil {
		return err
	}
	t, err := r.pair(3, "npm ci --offline --no-audit --no-fund --silent", "rm -rf node_modules")
	if err != nil {
		return err
	}
	ratio("npm ci of 500 packages in review, against write", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.15)
	return nil
}

// pair runs a line of the shell in review and in a project that is written to, in turns. clean puts the second
// right again.
func (r runner) pair(rounds int, line, clean string) (medians [2]time.Duration, err error) {
	times := [2][]time.Duration{}
	for range rounds {
		for side, access := range []string{"review", "write"} {
			cmd := r.command([]string{"sbx", "run", "--project", access, "--", "sh", "-c", line})
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return medians, fmt.Errorf("%s in a project with access %s: %w", line, access, err)
			}
			times[side] = append(times[side], time.Since(start))
			if err := r.script("cd " + r.cwd + " && " + clean + "; sbx ps -aq | xargs -r sbx rm -f"); err != nil {
				return medians, err
			}
		}
	}
	return [2]time.Duration{median(times[0]), median(times[1])}, nil
}

// script runs lines of the shell outside, from the root.
func (r runner) script(lines string) error {
	cmd := r.command([]string{"sh", "-ec", lines})
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", nil, nil
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", lines, err, out)
	}
	return nil
}
