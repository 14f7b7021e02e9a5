package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What networks are measured by runs in the network of tests/lab, which leads nowhere: this program starts itself
// there once more, with inLab, and with connectTo inside of sandboxes.
var (
	networksOnly = flag.Bool("networks", false, "only the networks")

	inLab     = flag.Bool("in-lab", false, "this is the lab: measure networks")
	inPorts   = flag.Bool("in-ports", false, "measure published ports")
	connectTo = flag.String("connect", "", "make connections to this address, and print how many a second")
)

// withNetworks adds the rows of networks, unless others alone are asked for.
func withNetworks(rows []row, others bool) []row {
	switch {
	case others:
		return rows
	case *networksOnly:
		rows = nil
	}
	return append(rows, netStart, networks, portDrivers)
}

// netStart is what a network adds to the start.
func netStart(u, _ runner, runs int) error {
	t, err := u.inTurns(runs, sbxTrue, strings.Fields("sbx run --net slirp -- true"), strings.Fields("sbx run --net builtin -- true"), strings.Fields("sbx run --net pasta -- true"))
	if err != nil {
		return err
	}
	for i, row := range []struct {
		name   string
		target time.Duration
	}{{"slirp", 12 * time.Millisecond}, {"builtin", 15 * time.Millisecond}, {"pasta", 0}} {
		more := t[i+1] - t[0]
		said, target := "", ""
		if row.target > 0 {
			said, target = verdict(more <= row.target), row.target.String()
		}
		fmt.Printf("%-44s %10s %10s %7s %7s  %s\n", "start with --net "+row.name+", against none", ms(t[i+1]), ms(t[0]), "+"+ms(more), target, said)
	}
	return nil
}

