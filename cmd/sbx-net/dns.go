package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sbx/slirp"
)

// resolver is the name server of the sandbox. Behind it are the host's own. Without an allowlist it hands
// messages on as they are; with one it reads the question, asks it anew, and gives addresses alone: no bit
// of what the sandbox wrote but an allowed name leaves, and nothing of an answer but addresses comes in.
type resolver struct {
	policy  *policy
	servers atomic.Pointer[[]netip.AddrPort]
	refresh func() // asks for the host's configuration
	// byName tells whether the host's proxy is asked for a name; nil: there is none.
	byName func(name string) bool
	asked  atomic.Int64
	slots  chan struct{}
}

const (
	// maxQuestions is how many questions are under way at once.
	maxQuestions = 128
	// serverTime is how long a name server of the host's may take.
	serverTime = 3 * time.Second
	// refreshTime is how often the host's configuration is looked at.
	refreshTime = 2 * time.Second
	// plainSize and roomySize are the bytes of an answer over UDP: RFC 1035 and the common size of EDNS.
	plainSize, roomySize = 512, 1232
)

func newResolver(p *policy, resolvConf string, refresh func()) *resolver {
	r := &resolver{policy: p, refresh: refresh, slots: make(chan struct{}, maxQuestions)}
	r.configure(resolvConf)
	return r
}

// configure takes the content of a resolv.conf(5).
func (r *resolver) configure(content string) {
	servers := []netip.AddrPort{}
	for line := range strings.Lines(content) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" && len(servers) < 3 {
			if a, err := netip.ParseAddr(words[1]); err == nil {
				servers = append(servers, netip.AddrPortFrom(a, 53))
			}
		}
	}
	if len(servers) == 0 {
		servers = append(servers, netip.MustParseAddrPort("127.0.0.1:53"))
	}
	r.servers.Store(&servers)
}

// servePackets answers over UDP.
func (r *resolver) servePackets(conn net.PacketConn) {
	b := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		query := append([]byte{}, b[:n]...)
		select {
		case r.slots <- struct{}{}:
			go func() {
				defer func() { <-r.slots }()
				conn.WriteTo(r.answer(query, false), from)
			}()
		default:
			conn.WriteTo(errorAnswer(query, dnsmessage.RCodeServerFailure), from)
		}
	}
}

// serveStreams answers over TCP.
func (r *resolver) serveStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case r.slots <- struct{}{}:
			go func() {
				defer func() { <-r.slots }()
				defer c.Close()
				r.serveStream(c)
			}()
		default:
			c.Close()
		}
	}
}

func (r *resolver) serveStream(c net.Conn) {
	for range 100 {
		c.SetDeadline(time.Now().Add(2 * serverTime))
		query, err := readStream(c)
		if err != nil {
			return
		}
		answer := r.answer(query, true)               // a person may be asked meanwhile
		c.SetDeadline(time.Now().Add(2 * serverTime)) // for whoever does not read
		if writeStream(c, answer) != nil {
			return
		}
	}
}

func readStream(c io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, message)
	return message, err
}

