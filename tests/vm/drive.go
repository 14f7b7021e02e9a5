package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// images is where the images of all checkouts are; each is named by its recipe.
const images = "/var/cache/sbx-guest"

// readyImage returns the folder of the guest's disk, kernel and initrd, and has them built by root where they are not.
func readyImage() (string, error) {
	if _, err := exec.LookPath(qemu); err != nil {
		if err := setup("prepare", "guest"); err != nil {
			return "", err
		}
	}
	hash := sha256.New()
	for _, file := range []string{"tests/vm/image.sh", "tests/vm/qemu.sh"} {
		recipe, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%w; start this in the root of the checkout", err)
		}
		hash.Write(recipe)
	}
	// The state of a machine is for the qemu that saved it.
	version, err := exec.Command(qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", qemu, err)
	}
	hash.Write(version)
	dir := filepath.Join(images, fmt.Sprintf("%x", hash.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, setup("guest", dir)
}

// setup does what only root can.
func setup(args ...string) error {
	args = append([]string{"tests/setup.sh"}, args...)
	if os.Getuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// programs are what the guest gets from bin; -shell finds all of them on PATH.
var programs = []string{"./cmd/...", "./tests/enosys", "./tests/lab", "./tests/vm", "./bench"}

// makeDrive makes a file system of bin, the sources and the job. It has no name any more, so that nothing is left of it
// however this program ends.
func makeDrive(bin string, j job) (*os.File, error) {
	dir, err := os.MkdirTemp("", "sbx-guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := fill(root, bin, j); err != nil {
		return nil, err
	}
	image := filepath.Join(dir, "drive.img")
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(2 << 30); err != nil {
		return nil, err
	}
	return f, run("env", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0",
		"-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", "-d", root, image)
}

func fill(root, bin string, j job) error {
	for _, dir := range []string{"bin", "src", "group"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if bin == "" {
		bin = filepath.Join(root, "bin")
		if err := build(bin); err != nil {
			return err
		}
	} else if err := run("cp", "-R", bin+"/.", filepath.Join(root, "bin")); err != nil {
		return err
	}
	if err := copySources(filepath.Join(root, "src")); err != nil {
		return err
	}
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "job.json"), b, 0o644)
}

// build compiles what the guest needs: sbx, the helpers of the tests, the scripts' test binary, and the tests of the
// package that needs a guest.
func build(bin string) error {
	if err := run(append([]string{"env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", bin + "/"}, programs...)...); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"e2e.test": "./tests/e2e", "cgroup.unit.test": "./cgroup"} {
		if err := run("env", "CGO_ENABLED=0", "go", "test", "-c", "-trimpath", "-o", bin+"/"+name, pkg); err != nil {
			return err
		}
	}
	return nil
}

func copySources(dst string) error {
	return run("sh", "-c", `tar -cf - --exclude=./.git --exclude=./bin . | tar -C "$1" -xf -`, "sh", dst)
}

func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return err
}
