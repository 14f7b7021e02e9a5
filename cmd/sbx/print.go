package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"sbx/cgroup"
	"sbx/host"
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
	"sbx/userns"
)

// All that a person reads is printed from this file. Messages of sbx itself go to stderr and begin
// with "sbx: "; what the user should do is on a line of its own, "sbx: hint: ".

// messages is where they go: stderr, or the log of a sandbox in the background.
var messages io.Writer = os.Stderr

func message(format string, args ...any) {
	fmt.Fprintln(messages, "sbx: "+escape(fmt.Sprintf(format, args...)))
}

func hint(format string, args ...any) {
	fmt.Fprintln(messages, "sbx: hint: "+escape(fmt.Sprintf(format, args...)))
}

// escape shows what would act on a terminal, or reorder text, as an escape sequence: names come
// from repositories and payloads.
func escape(s string) string { return host.Printable(s) }

// printNotice says what happened while a sandbox runs.
func printNotice(text string) { message("%s", text) }

// printStart says what is weaker than it could be, and which grants open a wall.
func printStart(s *sandbox.Spec) {
	for _, w := range s.Level.Warnings {
		message("warning: %s", w)
	}
	var reached []string
	for _, g := range s.Grants {
		switch {
		case g.Opens():
			message("granted: %s", g.Words)
		case g.Key == "network.allow":
			reached = append(reached, strings.TrimPrefix(g.Words, "reaches "))
		}
	}
	if len(reached) > 0 {
		message("granted: a network, to nothing but %s", strings.Join(reached, ", "))
	}
	if s.Level.Name != profiles.LevelFull {
		message("level %s: %s", s.Level.Name, strings.Join(s.Level.Why, "; "))
	}
}

// printLowered says what showed to be weaker only when the sandbox was made.
func printLowered(s *sandbox.Spec, l sandbox.Level) {
	for _, w := range l.Warnings[len(s.Level.Warnings):] {
		message("warning: %s", w)
	}
	if why := l.Why[len(s.Level.Why):]; len(why) > 0 {
		message("level %s: %s", l.Name, strings.Join(why, "; "))
	}
}

// printEnd says what the payload's own output cannot: why it ended, and what it left behind.
func printEnd(s *sandbox.Spec, r sandbox.Result) {
	if r.TimedOut {
		message("ended by the time limit of %v", s.Limits.Time)
	}
	for _, l := range r.Reached {
		printReached(l)
	}
	for _, path := range r.Planted {
		message("the run left %s, which the host may execute or obey later: look at it first", path)
	}
	for _, path := range r.Unsure {
		message("%s has changed since it was replaced: by the host, or by the run before it was covered again; look at it first", path)
	}
	printNetwork(s, r)
	if r.GitUsed && r.Status != 0 {
		message("the run used git, and .git is read-only in the sandbox")
		hint(`if git failed for that, review what it does: --project review; or grant it in a profile of your own: [files] git = "write"`)
	}
}

// printReached names a limit that ended processes or refused them, its value, and the most there was.
func printReached(l sandbox.Reached) {
	switch l.Limit {
	case "memory":
		message("out of memory: the limit of %s was reached%s, and the kernel killed %s", size(l.Value), peak(l.Peak, size), several(l.Count, "process", "processes"))
	case "pids":
		message("out of processes: the limit of %d was reached%s, and %s refused", l.Value, peak(l.Peak, plain), several(l.Count, "fork was", "forks were"))
	}
}

func peak(n *uint64, words func(uint64) string) string {
	if n == nil {
		return ""
	}
	return " (peak " + words(*n) + ")"
}

func size(n uint64) string { return profiles.Size(n).Text() }

func plain(n uint64) string { return strconv.FormatUint(n, 10) }

func several(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return plain(n) + " " + many
}

// printUsage says what the sandbox used, on stderr, since stdout is the payload's.
func printUsage(r sandbox.Result, asJSON bool) {
	if asJSON {
		json.NewEncoder(os.Stderr).Encode(struct {
			Status int `json:"status"`
			sandbox.Usage
			Reached []sandbox.Reached `json:"reached,omitempty"`
			Network *slirp.Report     `json:"network,omitempty"`
		}{r.Status, r.Used, r.Reached, r.Network})
		return
	}
	u := r.Used
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	words := []string{fmt.Sprintf("wall time %v", round(u.Wall)),
		fmt.Sprintf("processor time %v (user %v, system %v)", round(u.CPU), round(u.User), round(u.System))}
	for _, n := range []struct {
		value *uint64
		text  string
		words func(uint64) string
	}{
		{u.MemoryPeak, "peak of memory", size}, {u.LargestProcess, "largest process", size}, {u.PidsPeak, "peak of processes", plain},
		{u.Read, "read from disk", size}, {u.Written, "written to disk", size},
	} {
		if n.value != nil {
			words = append(words, n.text+" "+n.words(*n.value))
		}
	}
	message("%s", strings.Join(words, "; "))
}

// printUsageError prints a command line that cannot be parsed.
func printUsageError(err error) {
	message("%v", err)
	hint("sbx --help, or man sbx")
}

// printError prints an error, with advice where there is some, and returns the exit status.
func printError(err error) int {
	var said exitStatus
	if errors.As(err, &said) {
		return int(said)
	}
	var several profiles.Errors
	var one *profiles.Error
	var grants *profiles.GrantError
	var notExecuted *sandbox.NotExecutedError
	switch {
	case errors.As(err, &several):
		for _, e := range several {
			printPlaced(e)
		}
	case errors.As(err, &one):
		printPlaced(one)
	case errors.As(err, &grants):
		printGrants(grants)
		printHowToAgree(grants)
	case errors.As(err, &notExecuted):
		return printNotExecuted(notExecuted)
	default:
		message("%v", err)
		printAdvice(err)
	}
	return statusFailed
}