func writeStream(c io.Writer, message []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

// answer is the answer to a message of the sandbox's; nothing where it is none.
func (r *resolver) answer(query []byte, stream bool) []byte {
	r.followHost()
	if !r.policy.restricted {
		if len(query) < 12 {
			return nil
		}
		answer, err := r.ask(query, stream)
		if err != nil {
			return errorAnswer(query, dnsmessage.RCodeServerFailure)
		}
		r.note(query, answer)
		return answer
	}
	q, room, err := readQuestion(query)
	if err != nil {
		return errorAnswer(query, dnsmessage.RCodeFormatError)
	}
	if stream {
		room = 64<<10 - 1
	}
	return r.restricted(q, room)
}

// note remembers which name led to which address where all may be reached, for the report alone.
func (r *resolver) note(query, answer []byte) {
	q, _, err := readQuestion(query)
	if err != nil || !q.ok {
		return
	}
	list, _, err := readAnswer(answer, q.Question)
	if err != nil {
		return
	}
	for _, f := range list {
		r.policy.open(q.name, f.address.Unmap(), time.Duration(f.ttl)*time.Second)
	}
}

// followHost asks for the host's configuration now and then.
func (r *resolver) followHost() {
	now, last := time.Now().UnixNano(), r.asked.Load()
	if now-last > int64(refreshTime) && r.asked.CompareAndSwap(last, now) {
		r.refresh()
	}
}

// question is what a message asks.
type question struct {
	dnsmessage.Question
	id   uint16
	name string // lower case, without the dot at the end
	ok   bool   // it is the name of a host
}

// readQuestion reads a message that asks one question, and how many bytes an answer over UDP may have.
func readQuestion(query []byte) (q question, room int, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return q, 0, err
	}
	all, err := p.AllQuestions()
	if err != nil {
		return q, 0, err
	}
	if h.Response || h.OpCode != 0 || len(all) != 1 || all[0].Class != dnsmessage.ClassINET {
		return q, 0, errNoQuestion
	}
	q = question{Question: all[0], id: h.ID}
	if q.name, q.ok = hostName(q.Name.String()); !q.ok {
		q.name = strings.TrimSuffix(q.Name.String(), ".")
	}
	return q, roomFor(&p), nil
}

// roomFor looks for EDNS in what follows the question: RFC 6891.
func roomFor(p *dnsmessage.Parser) int {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return plainSize
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return plainSize
		}
		if h.Type == dnsmessage.TypeOPT {
			return max(plainSize, min(int(h.Class), roomySize))
		}
		if p.SkipAdditional() != nil {
			return plainSize
		}
	}
}

// typeHTTPS and typeSVCB are RFC 9460's. They bring keys that hide names in TLS, and ports.
const (
	typeSVCB  = dnsmessage.Type(64)
	typeHTTPS = dnsmessage.Type(65)
)

