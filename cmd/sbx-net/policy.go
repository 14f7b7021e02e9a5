package main

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sbx/slirp"
)

// policy decides what the sandbox reaches. Names are allowed by rules; addresses by rules, or because the
// resolver answered with them for an allowed name a while ago.
type policy struct {
	restricted bool
	rules      atomic.Pointer[rules]
	ask        *asker // nil: nobody is asked

	mutex  sync.Mutex
	opened map[netip.Addr][]opening
	// standFor are the addresses of names that only the host's proxy can look up.
	standFor    map[string]netip.Addr
	lastStandIn int
	report      report
	now         func() time.Time
}

// rules are what is allowed, never changed: what is allowed later makes new ones.
type rules struct {
	names    []slirp.Rule
	prefixes []prefixRule
}

type prefixRule struct {
	prefix netip.Prefix
	port   uint16
	udp    bool
}

// opening is an address that the resolver gave for a name.
type opening struct {
	name  string
	until time.Time
}

// minTTL is how long an answer opens its address at least: programs look a name up once and connect
// again and again.
const minTTL = 60 * time.Second

// maxOpened bounds the addresses that are remembered. Those that close first make room.
const maxOpened = 4096

func newPolicy(s *slirp.Setup) (*policy, error) {
	p := &policy{restricted: s.Restricted, opened: map[netip.Addr][]opening{}, standFor: map[string]netip.Addr{}, now: time.Now, report: report{advise: s.Restricted}}
	all := &rules{}
	for _, r := range s.Allow {
		if err := all.add(r); err != nil {
			return nil, err
		}
	}
	p.rules.Store(all)
	return p, nil
}

func (l *rules) add(r slirp.Rule) error {
	if r.Prefix == "" {
		l.names = append(l.names, r)
		return nil
	}
	prefix, err := netip.ParsePrefix(r.Prefix)
	if err == nil {
		l.prefixes = append(l.prefixes, prefixRule{prefix, r.Port, r.UDP})
	}
	return err
}

// grant adds a rule that somebody was asked for.
func (p *policy) grant(entry string, r slirp.Rule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	before := p.rules.Load()
	all := &rules{slices.Clone(before.names), slices.Clone(before.prefixes)}
	if all.add(r) == nil {
		p.rules.Store(all)
		p.report.allow(entry)
	}
}

// covers tells whether a rule with this port covers port; 0 stands for 443 and 80.
func covers(rule, port uint16) bool {
	if rule == 0 {
		return port == 443 || port == 80
	}
	return rule == port
}

// matches tells whether a rule means a name. The host itself is meant by no wildcard.
func matches(r *slirp.Rule, name string) bool {
	if r.Wildcard {
		return name != slirp.HostName && strings.HasSuffix(name, "."+r.Name)
	}
	return r.Name == name
}

// resolves tells whether a name may be looked up, and whether it may lead to private addresses.
func (p *policy) resolves(name string) (allowed, private bool) {
	if !p.restricted {
		return true, true
	}
	names := p.rules.Load().names
	for i := range names {
		if matches(&names[i], name) {
			allowed, private = true, private || names[i].Private
		}
	}
	return allowed, private
}

// isService tells whether a name is one of RFC 2782, such as _http._tcp.NAME, below a name that is allowed.
// Tools ask for these on the way, and go on without.
func (p *policy) isService(name string) bool {
	for strings.HasPrefix(name, "_") {
		_, name, _ = strings.Cut(name, ".")
		if allowed, _ := p.resolves(name); allowed {
			return true
		}
	}
	return false
}

// reaches tells whether a name may be reached at a port.
func (p *policy) reaches(name string, port uint16, udp bool) bool {
	names := p.rules.Load().names
	for i := range names {
		r := &names[i]
		if r.UDP == udp && covers(r.Port, port) && matches(r, name) {
			return true
		}
	}
	return false
}

// verdict is what becomes of a connection.
type verdict struct {
	allowed bool
	// names are those for which the address is open; empty where a range of addresses is what allows it.
	names []string
	why   string
}

