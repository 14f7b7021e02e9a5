package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/profiles"
	"sbx/slirp"
	"sbx/userns"
)

// TunError is a /dev/net/tun that cannot be opened, which every network of a sandbox's own needs.
type TunError struct{ Errno unix.Errno }

func (e *TunError) Error() string {
	return "making a network of the sandbox's own: opening " + tunDevice + ": " + e.Errno.Error()
}

func (e *TunError) Unwrap() error { return e.Errno }

const tunDevice = "/dev/net/tun"

// helpers are the programs of the host that serve a network.
var helpers = map[profiles.NetMode]string{profiles.NetSlirp: "slirp4netns", profiles.NetPasta: "pasta"}

// NoBuiltinError is an sbx-net that is not beside sbx.
type NoBuiltinError struct{ Folder string }

func (e *NoBuiltinError) Error() string {
	return "looking for sbx-net, the program of built-in networks: it is not in " + e.Folder + ", beside sbx"
}

// Egress is what a network of the sandbox's own may reach.
type Egress struct {
	// Unused says that the profile has a list and no network.
	Unused bool `json:"unused,omitempty"`
	// Restricted says that Allow is all that is reached.
	Restricted bool     `json:"restricted"`
	Allow      []string `json:"allow,omitempty"`
	// Ask says that whoever sits at the terminal is asked for all else.
	Ask bool `json:"ask,omitempty"`

	// Certificates are files that variables of the caller's name, shown and passed.
	Certificates []string `json:"certificates,omitempty"`
	// Proxy is the host's own, through which is reached what is reached; without credentials.
	Proxy string `json:"proxy,omitempty"`

	rules   []slirp.Rule
	proxies *slirp.Proxies
	// set are variables that give tools their addresses.
	set map[string]string
}

// ruleWords is a rule as a profile would say it.
func ruleWords(r slirp.Rule) string {
	host := cmp.Or(r.Name, strings.TrimSuffix(strings.TrimSuffix(r.Prefix, "/32"), "/128"))
	return host + ":" + strconv.Itoa(int(r.Port))
}

// resolveNetwork finds out which program serves the network, if one does, and what may be reached by it. A
// network that nobody asked for is left out where this machine cannot have it, which is said.
func resolveNetwork(s *Spec, r *Request) error {
	open := byDefault(r.Loaded.Profile.Network.Mode.From)
	unasked := r.Shell && r.onImage() && open
	if r.Published && open && !unasked {
		s.Network = profiles.NetOn
		s.Grants = append(s.Grants, Grant{"network.mode", `a network, "on"`, "--publish"})
	}
	if err := s.resolvePorts(r.Loaded.Profile.Network.Ports.Values()); err != nil {
		return err
	}
	if !unasked {
		return findNetwork(s, r)
	}
	s.Network = profiles.NetOn
	err := findNetwork(s, r)
	var noTun *TunError
	var noProgram *NoBuiltinError
	if errors.As(err, &noTun) || errors.As(err, &noProgram) {
		s.Network, s.NetProgram, s.Egress = profiles.NetNone, "", Egress{set: s.Egress.set}
		s.Level.Warnings = append(s.Level.Warnings, "this shell has no network: "+err.Error())
		return nil
	}
	return err
}

// resolvePorts finds the addresses of published ports: the loopback where none is given.
func (s *Spec) resolvePorts(list []profiles.Port) error {
	switch {
	case len(list) == 0:
		return nil
	case s.Network == profiles.NetHost:
		return &UsageError{"with the host's own network no port needs to be published: what listens inside listens on the host", "leave the ports out, or pass --net on"}
	case s.Network.Joins() != "":
		name := s.Network.Joins()
		return &UsageError{"the ports of a network that is joined are published by the sandbox that it is of", "sbx port " + name + " add " + list[0].String()}
	}
	for _, p := range list {
		port := hostPort(p)
		if slices.Contains(s.Ports, port) {
			continue
		}
		s.Ports = append(s.Ports, port)
		if port.Wide() {
			s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf("port %s leads into the sandbox for everybody who reaches this machine", port))
		}
	}
	return nil
}

func hostPort(p profiles.Port) slirp.Port {
	ip := p.IP
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return slirp.Port{IP: ip.Unmap(), Host: p.Host, Inside: p.Inside, UDP: p.UDP}
}