// restricted answers under an allowlist.
func (r *resolver) restricted(q question, room int) []byte {
	allowed, private := false, false
	if q.ok {
		allowed, private = r.policy.resolves(q.name)
	}
	why := ""
	if !allowed && !r.policy.isService(q.name) {
		if allowed, why = r.policy.asksName(q.name); allowed {
			allowed, private = r.policy.resolves(q.name)
		}
	}
	switch {
	case !allowed && r.policy.isService(q.name):
		return q.reply(dnsmessage.RCodeSuccess, nil, room)
	case why == whyUndecided:
		return q.reply(dnsmessage.RCodeServerFailure, nil, room)
	case !allowed:
		r.refuseName(q, why)
		return q.reply(dnsmessage.RCodeNameError, nil, room)
	}
	if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		return q.reply(dnsmessage.RCodeSuccess, nil, room)
	}
	if q.name == slirp.HostName {
		return q.reply(dnsmessage.RCodeSuccess, r.host(q), room)
	}
	found, code, err := r.lookUp(q)
	if len(found) == 0 && r.byName != nil && r.byName(q.name) {
		return q.reply(dnsmessage.RCodeSuccess, r.standIn(q), room)
	}
	if err != nil {
		return q.reply(dnsmessage.RCodeServerFailure, nil, room)
	}
	kept := found[:0:0]
	for _, a := range found {
		if r.policy.answers(a.address, private) {
			r.policy.open(q.name, a.address, time.Duration(a.ttl)*time.Second)
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 && len(found) > 0 {
		bad := found[0].address
		r.policy.report.refuse(contactKey{name: q.name, address: bad, protocol: "dns", why: "the name leads to an address that is not public"}, bad.String())
		return q.reply(dnsmessage.RCodeNameError, nil, room)
	}
	return q.reply(code, kept, room)
}

// host answers for the host itself, which no name server is asked for.
func (r *resolver) host(q question) []found {
	if q.Type != dnsmessage.TypeA {
		return nil
	}
	r.policy.open(q.name, hostItself, minTTL)
	return []found{{hostItself, uint32(minTTL / time.Second)}}
}

// standIn answers for a name that only the host's proxy knows.
func (r *resolver) standIn(q question) []found {
	if q.Type != dnsmessage.TypeA {
		return nil
	}
	return []found{{r.policy.standIn(q.name), uint32(minTTL / time.Second)}}
}

// refuseName counts a name that is not allowed. Names of addresses are looked up by many programs without
// need: they are not told.
func (r *resolver) refuseName(q question, why string) {
	if strings.HasSuffix(q.name, ".arpa") {
		return
	}
	entry := q.name
	if !q.ok {
		entry = ""
	}
	r.policy.report.refuse(contactKey{name: q.name, protocol: "dns", why: why}, entry)
}

// found is an address of an answer.
type found struct {
	address netip.Addr
	ttl     uint32
}

// lookUp asks the host's name servers a question of our own making.
func (r *resolver) lookUp(q question) ([]found, dnsmessage.RCode, error) {
	name, err := dnsmessage.NewName(q.name + ".")
	if err != nil {
		return nil, 0, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{RecursionDesired: true})
	asked := dnsmessage.Question{Name: name, Type: q.Type, Class: dnsmessage.ClassINET}
	if err := b.StartQuestions(); err != nil {
		return nil, 0, err
	}
	if err := b.Question(asked); err != nil {
		return nil, 0, err
	}
	query, err := b.Finish()
	if err != nil {
		return nil, 0, err
	}
	answer, err := r.ask(query, false)
	if err == nil && truncated(answer) {
		answer, err = r.ask(query, true)
	}
	if err != nil {
		return nil, 0, err
	}
	return readAnswer(answer, asked)
}

func truncated(answer []byte) bool { return answer[2]&2 != 0 }

// readAnswer takes the addresses out of an answer: those of the name, and of what it is an alias of.
func readAnswer(answer []byte, asked dnsmessage.Question) ([]found, dnsmessage.RCode, error) {
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		return nil, 0, err
	}
	if m.RCode != dnsmessage.RCodeSuccess && m.RCode != dnsmessage.RCodeNameError {
		return nil, 0, errNoAnswer
	}
	names := map[string]bool{strings.ToLower(asked.Name.String()): true}
	for range 16 { // aliases may come in any order
		before := len(names)
		for _, a := range m.Answers {
			if alias, ok := a.Body.(*dnsmessage.CNAMEResource); ok && names[strings.ToLower(a.Header.Name.String())] {
				names[strings.ToLower(alias.CNAME.String())] = true
			}
		}
		if len(names) == before {
			break
		}
	}
	var list []found
	for _, a := range m.Answers {
		if len(list) == 64 || a.Header.Type != asked.Type || !names[strings.ToLower(a.Header.Name.String())] {
			continue
		}
		switch body := a.Body.(type) {
		case *dnsmessage.AResource:
			list = append(list, found{netip.AddrFrom4(body.A), a.Header.TTL})
		case *dnsmessage.AAAAResource:
			list = append(list, found{netip.AddrFrom16(body.AAAA), a.Header.TTL})
		}
	}
	return list, m.RCode, nil
}

// maxTTL bounds what a name server says, in seconds.
const maxTTL = 24 * 3600

// reply is an answer in at most room bytes. What does not fit is asked for again over TCP.
func (q *question) reply(code dnsmessage.RCode, list []found, room int) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: code},
		Questions: []dnsmessage.Question{q.Question},
	}
	for _, f := range list {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: min(f.ttl, maxTTL)}
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: f.address.As4()}})
		} else {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: f.address.As16()}})
		}
	}
	answer, err := m.Pack()
	if err == nil && len(answer) > room {
		m.Answers, m.Truncated = nil, true
		answer, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return answer
}

// errorAnswer is the head of a message with an error in it.
func errorAnswer(query []byte, code dnsmessage.RCode) []byte {
	if len(query) < 12 {
		return nil
	}
	answer := make([]byte, 12)
	copy(answer, query[:2])
	answer[2], answer[3] = 0x80|query[2]&0x79, 0x80|byte(code)
	return answer
}
