package main

import (
	"fmt"
	"os"
)

// stage is where the second drive is mounted in the guest.
const stage = "/var/lib/sbx-test"

// slow is how much slower than outside the guest is, at most: waits in the tests are longer by this factor.
const slow = "20"

// A job is what the guest does: parts, one after the other.
type job struct {
	Parts []part
	Raw   bool // the output is for a person, not that of test binaries
}

// A part is one command run as one user.
type part struct {
	Name    string
	User    string
	Session bool   // in a login session with a service manager of the user's own
	Dir     string // below stage
	Args    []string
	Env     []string
}

// A message is one line of JSON from the guest: whatever a test prints, it is inside Line and cannot pass for another.
type message struct {
	Kernel string   `json:",omitempty"` // the first message: the guest is up
	Part   int      `json:",omitempty"`
	Line   *string  `json:",omitempty"` // a line of output of Part
	Exit   *int     `json:",omitempty"` // Part ended with this status
	Error  string   `json:",omitempty"` // the guest cannot go on
	Time   *float64 `json:",omitempty"` // seconds that Part took, by the guest's clock
	End    bool     `json:",omitempty"` // all parts ended
}

// accounts are the users of the guest under the names that -user takes.
var accounts = []struct {
	name, user string
	session    bool
	daily      bool // unless everything runs, the others do not
}{
	{"session", "sbxtest", true, true},
	{"plain", "sbxplain", false, true},
	{"nosub", "sbxnosub", false, false},
	{"root", "root", false, false},
}

// everything tells whether no script is left out: all are asked for, or some by name.
func (o options) everything() bool { return o.all || o.run != "" }

func newJob(o options) (job, error) {
	j := job{Raw: o.shell != "" || o.bench}
	for _, a := range accounts {
		p := part{Name: "guest, as " + a.name, User: a.user, Session: a.session}
		switch {
		case o.user != "" && o.user != a.name, !a.daily && o.user == "" && !o.everything():
			continue
		case o.bench:
			p.User, p.Session, p.Args = "root", false, []string{stage + "/bin/bench", "-limits", "-n", "30", "-dir", stage + "/bin"}
			return job{Parts: []part{p}, Raw: true}, nil
		case o.shell != "":
			p.Args = []string{"sh", "-c", o.shell}
			p.Dir = "src"
			return job{Parts: []part{p}, Raw: true}, nil
		}
		j.Parts = append(j.Parts, p.scripts(o))
	}
	if len(j.Parts) == 0 {
		return j, fmt.Errorf("no user %q: session, plain, nosub or root", o.user)
	}
	return j, nil
}

func (p part) scripts(o options) part {
	p.Dir = "src/tests/e2e"
	p.Args = []string{stage + "/bin/e2e.test", "-test.v", "-test.timeout=60m", "-test.run=TestScripts/(" + o.run + ")"}
	p.Env = []string{"SBX_TEST_GUEST=" + p.which(o), "SBX_TEST_SLOW=" + slow, "CI=" + os.Getenv("CI")}
	if o.everything() {
		p.Env = append(p.Env, "SBX_TEST_LONG=1")
	}
	return p
}

// which scripts run: without a session, only those that the guest is for.
func (p part) which(o options) string {
	switch {
	case o.everything():
		return "all"
	case !p.Session && o.user == "":
		return "guest"
	}
	return "vm"
}