// nameFor is a name that led to the address of a connection, for the report: the first for which it is open,
// else one that was looked up.
func (p *policy) nameFor(v verdict, address netip.Addr) string {
	names := v.names
	if len(names) == 0 {
		names = p.openFor(address.Unmap())
	}
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// decide judges a connection to an address.
func (p *policy) decide(dst netip.AddrPort, udp bool) verdict {
	address := dst.Addr().Unmap()
	for _, r := range p.rules.Load().prefixes {
		if r.udp == udp && r.prefix.Contains(address) && covers(r.port, dst.Port()) {
			return verdict{allowed: true}
		}
	}
	switch {
	case udp && standIns.Contains(address):
		return verdict{why: "the host's proxy passes TCP on alone"}
	case !p.restricted && local(address):
		return verdict{why: "an address of the host's own or of its link"}
	case !p.restricted:
		return verdict{allowed: true}
	}
	names := p.openFor(address)
	open := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !p.reaches(n, dst.Port(), udp) })
	switch {
	case len(open) > 0:
		return verdict{allowed: true, names: open}
	case len(names) > 0:
		return verdict{names: names, why: "the name is allowed, the port is not"}
	}
	return verdict{why: "no allowed name leads there"}
}

// open remembers that a name leads to an address for a time.
func (p *policy) open(name string, address netip.Addr, ttl time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	until := p.now().Add(max(ttl, minTTL))
	list := p.opened[address]
	for i := range list {
		if list[i].name == name {
			list[i].until = later(list[i].until, until)
			return
		}
	}
	if list == nil && len(p.opened) >= maxOpened {
		p.makeRoom()
	}
	if len(list) < 64 { // one address of that many allowed names is enough to know
		p.opened[address] = append(list, opening{name, until})
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// makeRoom forgets what is closed, or else the address that closes first.
func (p *policy) makeRoom() {
	var first netip.Addr
	var when time.Time
	now := p.now()
	for address, list := range p.opened {
		last := time.Time{}
		for _, o := range list {
			last = later(last, o.until)
		}
		if last.Before(now) {
			delete(p.opened, address)
			continue
		}
		if when.IsZero() || last.Before(when) {
			first, when = address, last
		}
	}
	if len(p.opened) >= maxOpened {
		delete(p.opened, first)
	}
}

// openFor are the names for which an address is open now.
func (p *policy) openFor(address netip.Addr) (names []string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	now := p.now()
	for _, o := range p.opened[address] {
		if o.until.After(now) {
			names = append(names, o.name)
		}
	}
	return names
}

// answers tells whether the resolver may give an address for a name: a public one, or one of a range that
// a rule names. Else a name server of somebody hostile would lead an allowed name to the local network.
func (p *policy) answers(address netip.Addr, private bool) bool {
	address = address.Unmap()
	if public(address) || private && !unspeakable(address) {
		return true
	}
	for _, r := range p.rules.Load().prefixes {
		if r.prefix.Contains(address) {
			return true
		}
	}
	return false
}

// local are the addresses that a sandbox without an allowlist does not reach: the host itself, its link
// (where clouds have their metadata) and everybody at once.
func local(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || unspeakable(a) || reserved4.Contains(a) || own(a)
}

// unspeakable are no addresses of anybody.
func unspeakable(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || thisNetwork.Contains(a)
}

// hostItself is where the loopback of the host is reached, under its name.
var hostItself = netip.MustParseAddr(slirp.GatewayIPv4)

// onHost tells whether a connection, open for these names, is one to the host itself.
func onHost(dst netip.AddrPort, names ...string) bool {
	return dst.Addr() == hostItself && slices.Contains(names, slirp.HostName)
}

// own are the addresses of the built-in network.
func own(a netip.Addr) bool { return ownIPv4.Contains(a) || ownIPv6.Contains(a) }

var (
	ownIPv4     = netip.MustParsePrefix(slirp.SandboxIPv4).Masked()
	ownIPv6     = netip.MustParsePrefix(slirp.SandboxIPv6).Masked()
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved4   = netip.MustParsePrefix("240.0.0.0/4")
)

// notPublic are the ranges that IANA's registries of special-purpose addresses call not globally reachable,
// beyond what netip knows, and those in which an IPv4 address is hidden.
var notPublic = []netip.Prefix{
	thisNetwork, reserved4,
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' own
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("64:ff9b::/96"),  // IPv4 by NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"), // IPv4 by 6to4
	netip.MustParsePrefix("2001::/32"), // IPv4 by Teredo
	netip.MustParsePrefix("::/96"),     // IPv4-compatible
	netip.MustParsePrefix("fec0::/10"), // site-local, as it was
}

// public tells whether an address is one of the Internet at large.
func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || own(a) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
