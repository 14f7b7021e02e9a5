package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// readFile reads a file that must not be there to be read.
func readFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("read %d bytes of %s", len(b), path), nil
}

// appendTo opens a file that is there already and adds a byte to it.
func appendTo(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteString("\n"); err != nil {
		return "", err
	}
	return "wrote to " + path, nil
}

// findProcess looks for a process by a word of its command line.
func findProcess(word string) (string, error) {
	own := fmt.Sprintf("/proc/%d/", os.Getpid())
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && bytes.Contains(b, []byte(word)) && !bytes.Contains(b, []byte("process="+word)) && !strings.HasPrefix(file, own) {
			return "sees " + filepath.Dir(file), nil
		}
	}
	return "", fmt.Errorf("none of %d processes that are seen", len(files))
}

// findVariable looks for a value among the variables of all processes that may be read.
func findVariable(value string) (string, error) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte(value)) {
			return "read it in " + file, nil
		}
	}
	return "", errors.New("no process that may be read has it")
}

// sleeper is what stays: the first word of a call of this program by itself, which sleeps.
const sleeper = "sleep-here"

// stay leaves a process behind, in a session of its own, which has word on its command line.
func stay(word string) (string, error) {
	cmd := exec.Command("/proc/self/exe", sleeper, word)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	return fmt.Sprintf("left process %d", cmd.Process.Pid), nil
}

// readKey looks for a key by its description in the session keyring, which crosses into user namespaces.
func readKey(description string) (string, error) {
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", description, 0)
	if err != nil {
		return "", fmt.Errorf("keyctl: %w", err)
	}
	var b [64]byte
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, b[:], 0)
	if err != nil {
		return "", fmt.Errorf("keyctl: %w", err)
	}
	return fmt.Sprintf("read a key of %d bytes", n), nil
}

// sharedMemory attaches System V shared memory by its key.
func sharedMemory(key string) (string, error) {
	n, err := strconv.Atoi(key)
	if err != nil {
		return "", err
	}
	id, err := unix.SysvShmGet(n, 0, 0)
	if err != nil {
		return "", fmt.Errorf("shmget: %w", err)
	}
	return fmt.Sprintf("found segment %d", id), nil
}
