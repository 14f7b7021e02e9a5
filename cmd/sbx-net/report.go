package main

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"sbx/slirp"
)

// report counts what was reached and refused. A payload can ask for any number of destinations: the lists
// are bounded.
type report struct {
	mutex   sync.Mutex
	advise  bool // an entry of the allowlist would help
	refused contacts
	reached contacts
	allowed []slirp.Allowed
	more    int
}

const maxContacts = 500

type contactKey struct {
	name, why, protocol string
	address             netip.Addr
	port                uint16
}

type contacts struct {
	index map[contactKey]int
	list  []slirp.Contact
}

// count adds one to a contact, or tells that there is no more room.
func (c *contacts) count(key contactKey, entry string) bool {
	now := time.Now().UTC()
	if i, known := c.index[key]; known {
		c.list[i].Count++
		c.list[i].Last = now
		return true
	}
	if len(c.list) >= maxContacts {
		return false
	}
	if c.index == nil {
		c.index = map[contactKey]int{}
	}
	c.index[key] = len(c.list)
	contact := slirp.Contact{Name: key.name, Port: key.port, Protocol: key.protocol, Why: key.why, Entry: entry, Count: 1, First: now, Last: now}
	if key.address.IsValid() {
		contact.Address = key.address.String()
	}
	c.list = append(c.list, contact)
	return true
}

func (r *report) reach(key contactKey) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.reached.count(key, "") {
		r.more++
	}
}

// allow notes what somebody allowed when asked.
func (r *report) allow(entry string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.allowed = append(r.allowed, slirp.Allowed{Entry: entry, At: time.Now().UTC()})
}

// refuse counts a refusal. entry is what `allow` would have to say, where there is one.
func (r *report) refuse(key contactKey, entry string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.advise {
		entry = ""
	}
	if !r.refused.count(key, entry) {
		r.more++
	}
}

func (r *report) sum() *slirp.Report {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return &slirp.Report{Refused: append([]slirp.Contact{}, r.refused.list...), Reached: append([]slirp.Contact{}, r.reached.list...),
		Allowed: slices.Clone(r.allowed), More: r.more}
}

// entryFor is the entry of `allow` that names a destination.
func entryFor(host string, port uint16, udp bool) string {
	entry := host
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		entry = "[" + host + "]"
	}
	if udp || port != 443 && port != 80 && port != 0 {
		entry += ":" + strconv.Itoa(int(port))
	}
	if udp {
		entry += "/udp"
	}
	return entry
}