func findNetwork(s *Spec, r *Request) error {
	p, driver := &r.Loaded.Profile.Network, r.Loaded.Config.Network.Driver.V
	f := &finder{environ: environment(r.Environ), home: r.Account.Home, ask: askInside, set: map[string]string{}}
	if s.Project.Access != profiles.AccessNone {
		f.project = s.Project.Dir
	}
	if err := s.resolveEgress(p, f, r.Ask); err != nil {
		return err
	}
	if s.Network == profiles.NetOn {
		s.Network = s.driver(driver)
	}
	switch {
	case s.Service() != "npm" || f.environ[npmRetries] != "":
	case s.Network == profiles.NetNone:
		f.set[npmRetries] = "0" // it would try for more than a minute
	case s.Egress.Restricted && !r.Ask && !slices.ContainsFunc(p.Allow.Values(), func(rule profiles.Rule) bool { return rule.Service == "npm" }):
		f.quickRefusal(s.Egress.rules)
	}
	if s.Network != profiles.NetNone {
		s.Egress.findCertificates(f)
	}
	if s.Network != profiles.NetBuiltin && helpers[s.Network] == "" {
		return nil // none, the host's, or another sandbox's
	}
	if err := unix.Access(tunDevice, unix.R_OK|unix.W_OK); err != nil {
		return &TunError{err.(unix.Errno)}
	}
	var err error
	if s.Network == profiles.NetBuiltin {
		if err := s.Egress.findProxies(f); err != nil {
			return err
		}
		s.NetProgram, err = besideSbx("sbx-net")
		return err
	}
	if s.NetProgram, err = host.FindHelper(helpers[s.Network]); err != nil {
		return err
	}
	if s.Network == profiles.NetPasta && pastaNameServers() == "" {
		return &UsageError{
			Problem: "pasta does not reach this machine's name server, which is on its loopback",
			Hint:    "pass --net builtin or --net slirp",
		}
	}
	if s.Network == profiles.NetSlirp && !s.mapsRoot() {
		s.Level.Warnings = append(s.Level.Warnings, "slirp4netns runs without the file system of its own that it makes elsewhere: it needs a user 0 in the sandbox's id map")
	}
	return nil
}

// resolveEgress reads the allowlist, which only sbx-net can hold a payload to. To be asked is to have one.
func (s *Spec) resolveEgress(p *profiles.Network, f *finder, ask bool) error {
	s.Egress.set = f.set
	if ask && s.Network == profiles.NetNone {
		return &UsageError{"--ask: this sandbox has no network that could be asked for", "leave --net none out, or --ask"}
	}
	s.Egress.Ask = ask
	s.Egress.Unused = p.Allow.Set && s.Network == profiles.NetNone
	s.Egress.Restricted = (p.Allow.Set || ask) && s.Network != profiles.NetNone
	if !s.Egress.Restricted {
		return nil
	}
	switch s.Network {
	case profiles.NetOn:
		s.Network = profiles.NetBuiltin
	case profiles.NetBuiltin:
	default:
		return &UsageError{
			Problem: fmt.Sprintf("network %s cannot keep to an allowlist", s.Network),
			Hint:    "pass --net on, or leave the allowlist out",
		}
	}
	for _, rule := range p.Allow.Values() {
		if rule.Service != "" {
			rules, err := f.resolveService(rule)
			if err != nil {
				return err
			}
			s.Egress.rules = append(s.Egress.rules, rules...)
			for _, r := range rules {
				s.Egress.Allow = append(s.Egress.Allow, ruleWords(r)+" ("+rule.String()+")")
			}
			continue
		}
		r := slirp.Rule{Name: rule.Name, Wildcard: rule.Wildcard, Port: rule.Port, UDP: rule.UDP}
		if rule.Prefix.IsValid() {
			r.Prefix = rule.Prefix.String()
		}
		s.Egress.rules = append(s.Egress.rules, r)
		s.Egress.Allow = append(s.Egress.Allow, rule.String())
	}
	for _, t := range f.told {
		s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf("%s reaches %s, since the project's %s says so", t.service, t.host, t.file))
	}
	return nil
}

// findProxies reads which proxies the host reaches others through. Port 80 is HTTP_PROXY's, all other ports HTTPS_PROXY's, and ALL_PROXY is for both, as clients have it.
func (e *Egress) findProxies(f *finder) error {
	all := f.variable("ALL_PROXY", "all_proxy")
	p := slirp.Proxies{
		HTTP:  cmp.Or(f.variable("http_proxy", "HTTP_PROXY"), all),
		HTTPS: cmp.Or(f.variable("HTTPS_PROXY", "https_proxy"), all),
		None:  f.variable("NO_PROXY", "no_proxy"),
	}
	for _, address := range []string{p.HTTP, p.HTTPS} {
		if address == "" {
			continue
		}
		host, err := checkProxy(address)
		if err != nil {
			return err
		}
		e.proxies = &p
		e.Proxy = host // that of HTTPS, where they differ
	}
	return nil
}

