package main

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"sbx/slirp"
)

// asker puts what no rule allows to a person, through the supervisor: once for each entry of `allow`. A nil
// asker refuses.
//
// A payload can ask for any number of destinations, and would tire whoever answers: so few questions are open
// at once, and few are put at all.
type asker struct {
	put func(*slirp.Question)

	mutex    sync.Mutex
	open     map[string]*asked // by entry
	answered map[string]slirp.Answer
	last     int
}

// asked is a question on its way. All who want to know the same wait for it.
type asked struct {
	id      int
	grant   slirp.Rule
	decided chan struct{}
}

const (
	// holdTime is how long a name or a connection waits for an answer: less than the minute for which the
	// sandbox's resolv.conf tells programs to wait. The question stays open, for those who try again.
	holdTime = 55 * time.Second
	// maxOpen is how many questions are open at once.
	maxOpen = 8
)

func newAsker(wanted bool, put func(*slirp.Question)) *asker {
	if !wanted {
		return nil
	}
	return &asker{put: put, open: map[string]*asked{}, answered: map[string]slirp.Answer{}}
}

// allows waits for the answer to a question; else it says why not.
func (a *asker) allows(q slirp.Question, grant slirp.Rule) (allowed bool, why string) {
	about, why := a.join(q, grant)
	if about != nil {
		select {
		case <-about.decided:
		case <-time.After(holdTime):
			return false, whyUndecided
		}
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	said, known := a.answered[q.Entry]
	switch {
	case !known:
		return false, why
	case said.Allow:
		return true, ""
	case said.Late:
		return false, "nobody answered in time whether to allow it"
	}
	return false, "it was refused when asked for"
}

const whyUndecided = "nobody has answered yet whether to allow it"

// join finds the open question, or puts it. It is nil where there is an answer already, or none will come.
func (a *asker) join(q slirp.Question, grant slirp.Rule) (about *asked, why string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if _, known := a.answered[q.Entry]; known {
		return nil, ""
	}
	if about = a.open[q.Entry]; about != nil {
		return about, ""
	}
	switch {
	case a.last >= slirp.MaxQuestions:
		return nil, "no more questions are put"
	case len(a.open) >= maxOpen:
		return nil, "too many questions are open"
	}
	a.last++
	q.ID = a.last
	about = &asked{id: q.ID, grant: grant, decided: make(chan struct{})}
	a.open[q.Entry] = about
	a.put(&q)
	return about, ""
}

// decide takes an answer. Who allowed something has it in force before anybody goes on.
func (a *asker) decide(said slirp.Answer, p *policy) {
	if a == nil {
		return
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for entry, about := range a.open {
		if about.id != said.ID {
			continue
		}
		if said.Allow {
			p.grant(entry, about.grant)
		}
		a.answered[entry] = said
		delete(a.open, entry)
		close(about.decided)
	}
}

// asksName asks for a name that no rule allows; else it says why not. What is below it for a service (RFC 2782) is asked
// for with it. The host itself is nobody's to allow in passing.
func (p *policy) asksName(name string) (allowed bool, why string) {
	why = "the name is not allowed"
	for strings.HasPrefix(name, "_") {
		_, name, _ = strings.Cut(name, ".")
	}
	name, ok := hostName(name)
	if p.ask == nil || !ok || name == slirp.HostName || strings.HasSuffix(name, ".arpa") {
		return false, why
	}
	return p.ask.allows(slirp.Question{Name: name, Entry: entryFor(name, 0, false)}, slirp.Rule{Name: name})
}

// asksAddress asks for a TCP connection that no rule allows: by the name that led there, else by the address.
func (p *policy) asksAddress(dst netip.AddrPort, v verdict) verdict {
	address := dst.Addr().Unmap()
	if p.ask == nil || own(address) || unspeakable(address) || address.IsLoopback() || standIns.Contains(address) && len(v.names) == 0 {
		return v
	}
	q := slirp.Question{Port: dst.Port(), Address: address.String()}
	grant := slirp.Rule{Port: dst.Port(), Prefix: netip.PrefixFrom(address, address.BitLen()).String()}
	host := q.Address
	if len(v.names) > 0 {
		q.Name, host = v.names[0], v.names[0]
		grant = slirp.Rule{Port: dst.Port(), Name: host}
	}
	if host == slirp.HostName {
		return v
	}
	q.Entry = entryFor(host, dst.Port(), false)
	if grant.Port == 443 || grant.Port == 80 { // as the entry has it
		grant.Port = 0
	}
	allowed, why := p.ask.allows(q, grant)
	if !allowed {
		v.why = why
		return v
	}
	return p.decide(dst, false)
}
