// Command lab runs a command in a network of its own, which leads nowhere: public, private, metadata and
// IPv6 addresses on one interface, a name server and servers of several protocols behind all of them.
// What sbx lets through is seen here and nowhere else, even where the filter under test is broken.
//
//	lab [-loopback-dns] [-without PROGRAM] LOG command [args...]
//
// The certificate of the servers lies beside LOG. Each server answers with $LAB_NONCE and writes a line to LOG: protocol, the address that was reached, and
// what was asked there. The command runs as the caller, without capabilities.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// addresses of the lab. The first is the "LAN address of the host", the second its name server.
var addresses = []string{
	"192.0.2.7/24", "192.0.2.53/24",
	"198.51.100.10/32", "198.51.100.11/32", "203.0.113.5/32",
	"10.77.0.5/32", "169.254.169.254/32",
	"fe80::7/64", "fd77::5/128", "2001:db8::10/128", "2001:db8::7/64", // pasta takes the last that was added
}

const nameServer = "192.0.2.53"

func main() {
	loopback := flag.Bool("loopback-dns", false, "the name server is on the loopback, as that of systemd-resolved")
	var missing []string
	flag.Func("without", "a program, by its path, that nobody finds in there", func(path string) error {
		missing = append(missing, path)
		return nil
	})
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: lab [-loopback-dns] [-without PROGRAM] LOG command [args...]")
		os.Exit(2)
	}
	var err error
	status := 0
	if os.Getenv("LAB_NONCE") == "" {
		status, err = enter()
	} else {
		status, err = serve(*loopback, missing, flag.Arg(0), flag.Args()[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(2)
	}
	os.Exit(status)
}

// enter starts this program again in new namespaces, with the capabilities that the set-up needs.
func enter() (int, error) {
	nonce := make([]byte, 12)
	rand.Read(nonce)
	uid, gid := os.Getuid(), os.Getgid()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "LAB_NONCE=nonce-"+hex.EncodeToString(nonce))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE},
		Pdeathsig:   syscall.SIGKILL,
	}
	return statusOf(cmd.Run())
}

func statusOf(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 128 + int(exit.Sys().(syscall.WaitStatus).Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// serve makes the network, starts the servers, and runs the command.
func serve(loopbackDNS bool, missing []string, logPath string, command []string) (int, error) {
	file, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, err
	}
	server := nameServer
	if loopbackDNS {
		server = "127.0.0.53"
	}
	if err := makeNetwork(server, filepath.Dir(logPath)); err != nil {
		return 0, err
	}
	for _, path := range missing {
		if err := replace(filepath.Dir(logPath), path, "", 0); err != nil {
			return 0, err
		}
	}
	l := &log{file: file, nonce: os.Getenv("LAB_NONCE")}
	if err := startServers(l, server, filepath.Dir(logPath)); err != nil {
		return 0, err
	}
	// The command is no part of the set-up: without ambient capabilities it has none.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return statusOf(cmd.Run())
}

// makeNetwork brings up the interface, which is a tap that nobody reads, and names the server.
func makeNetwork(server, dir string) error {
	commands := []string{"link set lo up", "tuntap add dev lan0 mode tap", "link set lan0 up"}
	for _, a := range addresses {
		nodad := ""
		if strings.Contains(a, "::") {
			nodad = " nodad"
		}
		device := "lan0"
		if strings.HasSuffix(a, "/32") || strings.HasSuffix(a, "/128") {
			device = "lo" // without a carrier IPv6 loses packets now and then
		}
		commands = append(commands, "addr add "+a+" dev "+device+nodad)
	}
	commands = append(commands, "addr add 127.0.0.53/32 dev lo", "route add default via 192.0.2.1", "route add ::/0 via 2001:db8::1")
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := ip.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := replace(dir, "/etc/resolv.conf", "nameserver "+server+"\n", 0o644); err != nil {
		return err
	}
	// In this user namespace nobody has sub-ids, and newuidmap no power.
	return errors.Join(replace(dir, "/etc/subuid", "", 0o644), replace(dir, "/etc/subgid", "", 0o644))
}

// replace shows another file, which it makes in dir, at a path.
func replace(dir, path, content string, mode os.FileMode) error {
	file := filepath.Join(dir, "lab-"+filepath.Base(path)) // stays: nothing can be mounted over a file that is gone
	os.Remove(file)                                        // one of another run may be shut
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		return err
	}
	if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

// log is what the servers saw.
type log struct {
	mutex sync.Mutex
	file  *os.File
	nonce string
}

func (l *log) visit(protocol, address, asked string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintf(l.file, "%s %s %q\n", protocol, address, asked)
}
