package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"sbx/sandbox"
	"sbx/state"
)

// What is printed about sandboxes that are on record.

// causes are the causes of an end in plain words.
var causes = map[string]string{
	state.CauseSupervisor: "its supervisor was killed, and all in it with that",
	state.CauseReboot:     "the machine was started anew",
}

func printVolumes(list []sandbox.VolumeInfo, asJSON bool) error {
	if asJSON {
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCREATED\tSANDBOXES")
	for _, v := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", escape(v.Name), ago(v.Created), escape(strings.Join(v.Sandboxes, " ")))
	}
	return w.Flush()
}

// printKept lists what is kept for projects.
func printKept(list []sandbox.Kept, asJSON bool) error {
	if asJSON {
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOME\tCACHES\tPROJECT")
	for _, k := range list {
		home, project := "-", escape(k.Project)
		if k.Home {
			home = "kept"
		}
		switch {
		case k.Project == "":
			project = "not known, in " + escape(strings.Join(k.Folders, " "))
		case k.Gone:
			project += " (gone)"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", home, k.Caches, project)
	}
	return w.Flush()
}

// printPrunable lists what would be removed.
func printPrunable(list []sandbox.Kept, asJSON bool) error {
	if len(list) == 0 && !asJSON {
		message("nothing is kept for a project that is gone")
		return nil
	}
	if err := printKept(list, asJSON); err != nil {
		return err
	}
	if len(list) > 0 {
		hint("sbx volume prune --force removes it, sbx volume rm --project DIR that of one")
	}
	return nil
}

// printPruned lists what was removed.
func printPruned(list []sandbox.Kept, asJSON bool) error {
	message("removed what was kept for %s", several(uint64(len(list)), "project that is gone", "projects that are gone"))
	return printKept(list, asJSON)
}

// printLeft says what was put right that a killed supervisor had left.
func printLeft(l state.Left) {
	what := "is over"
	if l.Removed {
		what = "has been removed"
	}
	message("the sandbox %s %s: %s", l.Name, what, causes[l.Cause])
}

func printBroken(err error) {
	message("%v", err)
	printStateAdvice(err)
}

// printStateAdvice is what helps with errors about sandboxes on record.
func printStateAdvice(err error) {
	var taken *state.ExistsError
	var missing *state.NotFoundError
	var damaged *state.RecordError
	var not *sandbox.NotRunningError
	var unreachable *sandbox.UnreachableError
	var letGo *sandbox.LetGoError
	switch {
	case errors.As(err, &letGo):
		hint("sbx attach %s comes back to it, sbx logs %s tells what was missed", letGo.Name, letGo.Name)
	case errors.As(err, &taken) && taken.Status == state.Exited:
		hint("sbx start %s starts it again, sbx rm %s removes it", taken.Name, taken.Name)
	case errors.As(err, &taken):
		hint("sbx exec %s -- CMD runs a command in it, sbx rm -f %s ends and removes it", taken.Name, taken.Name)
	case errors.As(err, &missing):
		hint("sbx ps -a lists all there are")
	case errors.As(err, &damaged) && !damaged.Newer:
		hint("sbx rm -f %s removes it with its files", damaged.Name)
	case errors.As(err, &not):
		hint("sbx start %s starts it", not.Name)
	case errors.As(err, &unreachable):
		hint("sbx stop %s ends it", unreachable.Name)
	}
}

func printName(name string, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			Name string `json:"name"`
		}{name})
	}
	_, err := fmt.Println(name)
	return err
}

// listed is a sandbox as ps tells it.
type listed struct {
	Name    string       `json:"name"`
	Status  state.Status `json:"status"`
	Command []string     `json:"command"`
	Image   string       `json:"image"`
	// Digest is the image's; PlanHash and ProfileHash tell whether two sandboxes were made alike.
	Digest      string `json:"image_digest"`
	PlanHash    string `json:"plan_hash"`
	ProfileHash string `json:"profile_hash"`

	PID     int        `json:"pid"`
	Level   string     `json:"level"`
	Created time.Time  `json:"created"`
	Ended   *time.Time `json:"ended"`
	Exit    *int       `json:"exit"`
	Held    bool       `json:"held"`
}

