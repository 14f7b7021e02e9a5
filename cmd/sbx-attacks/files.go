package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readProc1 tries every door into the memory, the files and the namespaces of PID 1, which is sbx's own.
func readProc1(string) (string, error) { return readProc("1") }

// readProcOf is the same for another process: one that may be read shows that the tries themselves work.
func readProcOf(arg string) (string, error) {
	if arg == "" {
		arg = fmt.Sprint(os.Getpid())
	}
	return readProc(arg)
}

func readProc(pid string) (string, error) {
	dir := "/proc/" + pid
	if _, err := os.Stat(dir); err != nil {
		return err.Error(), nil // without it nothing is shown
	}
	var got []string
	for _, name := range []string{"environ", "maps", "mem", "auxv", "stack", "exe", "root/etc/passwd"} {
		if f, err := os.Open(filepath.Join(dir, name)); err == nil {
			var b [1]byte
			if n, err := f.Read(b[:]); n > 0 || name == "mem" && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
				got = append(got, "read "+name)
			}
			f.Close()
		}
	}
	for _, name := range []string{"exe", "cwd", "root", "fd/0", "ns/user", "ns/mnt"} {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil {
			got = append(got, name+" is "+to)
		}
	}
	for _, name := range []string{"mem", "exe"} {
		if f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0); err == nil {
			got = append(got, "opened "+name+" for writing")
			f.Close()
		}
	}
	if len(got) > 0 {
		return strings.Join(got, ", "), nil
	}
	return "", fmt.Errorf("nothing of %s could be read or written", dir)
}

func makeDevice(string) (string, error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("attack-device-%d", os.Getpid()))
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))); err != nil {
		return "", err
	}
	os.Remove(path)
	return "made a block device", nil
}

// descriptors finds open files besides 0, 1 and 2 that were there before this program opened any.
func descriptors(string) (string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err.Error(), nil
	}
	var got []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || slices.Contains([]string{"0", "1", "2"}, e.Name()) {
			continue
		}
		// The runtime of this very program opens these.
		if strings.HasPrefix(to, "anon_inode:[event") || strings.HasSuffix(to, "/fd") || strings.HasPrefix(to, "/sys/fs/cgroup/") {
			continue
		}
		got = append(got, e.Name()+" is "+to)
	}
	if len(got) > 0 {
		return strings.Join(got, ", "), nil
	}
	return "", errors.New("only 0, 1 and 2 are open")
}

// connect reads a line from a server: tcp:HOST:PORT, udp:HOST:PORT or unix:PATH (unix:@NAME is abstract).
// A connection of which nothing can be read counts for nothing: a network may accept all of them.
func connect(arg string) (string, error) {
	network, address, _ := strings.Cut(arg, ":")
	c, err := net.DialTimeout(network, address, networkPatience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(networkPatience))
	if network == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return "", err
		}
	}
	var b [100]byte
	n, err := c.Read(b[:])
	if n == 0 {
		return "", fmt.Errorf("connected, and read nothing: %w", err)
	}
	return "connected and read " + strings.TrimSpace(string(b[:n])), nil
}

// writable tries to make a file in every mounted folder and to open every mounted file for writing. Mounts below the
// folders in arg (parted by colons) may be written, and so may the sandbox's own tmpfs, proc, devpts and devices. ~ is the home
// inside: one that is kept, and caches in it, are the sandbox's own.
func writable(arg string) (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	tried, got := 0, []string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		path, fs := unescape(fields[4]), fields[slices.Index(fields, "-")+1]
		if allowed(path, arg) || slices.Contains([]string{"tmpfs", "proc", "devpts", "devtmpfs", "mqueue"}, fs) {
			continue
		}
		tried++
		if canWrite(path) {
			got = append(got, path)
		}
	}
	if len(got) > 0 {
		return "wrote to " + strings.Join(got, ", "), nil
	}
	return "", fmt.Errorf("none of %d mounts can be written", tried)
}

func allowed(path, list string) bool {
	for _, dir := range strings.Split(list, ":") {
		if dir == "~" {
			dir = os.Getenv("HOME")
		}
		if dir != "" && (path == dir || strings.HasPrefix(path, dir+"/")) {
			return true
		}
	}
	return false
}

func canWrite(path string) bool {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return false
	case info.IsDir():
		name := filepath.Join(path, fmt.Sprintf(".attack-%d", os.Getpid()))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			f.Close()
			os.Remove(name)
		}
		return err == nil || !errors.Is(err, unix.EROFS) && unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, 0) == nil
	case info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err == nil
	}
	return false
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		var n int
		if s[i] == '\\' && i+3 < len(s) {
			if _, err := fmt.Sscanf(s[i+1:i+4], "%o", &n); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
