package profiles

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseNetMode reads a network mode.
func parseNetMode(s string) (NetMode, error) {
	words := []string{"none", "on", "slirp", "pasta", "builtin", "host"}
	for _, w := range words {
		if s == w {
			return NetMode(w), nil
		}
	}
	if name, ok := strings.CutPrefix(s, "join:"); ok {
		if !isName(name) {
			return "", faultf(nameHint, "no name of a sandbox to join: %q", name)
		}
		return NetMode(s), nil
	}
	return "", faultf(didYouMean(s, append(words, "join:NAME")), "no such value %q", s)
}

const ruleHint = `write it as in "example.org:443", "*.example.net", "10.1.0.0/16:5432", "ntp.example.org:123/udp" or "@npm"`

// ParseRule reads an entry of `allow`.
func ParseRule(s string) (Rule, error) {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		if !isName(name) || strings.ToLower(name) != name {
			return Rule{}, faultf(ruleHint, "no name of a service: %q", s)
		}
		return Rule{Service: name}, nil
	}
	if strings.Contains(s, "://") {
		return Rule{}, faultf("write the host alone, without "+s[:strings.Index(s, "://")+3], "an address to allow is no URL: %q", s)
	}
	rest, udp := strings.CutSuffix(s, "/udp")
	r, err := parseTarget(rest)
	if err != nil {
		return Rule{}, err
	}
	r.UDP = udp
	return r, nil
}

func parseTarget(s string) (Rule, error) {
	if a, err := netip.ParseAddr(s); err == nil { // first, for an IPv6 address ends like a port
		return addressRule(s, a)
	}
	host, port, err := splitPort(s)
	if err != nil {
		return Rule{}, err
	}
	r, err := parseHostOrPrefix(host)
	r.Port = port
	return r, err
}

func addressRule(s string, a netip.Addr) (Rule, error) {
	if a.Zone() != "" {
		return Rule{}, faultf(ruleHint, "an address with a zone: %q", s)
	}
	return Rule{Prefix: netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}, nil
}

// splitPort cuts a port off the end: of HOST, of an address in brackets, and
// of a CIDR, whose own colons end before the slash.
func splitPort(s string) (string, uint16, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i < strings.LastIndexByte(s, '/') || i < strings.LastIndexByte(s, ']') {
		return unbracket(s), 0, nil
	}
	port, err := parsePortNumber(s[i+1:])
	if err != nil {
		return "", 0, faultf(ruleHint, "no such port %q", s[i+1:])
	}
	return unbracket(s[:i]), port, nil
}

func unbracket(s string) string {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return s[1 : len(s)-1]
	}
	return s
}

func parsePortNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint16(n), err
}

func parseHostOrPrefix(host string) (Rule, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return addressRule(host, a)
	}
	if strings.Contains(host, "/") {
		return parsePrefix(host)
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if err := checkHost(name, host); err != nil {
		return Rule{}, err
	}
	return Rule{Name: name, Wildcard: wildcard}, nil
}

func parsePrefix(s string) (Rule, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Rule{}, faultf(ruleHint, "no such range of addresses %q", s)
	}
	if p != p.Masked() {
		return Rule{}, faultf("write "+strconv.Quote(p.Masked().String()), "the range %q has bits behind its length", s)
	}
	return Rule{Prefix: p}, nil
}

func checkHost(name, wrote string) error {
	if name == "*" || name == "" {
		return faultf("leave `allow` out to allow every host", "no name of a host: %q", wrote)
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !isLabel(l) {
			return faultf(hostHint(name), "no name of a host: %q", wrote)
		}
	}
	// What looks like an address and is none (1.2.3) some resolvers take for one.
	if last := labels[len(labels)-1]; len(name) > 253 || strings.Trim(last, "0123456789") == "" {
		return faultf(ruleHint, "neither a name of a host nor an address: %q", wrote)
	}
	return nil
}

func hostHint(name string) string {
	switch {
	case strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f }):
		return "write it in its ASCII form, xn--..."
	case strings.Contains(name, "*"):
		return `a * may only stand for the first part, as in "*.example.net"`
	}
	return ruleHint
}

func isLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	return strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

const portHint = `write it as HOST:INSIDE, as in "3000:3000", "127.0.0.1:8080:80" or "5353:53/udp"`

// ParsePort reads [IP:]HOST:INSIDE[/udp].
func ParsePort(s string) (Port, error) {
	rest, udp := strings.CutSuffix(s, "/udp")
	head, inside, ok := cutLast(rest)
	if !ok {
		return Port{}, faultf(portHint, "no such ports %q", s)
	}
	p := Port{UDP: udp}
	if ip, host, ok := cutLast(head); ok {
		a, err := netip.ParseAddr(unbracket(ip))
		if err != nil || a.Zone() != "" || a.Is6() != strings.HasPrefix(ip, "[") {
			return Port{}, faultf(portHint, "no such address %q", ip)
		}
		p.IP, head = a, host
	}
	var err1, err2 error
	p.Host, err1 = parsePortNumber(head)
	p.Inside, err2 = parsePortNumber(inside)
	if err1 != nil || err2 != nil {
		return Port{}, faultf(portHint, "a port is a number from 1 to 65535: %q", s)
	}
	return p, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// covers reports whether everything that o allows r allows too. Names and
// addresses never cover each other: what a name resolves to is not known here.
func (r Rule) covers(o Rule) bool {
	if r.Service != "" || o.Service != "" {
		return r == o
	}
	if r.UDP != o.UDP || r.Port != o.Port {
		return false
	}
	if r.Prefix.IsValid() || o.Prefix.IsValid() {
		return r.Prefix.IsValid() && o.Prefix.IsValid() &&
			r.Prefix.Bits() <= o.Prefix.Bits() && r.Prefix.Contains(o.Prefix.Addr())
	}
	if r.Wildcard {
		return o.Wildcard && o.Name == r.Name || strings.HasSuffix(o.Name, "."+r.Name)
	}
	return !o.Wildcard && r.Name == o.Name
}

// hostName is the host itself, with its loopback.
const hostName = "host.sbx.internal"

// public reports whether a network without an allowlist reaches the target
// anyway: private and link-local addresses need a rule that names them.
func (r Rule) public() bool {
	if !r.Prefix.IsValid() {
		return r.Name != hostName
	}
	a := r.Prefix.Addr()
	return r.Prefix.IsSingleIP() && a.IsGlobalUnicast() && !a.IsPrivate()
}

// String is the rule as a profile writes it.
func (r Rule) String() string {
	s := "@" + r.Service
	switch {
	case r.Prefix.IsValid() && r.Prefix.IsSingleIP():
		s = r.Prefix.Addr().String()
		if r.Prefix.Addr().Is6() && r.Port != 0 {
			s = "[" + s + "]"
		}
	case r.Prefix.IsValid():
		s = r.Prefix.String()
	case r.Wildcard:
		s = "*." + r.Name
	case r.Name != "":
		s = r.Name
	}
	if r.Port != 0 {
		s += ":" + strconv.Itoa(int(r.Port))
	}
	if r.UDP {
		s += "/udp"
	}
	return s
}

// String is the port as a profile writes it.
func (p Port) String() string {
	s := strconv.Itoa(int(p.Host)) + ":" + strconv.Itoa(int(p.Inside))
	if p.IP.Is6() {
		s = "[" + p.IP.String() + "]:" + s
	} else if p.IP.IsValid() {
		s = p.IP.String() + ":" + s
	}
	if p.UDP {
		s += "/udp"
	}
	return s
}
