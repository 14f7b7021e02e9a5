package host

import (
	"context"
	"sync"
)

// Status is how a finding stands.
type Status string

// A probe answers with one of these.
const (
	OK      Status = "ok"
	Weaker  Status = "weaker"  // sandboxes work, with less than could be
	Missing Status = "missing" // what the probe looks for is not to be had
	Unknown Status = "unknown" // the machine did not let itself be asked
)

// Finding is the answer of a probe. Means says what it means for sandboxes; Mend is the one command that mends it, as
// root where it says sudo, and empty where nothing needs mending or no command does it.
type Finding struct {
	Name     string `json:"name"`
	What     string `json:"what"`
	Status   Status `json:"status"`
	Found    string `json:"found"`
	Means    string `json:"means"`
	Mend     string `json:"mend"`
	Required bool   `json:"required"` // the main job cannot run without it
}

// Probe is a question to this machine that has a name. It is tried once; doctor, fallbacks and test skips share the
// answer.
type Probe struct {
	Name, What string
	Required   bool
	run        func(*Env) Finding
	once       sync.Once
	finding    Finding
}

// Ask tries the probe, the first time, and gives its finding.
func (p *Probe) Ask() Finding {
	p.once.Do(func() { p.finding = p.on(Here()) })
	return p.finding
}

// OK asks whether the machine has it, fully.
func (p *Probe) OK() bool { return p.Ask().Status == OK }

// on runs the probe afresh against a machine, or against a fixture of one.
func (p *Probe) on(e *Env) Finding {
	f := p.run(e)
	f.Name, f.What, f.Required = p.Name, p.What, p.Required
	return f
}

// Ask asks a probe by its name; Status is Unknown where there is no such probe.
func Ask(name string) Finding {
	for _, p := range All() {
		if p.Name == name {
			return p.Ask()
		}
	}
	return Finding{Name: name, Status: Unknown, Found: "no probe has this name"}
}

// Run asks all probes, in the order of All, and stops early when ctx ends.
func Run(ctx context.Context) []Finding {
	var all []Finding
	for _, p := range All() {
		if ctx.Err() != nil {
			break
		}
		all = append(all, p.Ask())
	}
	return all
}

// CanRun is the verdict: whether the main job, a sandbox on the host's own root without a network, can run at all.
func CanRun(findings []Finding) bool {
	for _, f := range findings {
		if f.Required && f.Status == Missing {
			return false
		}
	}
	return len(findings) > 0
}

func ok(found, means string) Finding { return Finding{Status: OK, Found: found, Means: means} }

func weaker(found, means, mend string) Finding {
	return Finding{Status: Weaker, Found: found, Means: means, Mend: mend}
}

func missing(found, means, mend string) Finding {
	return Finding{Status: Missing, Found: found, Means: means, Mend: mend}
}

// softened makes a finding of something missing one of something that sbx can do without.
func (f Finding) softened() Finding {
	if f.Status == Missing {
		f.Status = Weaker
	}
	return f
}

func unknown(found, means string) Finding {
	return Finding{Status: Unknown, Found: found, Means: means}
}
