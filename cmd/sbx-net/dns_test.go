package main

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sbx/slirp"
)

func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func restrictedResolver(t testing.TB, rules ...slirp.Rule) *resolver {
	p, err := newPolicy(&slirp.Setup{Restricted: true, Allow: rules})
	if err != nil {
		t.Fatal(err)
	}
	return newResolver(p, "", func() {})
}

func TestNamesThatAreNotAllowedDoNotExist(t *testing.T) {
	r := restrictedResolver(t, slirp.Rule{Name: "a.test"}, slirp.Rule{Name: "b.test", Wildcard: true})
	for _, name := range []string{"x.test.", "x.a.test.", "b.test.", "a.test.x.", ".", "a\\.test."} {
		var m dnsmessage.Message
		if err := m.Unpack(r.answer(query(t, name, dnsmessage.TypeA), false)); err != nil || m.RCode != dnsmessage.RCodeNameError || m.ID != 7 {
			t.Errorf("%s: %v, %v", name, m.RCode, err)
		}
	}
	// Of those that are allowed, what brings no address is empty, and nobody is asked.
	for _, kind := range []dnsmessage.Type{typeHTTPS, typeSVCB, dnsmessage.TypeTXT, dnsmessage.TypeALL, 10} {
		var m dnsmessage.Message
		if err := m.Unpack(r.answer(query(t, "A.test.", kind), false)); err != nil || m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) > 0 {
			t.Errorf("type %v: %v, %v", kind, m, err)
		}
	}
}

// FuzzQuestion: whatever a payload asks, the answer is a message of DNS with its number, and short.
func FuzzQuestion(f *testing.F) {
	r := restrictedResolver(f, slirp.Rule{Name: "b.test", Wildcard: true})
	f.Add(query(f, "x.test.", dnsmessage.TypeA))
	f.Add([]byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, _, err := readQuestion(data); err == nil {
			if allowed, _ := r.policy.resolves(q.name); q.ok && allowed {
				return // it would be asked for outside
			}
		}
		answer := r.answer(data, false)
		if len(data) < 12 {
			return
		}
		var p dnsmessage.Parser
		h, err := p.Start(answer)
		if err != nil || !h.Response || h.ID != uint16(data[0])<<8|uint16(data[1]) || len(answer) > roomySize {
			t.Errorf("answer %q: %v", answer, err)
		}
	})
}

// FuzzAnswer: whatever a name server says, what is taken of it is of the type that was asked for.
func FuzzAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("a.test.")
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{1, 2, 3, 4}}}}}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _, err := readAnswer(data, dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
		for _, a := range list {
			if err != nil || !a.address.Is4() {
				t.Errorf("got %v, %v", a, err)
			}
		}
	})
}

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"198.51.100.10": true, "2001:db8::10": true, "8.0.0.1": true, "10.77.0.5": false, "127.0.0.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "192.168.1.1": false, "172.16.0.1": false, "100.64.0.1": false,
		"::1": false, "::": false, "fd77::5": false, "fe80::1": false, "ff02::1": false, "::10.0.0.1": false, "64:ff9b::a00:1": false,
		"2002:a00:1::": false, "10.0.2.2": false, "fd00::2": false, "198.18.0.1": false, "240.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if restrictedResolver(t).policy.answers(netip.MustParseAddr("::ffff:10.0.0.1"), false) {
		t.Error("an IPv4 address in its IPv6 form passes")
	}
}

func TestOpenings(t *testing.T) {
	p, err := newPolicy(&slirp.Setup{Restricted: true, Allow: []slirp.Rule{
		{Name: "a.test"}, {Name: "b.test", Port: 5432}, {Name: "c.test", Port: 123, UDP: true}, {Prefix: "203.0.113.0/24", Port: 22}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p.now = func() time.Time { return now }
	one, two := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	p.open("a.test", one, time.Second)
	p.open("b.test", one, time.Hour)
	p.open("c.test", two, 0)
	check := func(to string, udp, want bool) {
		t.Helper()
		if v := p.decide(netip.MustParseAddrPort(to), udp); v.allowed != want {
			t.Errorf("%s: %+v", to, v)
		}
	}
	check("198.51.100.1:443", false, true)
	check("198.51.100.1:80", false, true)
	check("198.51.100.1:443", true, false)
	check("198.51.100.1:22", false, false)
	check("198.51.100.1:5432", false, true)
	check("198.51.100.2:123", true, true)
	check("198.51.100.2:123", false, false)
	check("203.0.113.9:22", false, true)
	check("203.0.113.9:443", false, false)
	now = now.Add(59 * time.Second) // a short time to live counts a minute
	check("198.51.100.1:443", false, true)
	now = now.Add(2 * time.Second)
	check("198.51.100.1:443", false, false)
	check("198.51.100.1:5432", false, true)
	for i := range 2 * maxOpened { // the table is bounded
		p.open("a.test", netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)}), 0)
	}
	if len(p.opened) > maxOpened {
		t.Errorf("%d addresses are remembered", len(p.opened))
	}
}
