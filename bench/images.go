package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// debianBase is the root file system that tests/setup.sh debian makes.
const debianBase = "debian/base.tar"

// pulls measures an image from a registry on loopback: a cold pull against decompressing its layer, the memory
// that it takes, and the start of a sandbox on it.
func pulls(u, _ runner, runs int) error {
	stage := filepath.Dir(strings.SplitN(strings.TrimPrefix(u.env[0], "PATH="), ":", 2)[0])
	tar := filepath.Join(stage, debianBase)
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
	defer u.command([]string{"unshare", "--map-root-user", "--map-auto", "rm", "-rf", u.cwd + "/data"}).Run()
	name := address + "/bench:1"
	for _, args := range [][]string{{"sbx", "import", tar, name}, {"sbx", "push", name}} {
		if out, err := u.output(args); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	blobs, err := filepath.Glob(u.cwd + "/registry/docker/registry/v2/blobs/sha256/*/*/data")
	if err != nil || len(blobs) == 0 {
		return fmt.Errorf("the registry has no blobs: %w", err)
	}
	largest := slices.MaxFunc(blobs, func(a, b string) int { return int(sizeOf(a) - sizeOf(b)) })
	if err := u.coldPull(name, largest); err != nil {
		return err
	}
	t, err := u.inTurns(runs, []string{"sbx", "run", "-i", name, "--", "true"}, sbxTrue)
	if err != nil {
		return err
	}
	ratio("start on an image, against the host's root", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 1.5)
	return nil
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// coldPull pulls into an empty store, in turns with gzip on the image's largest layer.
func (r runner) coldPull(name, layer string) error {
	const rounds = 5
	var own, other []time.Duration
	most := int64(0)
	for range rounds {
		for _, args := range [][]string{{"sbx", "rmi", name}, {"sbx", "prune", "--force"}} {
			if out, err := r.output(args); err != nil {
				return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
			}
		}
		start := time.Now()
		cmd := r.command([]string{"sbx", "pull", name})
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("sbx pull: %w", err)
		}
		own = append(own, time.Since(start))
		most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) // of the largest of its processes, in KiB
		start = time.Now()
		if err := r.command([]string{"gzip", "-dc", layer}).Run(); err != nil {
			return fmt.Errorf("gzip -dc: %w", err)
		}
		other = append(other, time.Since(start))
	}
	a, b := median(own), median(other)
	ratio("cold pull, against gzip -dc of the layer", ms(a), ms(b), a.Seconds()/b.Seconds(), 1.5)
	const target = 150
	fmt.Printf("%-44s %6d MiB %10s %7s %3d MiB  %s\n", "largest process of a pull", most>>10, "", "", target, verdict(most>>10 <= target))
	return nil
}

func (r runner) output(args []string) (string, error) {
	cmd := r.command(args)
	cmd.Stdout, cmd.Stderr = nil, nil
	out, err := cmd.CombinedOutput()
	return string(out), err
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
