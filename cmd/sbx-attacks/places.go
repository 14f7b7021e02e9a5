package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// readAbove reads a file by what might lie above the root.
func readAbove(path string) (string, error) {
	var last error
	for _, up := range []string{"/..", "/../../..", "/proc/self/root/.."} {
		got, err := readFile(up + path)
		if err == nil {
			return got, nil
		}
		last = err
	}
	return "", last
}

// readByProcesses reads a file by the root and the working folder of every process that is seen.
func readByProcesses(path string) (string, error) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/root")
	works, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, dir := range dirs {
		if b, err := os.ReadFile(dir + path); err == nil {
			return fmt.Sprintf("read %d bytes by %s", len(b), dir), nil
		}
	}
	for _, dir := range works {
		if b, err := os.ReadFile(dir + strings.Repeat("/..", 20) + path); err == nil {
			return fmt.Sprintf("read %d bytes by %s", len(b), dir), nil
		}
	}
	return "", fmt.Errorf("by none of %d processes", len(dirs))
}

// hostDevices are nodes that a user or root may open on a machine, and a sandbox was not given.
var hostDevices = []string{"fuse", "net/tun", "kvm", "loop-control", "loop0", "kmsg", "mem", "port", "sda", "vda", "nvme0n1", "uinput",
	"input/event0", "vhost-vsock", "vhost-net", "vsock", "ttyS0", "tty0", "console", "snd/controlC0", "dri/card0", "cuse", "btrfs-control",
	"mapper/control", "rtc0", "watchdog", "hpet", "userfaultfd"}

func openDevices(string) (string, error) {
	var got []string
	for _, name := range hostDevices {
		fd, err := unix.Open("/dev/"+name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			got = append(got, name)
		}
	}
	if len(got) > 0 {
		return "opened " + strings.Join(got, ", "), nil
	}
	return "", fmt.Errorf("none of %d devices of the host can be opened", len(hostDevices))
}

// openDevice opens a device node that is there, by its path.
func openDevice(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", path, err)
	}
	unix.Close(fd)
	return "opened " + path, nil
}

// mountFuse mounts a file system that this program would serve: mount.fuse3(8).
func mountFuse(string) (string, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening /dev/fuse: %w", err)
	}
	defer unix.Close(fd)
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", fd, os.Getuid(), os.Getgid())
	if err := unix.Mount("attack", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return "", fmt.Errorf("mounting a file system in user space: %w", err)
	}
	unix.Unmount(dir, unix.MNT_DETACH)
	return "mounted a file system in user space", nil
}

// desktopSockets are where a session's services listen: the buses, the service managers, the displays, agents, container
// engines, and what starts programs of Windows under WSL.
func desktopSockets() (list []string) {
	run := os.Getenv("XDG_RUNTIME_DIR")
	if run == "" {
		run = fmt.Sprintf("/run/user/%d", os.Getuid())
	}
	list = []string{"/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/socket", "/run/docker.sock",
		"/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/snapd.socket", "@/tmp/.X11-unix/X0"}
	for _, name := range []string{"bus", "systemd/private", "wayland-0", "pulse/native", "pipewire-0", "keyring/control", "gnupg/S.gpg-agent", "podman/podman.sock"} {
		list = append(list, filepath.Join(run, name))
	}
	for _, pattern := range []string{"/tmp/.X11-unix/*", "/run/WSL/*", "/mnt/wslg/.X11-unix/*", "/tmp/ssh-*/agent.*"} {
		found, _ := filepath.Glob(pattern)
		list = append(list, found...)
	}
	for _, name := range []string{"SSH_AUTH_SOCK", "WSL_INTEROP", "GPG_AGENT_INFO"} {
		if value := os.Getenv(name); value != "" {
			list = append(list, value)
		}
	}
	return append(list, busAddresses(os.Getenv("DBUS_SESSION_BUS_ADDRESS"))...)
}

// busAddresses are the sockets in a list of addresses of D-Bus, as its specification has them: unix:path=/x,guid=y;...
func busAddresses(text string) (list []string) {
	for _, address := range strings.Split(text, ";") {
		values, isUnix := strings.CutPrefix(address, "unix:")
		if !isUnix {
			continue
		}
		for _, pair := range strings.Split(values, ",") {
			switch key, value, _ := strings.Cut(pair, "="); key {
			case "path":
				list = append(list, value)
			case "abstract":
				list = append(list, "@"+value)
			}
		}
	}
	return list
}

// connectDesktop connects to any of them; more are named in arg, parted by commas: what a sandbox is not told of.
func connectDesktop(arg string) (string, error) {
	list := desktopSockets()
	if arg != "" {
		list = append(list, strings.Split(arg, ",")...)
	}
	var got []string
	for _, path := range list {
		for _, network := range []string{"unix", "unixgram", "unixpacket"} {
			if c, err := net.Dial(network, path); err == nil {
				c.Close()
				got = append(got, path)
				break
			}
		}
	}
	if len(got) > 0 {
		return "connected to " + strings.Join(got, ", "), nil
	}
	return "", fmt.Errorf("none of %d sockets can be connected to", len(list))
}

// runByManager has the user's service manager run a command, which would be outside of everything.
func runByManager(string) (string, error) {
	out, err := exec.Command("systemd-run", "--user", "--quiet", "--wait", "--collect", "true").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemd-run: %w %s", err, strings.TrimSpace(string(out)))
	}
	return "ran a command by systemd-run", nil
}
