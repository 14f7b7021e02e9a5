package slirp

import (
	"strings"
	"time"
)

// What supervisor and sbx-net say to each other: one JSON value a line, over a socket. The supervisor
// begins with a Setup, which brings the device's descriptor. Everything that sbx-net says is taken as
// said by somebody hostile, for it reads what hostile peers send.

// Setup is what sbx-net is to do.
type Setup struct {
	// Restricted says that only what Allow names is reached.
	Restricted bool   `json:"restricted"`
	Allow      []Rule `json:"allow"`
	// Ask says that somebody can be asked for what no rule allows.
	Ask bool `json:"ask,omitempty"`
	// ResolvConf is the content of the host's resolv.conf(5).
	ResolvConf string `json:"resolv_conf"`
	// Proxies are those of the host; nil: it has none.
	Proxies *Proxies `json:"proxies,omitempty"`
}

// Proxies are those through which the host reaches others, as its environment says: URLs, with credentials.
type Proxies struct {
	HTTP  string `json:"http,omitempty"`  // for port 80
	HTTPS string `json:"https,omitempty"` // for all other ports
	None  string `json:"none,omitempty"`  // for whom there is none: NO_PROXY
}

// Rule is one destination that may be reached. Exactly one of Name and Prefix is set.
type Rule struct {
	Name     string `json:"name,omitempty"` // lower case, without a dot at the end
	Wildcard bool   `json:"wildcard,omitempty"`
	Prefix   string `json:"prefix,omitempty"` // CIDR
	Port     uint16 `json:"port,omitempty"`   // 0: 443 and 80
	UDP      bool   `json:"udp,omitempty"`
	// Private lets the name lead to private and loopback addresses.
	Private bool `json:"private,omitempty"`
}

// Covers tells whether all that other allows is allowed by r, as far as names and their ports go.
func (r Rule) Covers(other Rule) bool {
	if r.Prefix != "" || r.UDP != other.UDP || r.Wildcard && !strings.HasSuffix(other.Name, "."+r.Name) || !r.Wildcard && r.Name != other.Name {
		return false
	}
	return r.Port == other.Port || r.Port == 0 && (other.Port == 443 || other.Port == 80)
}

// Word is one line of sbx-net's: exactly one field is set.
type Word struct {
	Ready  bool    `json:"ready,omitempty"`  // packets are read from now on
	Error  string  `json:"error,omitempty"`  // it cannot go on
	Resolv bool    `json:"resolv,omitempty"` // it asks for a Reply
	Report *Report `json:"report,omitempty"` // what was asked for; the last word after an End

	Ask *Question `json:"ask,omitempty"` // it asks for an Answer
}

// Question is whether a destination that no rule allows may be reached.
type Question struct {
	ID      int    `json:"id"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port,omitempty"` // 0: 443 and 80
	Entry   string `json:"entry"`          // of `allow`, as which it is allowed
}

// Answer is that to the Question with this ID.
type Answer struct {
	ID    int  `json:"id"`
	Allow bool `json:"allow,omitempty"`
	Late  bool `json:"late,omitempty"` // nobody has given one in time
}

// MaxQuestions is how many questions are put in the life of a sandbox. What comes after them is refused.
const MaxQuestions = 32

// Reply is one line of the supervisor's after the Setup.
type Reply struct {
	ResolvConf *string `json:"resolv_conf,omitempty"`
	Report     bool    `json:"report,omitempty"` // report what there is so far
	End        bool    `json:"end,omitempty"`    // report, and end

	Answer *Answer `json:"answer,omitempty"`
}

// Report is what a sandbox reached, and what it was refused.
type Report struct {
	Refused []Contact `json:"refused"`
	Reached []Contact `json:"reached"`
	// Allowed are the entries that somebody allowed when asked.
	Allowed []Allowed `json:"allowed,omitempty"`
	// More counts what came after the lists were full.
	More int `json:"more,omitempty"`
}

// Allowed is an entry of `allow` for the rest of a run.
type Allowed struct {
	Entry string    `json:"entry"`
	At    time.Time `json:"at"`
}

// Contact is a destination that was asked for.
type Contact struct {
	Name     string    `json:"name,omitempty"`
	Address  string    `json:"address,omitempty"`
	Port     uint16    `json:"port,omitempty"`
	Protocol string    `json:"protocol"` // dns, tcp, udp or icmp
	Why      string    `json:"why,omitempty"`
	Entry    string    `json:"entry,omitempty"` // of `allow`, which would let it pass; empty: none would
	Count    int       `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// HostName is the name by which a sandbox reaches the host's loopback, on ports that a rule for just this name
// allows.
const HostName = "host.sbx.internal"

// Addresses of a built-in network. The sandbox's own is the first; at the gateway's is
// HostName, where that is allowed, and nothing else.
const (
	SandboxIPv4 = "10.0.2.100/24"
	SandboxIPv6 = "fd00::100/64"
	GatewayIPv4 = "10.0.2.2"
)
