package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"sbx/host"
)

// selfcheckVerb is the first word of a call of this program by `sbx selfcheck`.
const selfcheckVerb = "selfcheck"

// Words of a verdict.
const (
	pass    = "PASS"
	fail    = "FAIL"
	notHere = "NOT HERE" // the attack does not work on this machine without a sandbox either
)

// A verdict is what became of one promise.
type verdict struct {
	Promise string   `json:"promise"`
	Result  string   `json:"result"`
	Reasons []string `json:"reasons"`
}

// selfcheck makes the attacks in sandboxes of the caller's, and without one, and prints what became of each promise.
// The last argument names the sbx that asks. The exit status is 1 where a promise failed, and 125 where nothing could be
// found out.
func selfcheck(args []string) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbx: "+host.Printable(err.Error())+"\nsbx: hint: usage: "+usage)
		return 125
	}
	if o.help {
		fmt.Println("Usage: " + usage + "\n\nAttack sandboxes on this machine, and tell what was safe.\n\nFlags:\n" +
			"  -p, --profile=NAME    Attack the sandbox of this profile of yours.\n" +
			"      --json            Print JSON.")
		return 0
	}
	list, err := runSelfcheck(o)
	if err != nil {
		for i, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
			if i == 0 {
				line = "sbx: checking this machine: " + line
			}
			fmt.Fprintln(os.Stderr, host.Printable(line))
		}
		return 125
	}
	return o.printResults(list)
}

const usage = "sbx selfcheck [-p NAME] [--json]"

// options are what the command line says.
type options struct {
	sbx        string // the program under test
	profile    string // "" is the default sandbox
	json, help bool
}

func parse(args []string) (o options, err error) {
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch {
		case name == "--of" && i == len(args)-1:
			o.sbx = value
		case args[i] == "--json":
			o.json = true
		case args[i] == "--help", args[i] == "-h":
			o.help = true
		case name == "--profile" && joined:
			o.profile = value
		case args[i] == "-p", args[i] == "--profile":
			if i++; i == len(args) || strings.HasPrefix(args[i], "-") { // the last one is sbx's, --of
				return o, fmt.Errorf("selfcheck: %s has no name of a profile", name)
			}
			o.profile = args[i]
		case strings.HasPrefix(args[i], "-p"):
			o.profile = args[i][len("-p"):]
		default:
			return o, fmt.Errorf("selfcheck: unexpected %q", args[i])
		}
	}
	if o.sbx == "" {
		return o, errors.New("selfcheck: sbx starts this program")
	}
	return o, nil
}

func runSelfcheck(o options) ([]verdict, error) {
	// A session keyring belongs to a thread, and is inherited from the one that starts a process.
	runtime.LockOSThread()
	s, err := newStage(o)
	if err != nil {
		return nil, err
	}
	defer s.end()
	var words []string
	for _, c := range promises {
		words = append(words, s.fill(c.attacks)...)
	}
	var answers [][]answer
	for _, user := range []string{"me", "root"} {
		a, err := s.inside(user, words)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	var list []verdict
	for _, c := range promises {
		n := len(c.attacks)
		list = append(list, s.judge(c, answers[0][:n], answers[1][:n]))
		answers[0], answers[1] = answers[0][n:], answers[1][n:]
	}
	return list, nil
}

// An answer is what one attack printed.
type answer struct {
	risk bool
	text string
}

// inside makes all attacks in one sandbox.
func (s *stage) inside(user string, words []string) ([]answer, error) {
	cmd := s.command(append(append(s.sandbox(), "-u", user, "--", "./attacks"), words...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		return nil, fmt.Errorf("a sandbox with user %s: %w\n%s", user, err, stderr.String())
	}
	answers := read(out)
	if len(answers) != len(words) {
		return nil, fmt.Errorf("a sandbox with user %s: %d of %d attacks answered\n%s%s", user, len(answers), len(words), out, stderr.String())
	}
	for i, w := range words {
		if strings.HasPrefix(w, "stay=") {
			answers[i] = s.stayed()
		}
	}
	return answers, nil
}

func read(out []byte) (list []answer) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, text, _ := strings.Cut(lines.Text(), " ")
		if word == "RISK" || word == "SAFE" {
			list = append(list, answer{word == "RISK", text})
		}
	}
	return list
}

// stayed looks for the process that an attack left behind, once its sandbox has ended, and ends it.
func (s *stage) stayed() answer {
	pid := s.leftBehind()
	for range 20 { // one that was killed may take a moment to be gone
		if pid == 0 {
			return answer{false, "stay: the process is gone"}
		}
		time.Sleep(50 * time.Millisecond)
		pid = s.leftBehind()
	}
	syscall.Kill(pid, syscall.SIGKILL)
	return answer{true, "stay: the process goes on"}
}

// leftBehind finds it.
func (s *stage) leftBehind() (pid int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err == nil && bytes.Contains(b, []byte(sleeper+"\x00"+s.values["stay"])) {
			fmt.Sscanf(file, "/proc/%d/", &pid)
		}
	}
	return pid
}

// withoutWalls makes one attack where its control is made.
func (s *stage) withoutWalls(c check, word string) (answer, error) {
	args := []string{"./attacks", word}
	if c.control == inside {
		args = append(append(s.sandbox(), "--"), args...)
	}
	cmd := s.command(args...)
	if c.control == privately {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.Output()
	list := read(out)
	if len(list) != 1 {
		return answer{}, fmt.Errorf("%s without a sandbox: %w", word, err)
	}
	if strings.HasPrefix(word, "stay=") {
		return s.stayed(), nil
	}
	return list[0], nil
}

// judge holds what was got inside against what can be got without walls.
func (s *stage) judge(c check, asMe, asRoot []answer) verdict {
	r := verdict{Promise: c.promise, Result: notHere}
	for i := range asMe {
		for user, a := range map[string]answer{"you": asMe[i], "root": asRoot[i]} {
			if a.risk {
				r.Result = fail
				r.Reasons = append(r.Reasons, "as "+user+" inside: "+a.text)
			}
		}
	}
	if r.Result == fail {
		slices.Sort(r.Reasons)
		return r
	}
	shows := c.shows
	if shows == nil {
		shows = c.attacks
	}
	for _, word := range s.fill(shows) {
		a, err := s.withoutWalls(c, word)
		switch {
		case err != nil:
			r.Reasons = append(r.Reasons, err.Error())
		case a.risk:
			r.Result = pass
		default:
			r.Reasons = append(r.Reasons, "refused without a sandbox too: "+a.text)
		}
	}
	if r.Result == pass {
		r.Reasons = texts(asMe)
	}
	return r
}

func texts(list []answer) (all []string) {
	for _, a := range list {
		all = append(all, a.text)
	}
	return all
}

func (o options) printResults(list []verdict) int {
	status := 0
	if slices.ContainsFunc(list, func(r verdict) bool { return r.Result == fail }) {
		status = 1
	}
	if o.json {
		b, _ := json.MarshalIndent(list, "", "  ")
		fmt.Println(string(b))
		return status
	}
	fmt.Println("A payload, as you or as root inside, cannot")
	for _, r := range list {
		fmt.Printf("%-8s  %s\n", r.Result, r.Promise)
		for _, reason := range r.Reasons {
			if r.Result != pass {
				fmt.Printf("          %s\n", host.Printable(reason))
			}
		}
	}
	return status
}