// networks measures throughput and connections, in the lab.
func networks(_, u runner, _ int) error {
	cmd := u.command([]string{"lab", filepath.Join(u.cwd, "log"), "bench", "-in-lab"})
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// server is the address of the lab's servers, "public" as far as sbx can tell.
const server = "198.51.100.10"

func measureInLab() error {
	other, end, err := byHand()
	if err != nil {
		return err
	}
	defer end()
	for _, way := range []struct{ name, flag string }{{"out", ""}, {"in", "-R"}} {
		for _, mode := range []struct {
			name   string
			target float64
		}{{"slirp", 0.95}, {"builtin", 0.7}, {"pasta", 0}} {
			sandbox := []string{"sbx", "run", "--net", mode.name, "--"}
			a, b, err := ratesInTurns(3, func() (float64, error) { return throughputTo(sandbox, way.flag) }, func() (float64, error) { return throughputTo(other, way.flag) })
			if err != nil {
				return err
			}
			faster("TCP "+way.name+", "+mode.name+" against slirp4netns by hand", gbits(a), gbits(b), a/b, mode.target)
		}
	}
	a, b, err := ratesInTurns(5,
		func() (float64, error) {
			return connections("sbx run --allow allowed.test:9999 -- bench -connect allowed.test:9999")
		},
		func() (float64, error) {
			return connections("sbx run --net builtin -- bench -connect " + server + ":9999")
		})
	if err != nil {
		return err
	}
	faster("connections/s, allowlist against none", fmt.Sprintf("%.0f", a), fmt.Sprintf("%.0f", b), a/b, 0.8)
	return published()
}

// inside is what this program does when it has started itself.
func inside() error {
	switch {
	case *inLab:
		return measureInLab()
	case *inPorts:
		return measurePorts()
	}
	return connect(*connectTo)
}

// published is the throughput of a published port, against slirp4netns' own.
func published() error {
	for _, mode := range []string{"none", "builtin"} {
		a, b, err := ratesInTurns(3, func() (float64, error) { return throughputPublished(mode) }, throughputForwarded)
		if err != nil {
			return err
		}
		faster("published port, "+mode+" against slirp4netns' hostfwd", gbits(a), gbits(b), a/b, 1)
	}
	return nil
}

// portDrivers measures published ports against those of rootlesskit, on the loopback: rootlesskit needs sub-ids, which
// nobody has in the lab.
func portDrivers(u, _ runner, _ int) error {
	if _, err := exec.LookPath("rootlesskit"); err != nil {
		fmt.Println("published port against rootlesskit's: there is no rootlesskit (apt-get install rootlesskit)")
		return nil
	}
	cmd := u.command([]string{"bench", "-in-ports"})
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func measurePorts() error {
	for _, mode := range []string{"none", "slirp", "builtin"} {
		a, b, err := ratesInTurns(5, func() (float64, error) { return throughputPublished(mode) }, throughputRootlesskit)
		if err != nil {
			return err
		}
		faster("published port, "+mode+" against rootlesskit's", gbits(a), gbits(b), a/b, 1)
	}
	return nil
}

// throughputRootlesskit is the same as throughputPublished by rootlesskit's builtin port driver.
func throughputRootlesskit() (float64, error) {
	inside := exec.Command("rootlesskit", "--net=slirp4netns", "--mtu=65520", "--disable-host-loopback", "--port-driver=builtin",
		"-p", "127.0.0.1:"+publishedPort+":5201/tcp", "iperf3", "-s", "-1")
	if err := inside.Start(); err != nil {
		return 0, err
	}
	defer inside.Wait()
	return untilReady(inside)
}

// faster prints a ratio of rates, which is to be at least its target; 0: there is none.
func faster(what, own, other string, got, target float64) {
	said, least := "", ""
	if target > 0 {
		said, least = verdict(got >= target), strconv.FormatFloat(target, 'f', -1, 64)
	}
	fmt.Printf("%-44s %10s %10s %7.2f %7s  %s\n", what, own, other, got, least, said)
}

func gbits(rate float64) string { return fmt.Sprintf("%.2f Gb/s", rate/1e9) }

// ratesInTurns measures both sides in turns, and gives the medians.
func ratesInTurns(rounds int, own, other func() (float64, error)) (float64, float64, error) {
	sides := [2][]time.Duration{}
	for range rounds {
		for i, measure := range []func() (float64, error){own, other} {
			rate, err := measure()
			if err != nil {
				return 0, 0, err
			}
			sides[i] = append(sides[i], time.Duration(rate))
		}
	}
	return float64(median(sides[0])), float64(median(sides[1])), nil
}

// seconds is how long each side of a throughput is measured.
const seconds = "2"

// throughputTo is what iperf3 measures from within, in bits a second, to a server outside.
func throughputTo(within []string, way string) (float64, error) {
	listening := exec.Command("iperf3", "-s", "-1", "-B", server)
	if err := listening.Start(); err != nil {
		return 0, err
	}
	defer listening.Wait()
	if err := awaitPort(server + ":5201"); err != nil {
		listening.Process.Kill()
		return 0, err
	}
	args := append(within, "iperf3", "-c", server, "-t", seconds, "-J")
	if way != "" {
		args = append(args, way)
	}
	rate, err := iperf(exec.Command(args[0], args[1:]...))
	if err != nil {
		listening.Process.Kill()
	}
	return rate, err
}

func iperf(cmd *exec.Cmd) (float64, error) {
	out, err := cmd.Output()
	var said struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if jsonErr := json.Unmarshal(out, &said); err == nil {
		err = jsonErr
	}
	if err == nil && said.Error != "" { // of which its exit status says nothing
		err = errors.New("it failed")
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, said.Error)
	}
	return said.End.Received.Rate, nil
}

// awaitPort waits until somebody listens, without a connection of its own, which iperf3 would take.
func awaitPort(address string) error {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	listens := fmt.Sprintf(":%04X ", n)
	for range 200 {
		for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			b, _ := os.ReadFile(file)
			for line := range strings.Lines(string(b)) {
				if fields := strings.Fields(line); len(fields) > 3 && strings.HasSuffix(fields[1]+" ", listens) && fields[3] == "0A" {
					return nil
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens at %s", address)
}

// byHand starts slirp4netns for a network namespace, and returns how to run something in there.
func byHand(options ...string) (within []string, end func(), err error) {
	holder := exec.Command("unshare", "--user", "--map-root-user", "--net", "sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		return nil, nil, err
	}
	pid := strconv.Itoa(holder.Process.Pid)
	time.Sleep(200 * time.Millisecond) // until it has its namespaces
	ready, told, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	args := append([]string{"--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=3"}, options...)
	slirp := exec.Command("slirp4netns", append(args, pid, "tap0")...)
	slirp.ExtraFiles = []*os.File{told}
	slirp.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = slirp.Start()
	told.Close()
	if err == nil {
		_, err = ready.Read(make([]byte, 1))
	}
	end = func() {
		slirp.Process.Kill()
		slirp.Wait()
		holder.Process.Kill()
		holder.Wait()
	}
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("starting slirp4netns by hand: %w", err)
	}
	return []string{"nsenter", "-t", pid, "-U", "-n", "--preserve-credentials"}, end, nil
}

const publishedPort = "5301"

// throughputPublished is what iperf3 measures from outside to a server in a sandbox.
func throughputPublished(mode string) (float64, error) {
	inside := exec.Command("sbx", "run", "--net", mode, "-P", publishedPort+":5201", "--", "iperf3", "-s", "-1")
	if err := inside.Start(); err != nil {
		return 0, err
	}
	defer inside.Wait()
	return untilReady(inside)
}

// throughputForwarded is the same for a port that slirp4netns forwards: slirp4netns(1), API SOCKET.
func throughputForwarded() (float64, error) {
	socket := filepath.Join(os.TempDir(), "sbx-bench-"+strconv.Itoa(os.Getpid()))
	os.Remove(socket)
	defer os.Remove(socket)
	within, end, err := byHand("--api-socket=" + socket)
	if err != nil {
		return 0, err
	}
	defer end()
	c, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(c, `{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_addr": "127.0.0.1", "host_port": %s, "guest_port": 5201}}`, publishedPort)
	c.(*net.UnixConn).CloseWrite()
	said, err := io.ReadAll(c)
	c.Close()
	if err != nil || strings.Contains(string(said), "error") {
		return 0, fmt.Errorf("forwarding a port: %s %w", said, err)
	}
	inside := exec.Command(within[0], append(within[1:], "iperf3", "-s", "-1")...)
	if err := inside.Start(); err != nil {
		return 0, err
	}
	defer inside.Wait()
	return untilReady(inside)
}

// untilReady measures once the server inside answers.
func untilReady(inside *exec.Cmd) (rate float64, err error) {
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		if rate, err = iperf(exec.Command("iperf3", "-c", "127.0.0.1", "-p", publishedPort, "-t", seconds, "-J")); err == nil {
			return rate, nil
		}
	}
	inside.Process.Kill()
	return 0, err
}

// connections is what this program counts inside, a second.
func connections(command string) (float64, error) {
	args := strings.Fields(command)
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// connect makes connections, eight at a time, reads what comes, and prints how many there were a second.
func connect(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	found, err := net.LookupHost(host)
	if err != nil {
		return err
	}
	const workers, each = 8, 125
	began := time.Now()
	failed := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				c, err := net.Dial("tcp", net.JoinHostPort(found[0], port))
				if err != nil {
					failed <- err
					return
				}
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	fmt.Printf("%.1f\n", workers*each/time.Since(began).Seconds())
	return nil
}
