package sandbox

import (
	"os/signal"

	"sbx/fuseoverlay"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// Prepared is what can begin before it is known what sandbox it is to be.
type Prepared struct {
	first   *userns.Prepared
	signals *caller
	network chan *slirp.Builtin // gives an sbx-net that is started, or nil; nil: none is
}

// Prepare begins to make the usual sandbox, without a network, and to catch signals, while the caller still
// finds out the rest: one on the host's root for the caller's own user or, onImage, one on layers for root.
// Start takes it, or makes another sandbox anew.
func Prepare(streams Streams, onImage bool) *Prepared {
	likely := likelyBeginning
	if onImage {
		likely = likelyOnImage
	}
	usual := &Spec{Network: profiles.NetNone, Level: Level{Name: profiles.LevelFull, Require: profiles.LevelNone}}
	return &Prepared{
		first: userns.Prepare(namespaces(usual), func() (userns.Beginning, error) { return likely(usual) },
			streams.Stdin, streams.Stdout, streams.Stderr),
		signals: catchSignals(),
	}
}

// likelyBeginning is how the plan of the usual sandbox begins.
func likelyBeginning(usual *Spec) (userns.Beginning, error) {
	account, err := Caller()
	if err != nil {
		return userns.Beginning{}, err
	}
	if err := resolveIDs(usual, account, profiles.User{Kind: profiles.UserMe}, profiles.GroupsDrop); err != nil {
		return userns.Beginning{}, err
	}
	if err := firstEntries(usual, homeInside(usual, account), account, "").finish(usual, account); err != nil {
		return userns.Beginning{}, err
	}
	first, _ := usual.Root.Steps()
	return userns.Beginning{Steps: beginning(usual, first, 0), Maps: usual.IDs.Maps}, nil
}

// likelyOnImage is how the plan of the usual sandbox on an image begins.
func likelyOnImage(usual *Spec) (userns.Beginning, error) {
	account, err := Caller()
	if err != nil {
		return userns.Beginning{}, err
	}
	if err := resolveIDs(usual, account, profiles.User{Kind: profiles.UserRoot}, profiles.GroupsDrop); err != nil {
		return userns.Beginning{}, err
	}
	usual.Root = fuseoverlay.Root{Size: memoryShare(), Inodes: filesInMemory(), Overlay: &fuseoverlay.Overlay{}}
	first, _ := usual.Root.Steps()
	return userns.Beginning{Steps: beginning(usual, first, 0), Maps: usual.IDs.Maps}, nil
}

// PrepareNetwork begins to start sbx-net, for a sandbox that will want it, as it looks. Where it does not start,
// who really wants one tries again, and is told why.
func (p *Prepared) PrepareNetwork() {
	p.network = make(chan *slirp.Builtin, 1)
	go func() {
		var started *slirp.Builtin
		if path, err := besideSbx("sbx-net"); err == nil {
			started, _ = slirp.StartBuiltin(path)
		}
		p.network <- started
	}()
}

// takeNetwork hands over the sbx-net that is started already; nil where none is.
func (p *Prepared) takeNetwork() *slirp.Builtin {
	if p == nil || p.network == nil {
		return nil
	}
	started := <-p.network
	p.network = nil
	return started
}

// takeSignals hands over what the caller sends, once it is caught.
func (p *Prepared) takeSignals() *caller {
	taken := p.signals
	<-taken.ready
	p.signals = nil
	return taken
}

// Discard ends what Prepare began, unless Start has taken it. Nobody else may reap the process: in a
// container, PID 1 is often no init.
func (p *Prepared) Discard() {
	if p == nil {
		return
	}
	p.first.Discard()
	p.takeNetwork().End()
	if p.signals != nil {
		<-p.signals.ready
		signal.Stop(p.signals.caught)
		p.signals = nil
	}
}
