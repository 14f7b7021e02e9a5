package userns

import (
	"os"
	"slices"
	"sync"
)

// Beginning is what a plan is likely to begin with, known before the plan is.
type Beginning struct {
	// Steps are the first of Plan.Init. The first barrier among them waits for the id maps.
	Steps []Step
	Maps  Maps
	// Sends is the last descriptor that the steps hand out, if they do: until then the process is not prepared.
	Sends Slot
}

// Prepared is a first process on its way. Making one, its id maps and the mounts that every sandbox has
// takes about as long as the supervisor takes to find out what the rest of the plan is, so that both can
// happen at once.
type Prepared struct {
	namespaces uintptr
	beginning  Beginning
	done       chan struct{}
	embryo     *embryo
	encoder    *encoder
	process    *Process
	err        error
	once       sync.Once
}

// Prepare makes the first process of a sandbox with these namespaces (CLONE_NEW* flags) and streams, and
// lets it walk what likely returns, before its plan is known. Start takes it by Options.Prepared, where
// the plan begins in just this way; who does not need it any more calls Discard.
func Prepare(namespaces uintptr, likely func() (Beginning, error), stdin, stdout, stderr *os.File) *Prepared {
	p := &Prepared{namespaces: namespaces, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		o := Options{Stdin: stdin, Stdout: stdout, Stderr: stderr}
		if p.embryo, p.err = newEmbryo(namespaces, modeInit, o, nil, minArena); p.err == nil {
			p.err = p.begin(likely)
		}
	}()
	return p
}

// begin gives the first process its beginning and its id maps.
func (p *Prepared) begin(likely func() (Beginning, error)) (err error) {
	if p.beginning, err = likely(); err != nil {
		return err
	}
	if p.encoder, err = newEncoder(p.embryo.arena, ownSlots, ownNumbers); err != nil {
		return err
	}
	if err := p.encoder.encode(partBeginning, p.beginning.Steps); err != nil {
		return err
	}
	p.process = newProcess(p.embryo, p.encoder)
	if err := p.process.OpenBarrier(); err != nil {
		return err
	}
	if err := p.beginning.Maps.write(p.embryo.pid); err != nil {
		return p.process.reason(err)
	}
	if err := p.process.OpenBarrier(); err != nil {
		return err
	}
	if p.beginning.Sends != "" {
		_, err = p.process.Await(p.beginning.Sends)
	}
	return err
}

// PID waits until the process is prepared, and gives its number; 0 where there is none.
func (p *Prepared) PID() int {
	<-p.done
	if p.err != nil {
		return 0
	}
	return p.embryo.pid
}

// fits tells whether a plan begins as the prepared process did. It waits until that is known.
func (p *Prepared) fits(plan *Plan, o *Options) bool {
	if p.namespaces != plan.Namespaces || len(o.Inputs) > 0 || len(o.Join) > 0 {
		return false
	}
	<-p.done
	own := p.beginning.Steps
	return p.encoder != nil && p.beginning.Maps.equal(&o.Maps) && len(plan.Init) >= len(own) &&
		slices.EqualFunc(own, plan.Init[:len(own)], Step.equal)
}

// take hands the process over, once.
func (p *Prepared) take() (process *Process, err error) {
	p.once.Do(func() {
		<-p.done
		if p.err == nil {
			process = p.process
		} else if err = p.err; p.embryo != nil {
			p.embryo.discard()
		}
	})
	return process, err
}

// Discard ends what Prepare made, unless Start has taken it.
func (p *Prepared) Discard() {
	if process, _ := p.take(); process != nil {
		process.abandon()
	}
}

// equal tells whether two steps do the same.
func (s Step) equal(t Step) bool {
	return s.Do == t.Do && s.call == t.call && s.out == t.out && s.notice == t.notice &&
		slices.Equal(s.tolerate, t.tolerate) && slices.EqualFunc(s.args, t.args, Arg.equal) &&
		(s.when == t.when || s.when != nil && t.when != nil && *s.when == *t.when)
}

func (a Arg) equal(b Arg) bool {
	if a.kind != b.kind || a.num != b.num || a.str != b.str {
		return false
	}
	if a.more == b.more || a.more == nil || b.more == nil {
		return a.more == b.more
	}
	return slices.EqualFunc(a.more.words, b.more.words, Arg.equal) && slices.Equal(a.more.list, b.more.list)
}

// equal tells whether two maps give the same ids.
func (m *Maps) equal(n *Maps) bool {
	return slices.Equal(m.UID, n.UID) && slices.Equal(m.GID, n.GID) && m.UIDHelper == n.UIDHelper &&
		m.GIDHelper == n.GIDHelper && m.DenySetgroups == n.DenySetgroups
}
