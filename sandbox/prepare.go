package sandbox

import (
	"os/signal"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// Prepared is what can begin before it is known what sandbox it is to be.
type Prepared struct {
	first   *userns.Prepared
	signals *caller
	network chan preparedNetwork // gives one; nil: none is begun
}

// preparedNetwork is a program that is started already, for a network that is likely.
type preparedNetwork struct {
	builtin *slirp.Builtin // nil: none
	helper  *slirp.Helper  // nil: none
	pid     int            // the process that the helper serves
}

func (n preparedNetwork) end() {
	n.builtin.End()
	n.helper.End()
}

// Prepare begins to make the usual sandbox, and to catch signals, while the caller still finds out the rest: one on the
// host's root for the caller's own user or, onImage, one on layers for root. network is the likely one: none, on, slirp
// or builtin. Start takes it, or makes another sandbox anew.
func Prepare(streams Streams, onImage bool, network profiles.NetMode) *Prepared {
	likely := likelyBeginning
	if onImage {
		likely = likelyOnImage
	}
	usual := &Spec{Network: network, Level: Level{Name: profiles.LevelFull, Require: profiles.LevelNone}}
	p := &Prepared{
		first: userns.Prepare(namespaces(usual), func() (userns.Beginning, error) { return likely(usual) },
			streams.Stdin, streams.Stdout, streams.Stderr),
		signals: catchSignals(),
	}
	if network != profiles.NetNone {
		p.network = make(chan preparedNetwork, 1)
		go func() { p.network <- p.startNetwork(network, usual) }()
	}
	return p
}

// startNetwork starts the program of the network that is likely: sbx-net, which waits for its device, at once, and
// slirp4netns once there is the process that it serves. Where one does not start, who really wants one tries again, and
// is told why.
func (p *Prepared) startNetwork(likely profiles.NetMode, usual *Spec) (n preparedNetwork) {
	if likely != profiles.NetBuiltin {
		if n.pid = p.first.PID(); n.pid == 0 {
			return n
		}
		likely = usual.Network
	}
	switch likely {
	case profiles.NetBuiltin:
		if path, err := besideSbx("sbx-net"); err == nil {
			n.builtin, _ = slirp.StartBuiltin(path)
		}
	case profiles.NetSlirp:
		if path, err := host.FindHelper(helpers[likely]); err == nil {
			n.helper, _ = slirp.StartSlirp(path, n.pid, usual.mapsRoot())
		}
	}
	return n
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
	return usual.beginning(), nil
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
	return usual.beginning(), nil
}

// beginning is that of the usual sandbox's plan, once its ids and its root are known.
func (s *Spec) beginning() userns.Beginning {
	if s.Network == profiles.NetOn {
		s.Network = s.driver("")
	}
	first, _ := s.Root.Steps()
	b := userns.Beginning{Steps: beginning(s, first, 0), Maps: s.IDs.Maps}
	if s.Network == profiles.NetSlirp {
		b.Sends = slirp.DeviceSlot
	}
	return b
}

// takeNetwork hands over the program that is started already, if one is.
func (p *Prepared) takeNetwork() (n preparedNetwork) {
	if p == nil || p.network == nil {
		return n
	}
	n = <-p.network
	p.network = nil
	return n
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
	p.takeNetwork().end()
	if p.signals != nil {
		<-p.signals.ready
		signal.Stop(p.signals.caught)
		p.signals = nil
	}
}
