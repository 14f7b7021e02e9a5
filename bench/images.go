package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// developmentImage is the root file system that tests/setup.sh development makes, about 500 MB.
const developmentImage = "debian/dev.tar"

// pulls measures an image of several layers from a registry on loopback: a cold pull against decompressing its
// largest layer, against unpacking all of them and against podman, the memory that it takes, and the start of a
// sandbox on it.
func pulls(u, _ runner, runs int) error {
	stage := filepath.Dir(strings.SplitN(strings.TrimPrefix(u.env[0], "PATH="), ":", 2)[0])
	tar := filepath.Join(stage, developmentImage)
	if _, err := os.Stat(tar); err != nil {
		fmt.Printf("%-44s %s\n", "images", "not measured: "+err.Error())
		return nil
	}
	if _, err := exec.LookPath("docker-registry"); err != nil {
		fmt.Printf("%-44s %s\n", "images", "not measured: "+err.Error())
		return nil
	}
	address, stop, err := u.registry()
	if err != nil {
		return err
	}
	defer stop()
	u.env = append(u.env, "XDG_DATA_HOME="+u.cwd+"/data", "XDG_CONFIG_HOME="+u.cwd+"/config", "XDG_STATE_HOME="+u.cwd+"/state")
	defer u.command([]string{"unshare", "--map-root-user", "--map-auto", "rm", "-rf", u.cwd + "/data", u.cwd + "/podman"}).Run()
	name := address + "/bench:1"
	if err := u.makeImage(tar, name); err != nil {
		return err
	}
	blobs, err := filepath.Glob(u.cwd + "/registry/docker/registry/v2/blobs/sha256/*/*/data")
	if err != nil || len(blobs) == 0 {
		return fmt.Errorf("the registry has no blobs: %w", err)
	}
	if err := u.coldPull(name, blobs); err != nil {
		return err
	}
	if err := u.pullMemory(name); err != nil {
		return err
	}
	t, err := u.inTurns(runs, []string{"sbx", "run", "-i", name, "--", "true"}, sbxTrue)
	if err != nil {
		return err
	}
	ratio("start on an image, against the host's root", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.5)
	return nil
}

