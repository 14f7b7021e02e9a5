package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	sbxLimited   = strings.Fields("sbx run --memory 512M --pids 100 -- true")
	scopeLimited = strings.Fields("systemd-run --user --scope -q --collect -p Delegate=yes -p MemoryMax=512M -p TasksMax=100 " +
		"bwrap --ro-bind / / --unshare-all --proc /proc --dev /dev true")
)

// limited measures the start of a sandbox with limits, where the user's systemd gives cgroups: in the guest.
func limited(u, _ runner, runs int) error {
	runtime := fmt.Sprintf("/run/user/%d", u.cred.Uid)
	if _, err := os.Stat(runtime + "/systemd/private"); err != nil {
		fmt.Printf("%-44s in the guest: go run ./tests/vm -bench\n", "start with limits")
		return nil
	}
	u.env = append(u.env, "XDG_RUNTIME_DIR="+runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtime+"/bus")
	t, err := u.inTurns(runs, sbxLimited, scopeLimited, sbxTrue, bwrapTrue)
	if err != nil {
		return err
	}
	ratio("start with limits, against systemd-run, bwrap", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 0.9)
	ratio("the same without limits, against bwrap", ms(t[2]), ms(t[3]), t[2].Seconds()/t[3].Seconds(), 1.0)
	return limitedPodman(u, runs)
}

// limitedPodman compares with podman on a root file system that holds true alone.
func limitedPodman(u runner, runs int) error {
	root := filepath.Join(u.cwd, "root")
	if err := rootWithTrue(root, int(u.cred.Uid), int(u.cred.Gid)); err != nil {
		return err
	}
	podman := append(strings.Fields("podman run --rm --network none --memory 512m --pids-limit 100 --rootfs"), root, "true")
	t, err := u.inTurns(max(runs/6, 5), sbxLimited, podman)
	if err != nil {
		return err
	}
	ratio("start with limits, against podman", ms(t[0]), ms(t[1]), t[0].Seconds()/t[1].Seconds(), 0.12)
	return nil
}

// rootWithTrue makes a root file system of true(1) and the libraries that it needs.
func rootWithTrue(root string, uid, gid int) error {
	out, err := exec.Command("ldd", "/usr/bin/true").Output()
	if err != nil {
		return fmt.Errorf("finding the libraries of true: %w", err)
	}
	files := append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), "/usr/bin/true")
	for _, file := range files {
		if err := copyInto(root, file); err != nil {
			return err
		}
	}
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

func copyInto(root, file string) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	path := filepath.Join(root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer to.Close()
	_, err = io.Copy(to, from)
	return err
}
