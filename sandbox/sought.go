package sandbox

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"sbx/profiles"
)

// A noNetwork tells whether anything inside tried to reach a network where there is none. The kernel counts, per network
// namespace, what had no route and which questions found nobody on the loopback, where programs look for a name
// server if they know of none (proc_pid_net(5), RFC 4293, RFC 4113).
type noNetwork struct {
	files  []*os.File // keep the namespace, for a look after its end
	hidden bool       // whose counters nobody here can see
}

// watchNoNetwork begins with a sandbox whose PID 1 is pid. It returns nil where there is a network.
func watchNoNetwork(s *Spec, pid int) *noNetwork {
	if s.Network != profiles.NetNone {
		return nil
	}
	n := &noNetwork{}
	proc := "/proc/" + strconv.Itoa(pid)
	for _, name := range []string{"snmp", "snmp6"} {
		if f, err := os.Open(proc + "/net/" + name); err == nil {
			n.files = append(n.files, f)
		}
	}
	if len(n.files) == 0 { // PID 1 has ended already, or it cannot be seen
		n.hidden = !exists(proc)
	}
	return n
}

// sought ends the watch. It is true where nobody knows.
func (n *noNetwork) sought() bool {
	if n == nil {
		return false
	}
	defer closeAll(n.files)
	for _, f := range n.files {
		if countsSought(f) {
			return true
		}
	}
	return n.hidden
}

// countsSought reads the counters of one file: of snmp, where a line of names stands above one of numbers, or of snmp6,
// where each line has one of each.
func countsSought(r io.Reader) bool {
	var names []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 2 && (words[0] == "Ip6OutNoRoutes" || words[0] == "Udp6NoPorts") && words[1] != "0" {
			return true
		}
		if len(names) > 0 && len(names) == len(words) && names[0] == words[0] {
			for i, name := range names {
				if (name == "OutNoRoutes" || name == "NoPorts" && names[0] == "Udp:") && words[i] != "0" {
					return true
				}
			}
		}
		names = words
	}
	return false
}