// makeImage pushes a root file system as three layers: its system, its compilers and headers, the rest.
func (r runner) makeImage(tar, name string) error {
	rest := []string{"./usr/lib/gcc", "./usr/include", "./usr/share", "./usr/lib/python3*", "./usr/lib/git-core"}
	leave := strings.Join(rest, "' --exclude='")
	base := r.cwd + "/base.tar"
	whole := "tar --wildcards --exclude='" + leave + "' --exclude=./dev -xf " + tar
	steps := [][]string{
		// Unpacked as root of a user namespace, so that owners stay.
		{"unshare", "--map-root-user", "--map-auto", "sh", "-c", "mkdir data-base && cd data-base && " + whole + " && tar -cf " + base + " . && cd .. && rm -rf data-base"},
		{"sbx", "import", base, "bench:base"},
		{"sbx", "run", "--project", "none", "-n", "two", "-v", tar + ":/dev.tar:ro", "-i", "bench:base", "--", "tar", "--wildcards", "-C", "/", "-xf", "/dev.tar", rest[0], rest[1]},
		{"sbx", "commit", "two", "bench:two"},
		{"sbx", "run", "--project", "none", "-n", "three", "-v", tar + ":/dev.tar:ro", "-i", "bench:two", "--", "tar", "--wildcards", "-C", "/", "-xf", "/dev.tar", rest[2], rest[3], rest[4]},
		{"sbx", "commit", "three", name},
		{"sbx", "push", name}, {"sbx", "rm", "two", "three"}, {"sbx", "rmi", "bench:base", "bench:two"},
		{"rm", base},
	}
	for _, args := range steps {
		if out, err := r.output(args); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// coldPull pulls into an empty store, in turns with what else could be done with the same layers.
func (r runner) coldPull(name string, blobs []string) error {
	const rounds = 3
	blobs = slices.DeleteFunc(blobs, func(path string) bool { return sizeOf(path) < 100<<10 }) // manifest and configuration
	largest := slices.MaxFunc(blobs, func(a, b string) int { return int(sizeOf(a) - sizeOf(b)) })
	unpackAll := []string{"sh", "-c", `rm -rf tree && mkdir tree && for f; do gzip -dc $f | tar --no-same-owner -C tree -xf -; done; true`, "sh"}
	commands := [][]string{{"sbx", "pull", name}, {"gzip", "-dc", largest}, append(unpackAll, blobs...)}
	podman := []string{"env", "XDG_CONFIG_HOME=" + r.cwd + "/podman-home", "XDG_DATA_HOME=" + r.cwd + "/podman-home", "podman", "--root", r.cwd + "/podman", "--runroot", r.cwd + "/podman-run"}
	if _, err := exec.LookPath("podman"); err == nil {
		commands = append(commands, append(slices.Clone(podman), "pull", "-q", "--tls-verify=false", name))
	} else {
		fmt.Printf("%-44s %s\n", "cold pull, against podman", "not measured: "+err.Error())
	}
	times := make([][]time.Duration, len(commands))
	for range rounds {
		for _, args := range [][]string{{"sbx", "rmi", name}, {"sbx", "prune", "--force"}, {"chmod", "-fR", "u+w", "tree"}, {"rm", "-rf", "tree"},
			{"unshare", "--map-root-user", "--map-auto", "rm", "-rf", r.cwd + "/podman"}} {
			if out, err := r.output(args); err != nil && args[0] == "sbx" {
				return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
			}
		}
		for i, args := range commands {
			start := time.Now()
			if out, err := r.output(args); err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	own := median(times[0])
	for i, what := range []string{"gzip -dc of the largest layer", "gzip -dc | tar -x of all layers", "podman pull"} {
		if i+1 < len(times) {
			other := median(times[i+1])
			ratio("cold pull, against "+what, ms(own), ms(other), own.Seconds()/other.Seconds(), []float64{1.5, 1, 0.5}[i])
		}
	}
	return nil
}

// pullMemory looks at all processes of a cold pull together, a hundred times a second.
func (r runner) pullMemory(name string) error {
	for _, args := range [][]string{{"sbx", "rmi", name}, {"sbx", "prune", "--force"}} {
		if out, err := r.output(args); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	cmd := r.command([]string{"sbx", "pull", name})
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	most := 0.0
	for {
		select {
		case err := <-ended:
			const target = 150
			fmt.Printf("%-44s %6.0f MiB %10s %7s %3d MiB  %s\n", "peak of memory, all processes of a pull", most, "", "", target, verdict(most <= target))
			return err
		case <-time.After(10 * time.Millisecond):
		}
		pids, _ := family(cmd.Process.Pid)
		sum := 0.0
		for _, pid := range pids {
			sum += pss(pid)
		}
		most = max(most, sum)
	}
}

func (r runner) output(args []string) (string, error) {
	cmd := r.command(args)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = nil, &said // what gzip writes goes to /dev/null
	err := cmd.Run()
	return said.String(), err
}

// registry starts Debian's docker-registry on loopback and configures sbx for it.
func (r runner) registry() (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = l.Addr().String()
	l.Close()
	files := map[string]string{
		"registry.yml":           fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s/registry}\nhttp: {addr: %q}\n", r.cwd, address),
		"config/sbx/config.toml": fmt.Sprintf("[registries.%q]\ninsecure = true\n", address),
	}
	for name, text := range files {
		path := filepath.Join(r.cwd, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", nil, err
		}
	}
	cmd := r.command([]string{"docker-registry", "serve", r.cwd + "/registry.yml"})
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("docker-registry does not answer on %s", address)
}