func printPlaced(e *profiles.Error) {
	message("%s: %s", e.Place(), e.Msg)
	if e.Hint != "" {
		hint("%s", e.Hint)
	}
}

func printNotExecuted(e *sandbox.NotExecutedError) int {
	message("%v", e)
	if advice, ok := host.Advise(host.StepExec, e.Errno); ok {
		message("%s", advice.Why)
	}
	if e.Folder != "" {
		hint("the host has it in a folder that the sandbox does not show: --mount %s:ro", e.Folder)
	}
	return e.Status()
}

func printAdvice(err error) {
	var usage *sandbox.UsageError
	if errors.As(err, &usage) && usage.Hint != "" {
		hint("%s", usage.Hint)
	}
	printLimitAdvice(err)
	var task *profiles.TaskError
	if errors.As(err, &task) {
		hint("%s", task.Hint())
	}
	var level *sandbox.LevelError
	if errors.As(err, &level) {
		hint("sbx doctor tells what is missing and what mends it")
	}
	printStateAdvice(err)
	printReviewAdvice(err)
	printPortAdvice(err)
	var helper *slirp.HelperError
	if errors.As(err, &helper) && helper.ShutOut() {
		hint("where AppArmor keeps pasta out, this takes its profile away until the next boot: sudo apparmor_parser -R /etc/apparmor.d/usr.bin.passt; --net on needs no pasta")
	}
	if errors.As(err, new(*sandbox.NoBuiltinError)) {
		hint("make build puts both programs in one folder, make install too")
	}
	var absent host.NoHelper
	if errors.As(err, &absent) {
		hint("%s", host.Install(absent.Name))
	}
	advice, ok := adviceFor(err)
	if !ok {
		return
	}
	message("%s", advice.Why)
	if advice.Mend != "" {
		hint("%s", advice.Mend)
	}
}

// printLimitAdvice says what gives a limit that cannot be enforced, and how to go without.
func printLimitAdvice(err error) {
	var limit *cgroup.LimitError
	var scope *cgroup.ScopeError
	if errors.As(err, &limit) && limit.Mend != "" {
		hint("%s", limit.Mend)
	}
	if errors.As(err, &limit) || errors.As(err, &scope) {
		hint("--best-effort runs without the limits that cannot be enforced, at the level unlimited")
	}
}

// adviceFor finds what this machine's state says about an error of the start.
func adviceFor(err error) (host.Advice, bool) {
	var errno syscall.Errno
	var clone *userns.CloneError
	var idMap *userns.MapError
	var step *userns.StepError
	var tun *sandbox.TunError
	if !errors.As(err, &errno) {
		errno = syscall.EPERM // a helper's refusal
	}
	switch {
	case errors.As(err, &clone):
		return host.Advise(host.StepClone, errno)
	case errors.As(err, &idMap):
		return host.Advise(host.StepIDMap, errno)
	case errors.As(err, &tun):
		return host.Advise(host.StepTun, errno)
	case errors.As(err, &step):
		return host.Advise(kindOf(step.Step), errno)
	}
	return host.Advice{}, false
}

// kindOf is the kind of a step, as advice is filed.
func kindOf(s userns.Step) host.Step {
	if s.Do == slirp.DeviceStep {
		return host.StepTun
	}
	switch s.Name() {
	case "keyctl":
		return host.StepKeyring
	case "pivot_root":
		return host.StepPivotRoot
	case "seccomp":
		return host.StepSeccomp
	case "setns":
		return host.StepSetns
	case "execve":
		return host.StepExec
	}
	switch {
	case strings.HasSuffix(s.Do, "proc"):
		return host.StepProc
	case strings.HasPrefix(s.Do, "entering the working folder "):
		return host.StepWorkdir
	}
	return host.StepMount
}

func printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = os.Stdout.Write(append(host.PrintableJSON(text), '\n'))
	}
	return err
}

func printVersion(v versionInfo, asJSON bool) error {
	if asJSON {
		return printJSON(v)
	}
	_, err := fmt.Println("sbx", v.Version)
	return err
}

func printPlan(p *userns.Plan, asJSON bool) error {
	if asJSON {
		return printJSON(p)
	}
	_, err := fmt.Print(p)
	return err
}

func printSpec(s *sandbox.Spec, asJSON bool) error {
	if asJSON {
		return printJSON(s)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range s.Words() {
		fmt.Fprintf(w, "%s\t%s\n", line.About, escape(line.Text))
	}
	return w.Flush()
}

func printFindings(findings []host.Finding, can bool, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			CanRun   bool           `json:"can_run"`
			Findings []host.Finding `json:"findings"`
		}{can, findings})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.What, escape(f.Found))
		if f.Means != "" && f.Status != host.OK {
			fmt.Fprintf(w, "\t\t%s\n", escape(f.Means))
		}
		if f.Mend != "" {
			fmt.Fprintf(w, "\t\tmend: %s\n", escape(f.Mend))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "sbx can run here"
	if !can {
		verdict = "sbx cannot run here: mend what is marked missing"
	}
	_, err := fmt.Println(verdict)
	return err
}

func printScript(script string) error {
	_, err := fmt.Print(script)
	return err
}