// checkProxy is the host and port of a proxy's URL, if it is one of a kind that sbx-net speaks with.
func checkProxy(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", &UsageError{"the environment names a proxy by no URL", "unset HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or pass --net slirp"}
	}
	if u.Scheme != "http" && u.Scheme != "socks5" && u.Scheme != "socks5h" {
		return "", &UsageError{fmt.Sprintf("the host's proxy %s is of the kind %s, which sbx-net does not speak with", u.Host, u.Scheme), "http, socks5 and socks5h are there; or pass --net slirp"}
	}
	return u.Host, nil
}

// besideSbx is a program of sbx's own.
func besideSbx(name string) (string, error) {
	self, err := OwnPath()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if err := unix.Access(path, unix.X_OK); err != nil {
		return "", &NoBuiltinError{filepath.Dir(self)}
	}
	return path, nil
}

// driver is what `on` means: what the user's configuration says, else slirp4netns where it is installed and
// can confine itself, else sbx-net.
func (s *Spec) driver(configured string) profiles.NetMode {
	if configured != "" && configured != "auto" {
		return profiles.NetMode(configured)
	}
	if _, err := host.FindHelper(helpers[profiles.NetSlirp]); err != nil || !s.mapsRoot() {
		return profiles.NetBuiltin
	}
	return profiles.NetSlirp
}

// mapsRoot tells whether the sandbox's map has an id 0, of users and of groups.
func (s *Spec) mapsRoot() bool {
	uid, gid := false, false
	for _, r := range s.IDs.Maps.UID {
		uid = uid || r.Inside == 0
	}
	for _, r := range s.IDs.Maps.GID {
		gid = gid || r.Inside == 0
	}
	return uid && gid
}

// hostResolvConf is the host's configuration of its resolver; what systemd-resolved asks itself, which
// leaves out its own stub, is in the second.
const (
	hostResolvConf     = slirp.ResolvConf
	upstreamResolvConf = "/run/systemd/resolve/resolv.conf"
)

// resolvConfContent is the resolver's configuration inside.
func (s *Spec) resolvConfContent() string {
	switch s.Network {
	case profiles.NetHost:
		data, _ := os.ReadFile(hostResolvConf)
		return string(data)
	case profiles.NetNone:
		return "# no network in this sandbox\n"
	case profiles.NetPasta:
		return pastaNameServers() + resolverOptions()
	}
	if s.Egress.Ask {
		// Somebody has to read the question, and none is for a name that the search list would make.
		return "nameserver " + slirp.Resolver + "\noptions timeout:30 attempts:2\n"
	}
	return "nameserver " + slirp.Resolver + "\n" + resolverOptions()
}

// resolverOptions are the host's lines that are no name servers: resolv.conf(5).
func resolverOptions() string {
	data, _ := os.ReadFile(hostResolvConf)
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if word := strings.Fields(line + " ."); word[0] == "search" || word[0] == "domain" || word[0] == "options" {
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String()
}

// pastaNameServers are the lines of the name servers under pasta, which hands queries on to the host's
// first one, but to none on the host's loopback: then those stand in that systemd-resolved asks itself.
func pastaNameServers() string {
	if first := nameServers(hostResolvConf); len(first) > 0 && !loopback(first[0]) {
		return "nameserver " + slirp.Resolver + "\n"
	}
	lines := ""
	for _, server := range nameServers(upstreamResolvConf) {
		if !loopback(server) {
			lines += "nameserver " + server + "\n"
		}
	}
	return lines
}

func nameServers(path string) (servers []string) {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			servers = append(servers, words[1])
		}
	}
	return servers
}

func loopback(address string) bool { return strings.HasPrefix(address, "127.") || address == "::1" }

// network is the program outside that serves a running sandbox's network.
type network struct {
	helper  *slirp.Helper
	builtin *slirp.Builtin
	inside  *os.File // the sandbox's network, where slirp4netns serves it
	serves  int      // the process for which that was started ahead
	ports   *slirp.Ports
	over    chan struct{}
}