// printSandboxes lists sandboxes; held are those that hold changes back.
func printSandboxes(list []*state.Record, held map[string]bool, namesOnly, asJSON bool) error {
	if asJSON {
		rows := []listed{}
		for _, r := range list {
			row := listed{r.Name, r.Status(), r.Command, r.Image, r.ImageDigest, r.PlanHash, r.ProfileHash, r.Payload.PID, r.Level, r.Created, r.Ended, r.Exit, held[r.Name]}
			if row.Status == state.Exited {
				row.PID = 0
			}
			rows = append(rows, row)
		}
		return printJSON(rows)
	}
	out := bufio.NewWriter(os.Stdout) // a table writes each cell by itself
	if namesOnly {
		for _, r := range list {
			fmt.Fprintln(out, r.Name)
		}
		return out.Flush()
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATUS\tLEVEL\tCREATED\tIMAGE\tCOMMAND")
	for _, r := range list {
		image := r.Image
		if image == "" {
			image = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, statusWords(r, held[r.Name]), escape(r.Level), ago(r.Created), escape(image), shorten(escape(strings.Join(r.Command, " ")), 40))
	}
	return errors.Join(w.Flush(), out.Flush())
}

func statusWords(r *state.Record, held bool) string {
	words := string(r.Status())
	switch {
	case r.Status() != state.Exited || r.Exit == nil:
	case r.Cause == state.CauseExited:
		words = fmt.Sprintf("%s (%d)", words, *r.Exit)
	default:
		words = fmt.Sprintf("%s (%d, %s)", words, *r.Exit, escape(r.Cause))
	}
	if held {
		words += ", held"
	}
	return words
}

// ago is a time as people say it.
func ago(t time.Time) string {
	d := time.Since(t)
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int(d / unit.size); n == 1 {
			return "1 " + unit.name + " ago"
		} else if n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		}
	}
	return "now"
}

func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

func printDetached(name string) { message("%s goes on; sbx attach %s comes back to it", name, name) }

// logPrinter prints a log as it was written: each stream to its own.
type logPrinter struct {
	out, err *bufio.Writer
	stamps   bool
	inLine   map[string]bool
}

func newLogPrinter(stamps bool) *logPrinter {
	return &logPrinter{bufio.NewWriter(os.Stdout), bufio.NewWriter(os.Stderr), stamps, map[string]bool{}}
}

func (p *logPrinter) print(e state.Entry) error {
	w := p.out
	if e.Stream == "stderr" || e.Stream == sandbox.OwnStream {
		w = p.err
	}
	if p.stamps && !p.inLine[e.Stream] {
		w.WriteString(e.Time.Format(time.RFC3339Nano) + " ")
	}
	w.Write(e.Text)
	if p.inLine[e.Stream] = !e.Whole; e.Whole {
		w.WriteByte('\n')
	}
	return w.Flush()
}

func (p *logPrinter) flush() error { return errors.Join(p.out.Flush(), p.err.Flush()) }

func printStats(list, before []namedLoad, live, asJSON bool) error {
	if asJSON {
		return printJSON(list)
	}
	if live {
		fmt.Print("\x1b[H\x1b[J")
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCPU\tCPU TIME\tMEMORY\tPROCESSES")
	for _, u := range list {
		share := "-"
		for _, b := range before {
			if b.Name == u.Name {
				share = fmt.Sprintf("%.0f%%", max(0, (u.CPU-b.CPU).Seconds())/statsPause.Seconds()*100)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%d\n", u.Name, share, u.CPU.Round(10*time.Millisecond), inBytes(u.Memory), u.Processes)
	}
	return w.Flush()
}

// inBytes is a number of bytes as people read it.
func inBytes(n int64) string {
	value, unit := float64(n), 0
	for value >= 1024 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.*f %s", min(unit, 1), value, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

func printEnded(list []ended, asJSON bool) error {
	if asJSON {
		return printJSON(list)
	}
	for _, e := range list {
		if _, err := fmt.Println(e.Exit); err != nil {
			return err
		}
	}
	return nil
}

func printProcesses(list []sandbox.Proc, asJSON bool) error {
	if asJSON {
		if list == nil {
			list = []sandbox.Proc{}
		}
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tINSIDE\tUID\tSTATE\tCPU TIME\tRSS\tCOMMAND")
	for _, p := range list {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%v\t%s\t%s\n", p.PID, p.Inside, p.UID, p.State, p.CPU.Round(10*time.Millisecond), inBytes(p.RSS), escape(strings.Join(p.Command, " ")))
	}
	return w.Flush()
}

func printEvent(e sandbox.Event, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(e)
	}
	end := ""
	if e.Exit != nil {
		end = fmt.Sprintf(" with %d: %s", *e.Exit, e.Cause)
	}
	_, err := fmt.Printf("%s %s %s%s (%s)\n", e.Time.Format(time.RFC3339), e.Event, escape(e.Name), escape(end), escape(strings.Join(e.Command, " ")))
	return err
}

func printSkipped(path string) {
	message("left out %s: neither a file, nor a folder, nor a link", path)
}

// progress shows, on a terminal, that something takes longer than a second; the function that it returns
// ends that.
func progress(doing string) (done func()) {
	if !sandbox.IsTerminal(os.Stderr) {
		return func() {}
	}
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		start := time.Now()
		for wait := time.Second; ; wait = 200 * time.Millisecond {
			select {
			case <-over:
				if time.Since(start) > time.Second {
					fmt.Fprint(os.Stderr, "\r\x1b[K")
				}
				return
			case <-time.After(wait):
				fmt.Fprintf(os.Stderr, "\r\x1b[Ksbx: %s (%d s)", escape(doing), int(time.Since(start).Seconds()))
			}
		}
	}()
	return func() { close(over); <-gone }
}
