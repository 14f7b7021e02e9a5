package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// changeOwnProgram waits for a process that executes sbx itself, which an interpreter /proc/self/exe makes of a command,
// and changes that program's mode and, where the kernel lets it, its first byte to itself (CVE-2019-5736). What is executed
// from memory is no file of the host.
func changeOwnProgram(string) (string, error) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		files, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, file := range files {
			to, err := os.Readlink(file)
			if err != nil || filepath.Base(to) != "sbx" || strings.HasPrefix(to, "/memfd:") {
				continue
			}
			switch err := os.Chmod(file, 0o757); {
			case err == nil:
				return "changed the mode of " + to, nil
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH): // it has ended: the next one
				continue
			}
			if f, err := os.OpenFile(file, os.O_WRONLY, 0); err == nil {
				f.Close()
				return "opened to write: " + to, nil
			}
			return "", fmt.Errorf("found %s, and could not change it", to)
		}
	}
	return "", errors.New("nobody executed sbx in here")
}