// begin starts what needs nothing of the sandbox yet.
func (n *network) begin(s *Spec, prepared *Prepared) (err error) {
	n.over = make(chan struct{})
	if n.ports, err = slirp.OpenPorts(s.Ports); err != nil {
		return err
	}
	prepare := prepared.takeNetwork()
	switch s.Network {
	case profiles.NetBuiltin:
		prepare.helper.End()
		if n.builtin = prepare.builtin; n.builtin == nil {
			n.builtin, err = slirp.StartBuiltin(s.NetProgram)
		}
	case profiles.NetSlirp:
		prepare.builtin.End()
		n.helper, n.serves = prepare.helper, prepare.pid
	default:
		prepare.end()
	}
	if err != nil {
		n.ports.Close()
	}
	return err
}

// beside is what userns.Start does beside the walk, or nil.
func (n *network) beside(s *Spec) func(p *userns.Process) error {
	switch s.Network {
	case profiles.NetBuiltin:
		return func(p *userns.Process) error {
			device, err := p.Await(slirp.DeviceSlot)
			if err != nil {
				return err
			}
			return n.builtin.HandOver(slirp.Setup{Restricted: s.Egress.Restricted, Allow: s.Egress.rules, Ask: s.Egress.Ask, Proxies: s.Egress.proxies}, device)
		}
	case profiles.NetPasta:
		return func(p *userns.Process) (err error) {
			if n.helper, err = slirp.StartPasta(s.NetProgram, p.PID); err != nil {
				return err
			}
			return n.helper.Ready()
		}
	case profiles.NetSlirp:
		return func(p *userns.Process) (err error) {
			if n.inside, err = p.Await(slirp.DeviceSlot); err != nil {
				return err
			}
			if n.helper != nil && n.serves != p.PID {
				n.helper.End()
				n.helper = nil
			}
			if n.helper == nil {
				if n.helper, err = slirp.StartSlirp(s.NetProgram, p.PID, s.mapsRoot()); err != nil {
					return err
				}
			}
			return n.helper.Ready()
		}
	}
	return nil
}

// watch says when the program ends before the sandbox does.
func (n *network) watch(notify func(string)) {
	helper := n.helper
	if n.builtin != nil {
		helper = n.builtin.Helper
	}
	if helper == nil {
		return
	}
	go func() {
		select {
		case <-helper.Ended():
			n.lost(helper, notify)
		case <-n.over:
		}
	}()
}

// lost makes an end of the network of which the program has ended, unless that is since the sandbox has.
func (n *network) lost(helper *slirp.Helper, notify func(string)) {
	select {
	case <-n.over:
		return
	default:
	}
	if n.inside != nil {
		if err := slirp.RemoveDevice(n.inside); err != nil {
			notify("connections of the sandbox hang from now on: " + err.Error())
		}
	}
	notify(fmt.Sprintf("%s has ended: the sandbox has no network any more", helper.Name()))
}

// report is what the network's program has to report so far; nil where nobody counts.
func (n *network) report() *slirp.Report { return n.builtin.Report() }

// finish ends the program, and returns what it has to report.
func (n *network) finish() *slirp.Report {
	close(n.over)
	n.ports.Close()
	n.helper.End()
	n.inside.Close()
	return n.builtin.Finish()
}

// stop ends the program of a sandbox that did not start.
func (n *network) stop() {
	n.ports.Close()
	n.helper.End()
	n.builtin.End()
	n.inside.Close()
	*n = network{}
}

// networkWords tell what the network reaches.
func (s *Spec) networkWords() string {
	if s.Join.Net {
		return "that of the sandbox " + s.Join.Name
	}
	published := ""
	for _, p := range s.Ports {
		published += "; published: " + p.String()
	}
	return s.egressWords() + published
}

func (s *Spec) egressWords() string {
	switch s.Network {
	case profiles.NetHost:
		return "the host's own, its loopback included"
	case profiles.NetNone:
		if s.Egress.Unused {
			return "none but a loopback of its own; the profile's allow has no effect under mode none"
		}
		return "none but a loopback of its own"
	}
	by := "one of its own, by " + filepath.Base(s.NetProgram)
	if s.Egress.Proxy != "" {
		by += " and the host's proxy " + s.Egress.Proxy
	}
	by += ": "
	switch {
	case s.Egress.Ask:
		return by + strings.Join(append(slices.Clone(s.Egress.Allow), "what you allow when asked"), ", ")
	case s.Egress.Restricted && len(s.Egress.Allow) == 0:
		return by + "nothing is allowed"
	case s.Egress.Restricted:
		return by + "nothing but " + strings.Join(s.Egress.Allow, ", ")
	case s.Network == profiles.NetBuiltin:
		return by + "what the host reaches, but for its loopback and link-local addresses"
	}
	return by + "what the host reaches, but for its loopback"
}
