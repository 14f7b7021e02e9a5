package cgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Used is what processes have used together so far. A number that nobody counted is nil.
type Used struct {
	// CPU is the processor time of all processes; User and System are its parts.
	CPU    time.Duration `json:"cpu_ns"`
	User   time.Duration `json:"user_ns"`
	System time.Duration `json:"system_ns"`
	// MemoryPeak is the most memory there was at once, in bytes (Linux 5.19).
	MemoryPeak *uint64 `json:"memory_peak,omitempty"`
	// PidsPeak is the most processes and threads there were at once (Linux 6.1), the sandbox's PID 1 not counted.
	PidsPeak *uint64 `json:"pids_peak,omitempty"`
	// Read and Written are bytes of disks.
	Read    *uint64 `json:"io_read,omitempty"`
	Written *uint64 `json:"io_written,omitempty"`
	// OOMKills are the processes that the kernel ended since the memory limit was reached, PidsRefused the forks that the
	// limit of processes refused.
	OOMKills    uint64 `json:"oom_kills"`
	PidsRefused uint64 `json:"pids_refused"`
}

// Stats are what a group has used, and what it uses now.
type Stats struct {
	Used
	// Memory is the memory in use, in bytes.
	Memory *uint64 `json:"memory,omitempty"`
	// Throttled is how long the processes had to wait for the limit of processors.
	Throttled time.Duration `json:"throttled_ns,omitempty"`
	// Pids are the processes and threads that there are, the sandbox's PID 1 not counted.
	Pids *uint64 `json:"pids,omitempty"`
}

// Stats reads what the group has used so far. It fails with fs.ErrNotExist, or ENODEV, when the group is gone.
func (g *Group) Stats() (*Stats, error) {
	s := &Stats{}
	usage, err := keyed(g.Dir + "/cpu.stat")
	if err != nil {
		return nil, fmt.Errorf("reading what the sandbox used: %w", err)
	}
	s.CPU, s.User, s.System = micro(usage["usage_usec"]), micro(usage["user_usec"]), micro(usage["system_usec"])
	s.Throttled = micro(usage["throttled_usec"])
	s.Memory, s.MemoryPeak = number(g.Dir+"/memory.current"), number(g.Dir+"/memory.peak")
	s.Pids, s.PidsPeak = withoutInit(number(g.Dir+"/pids.current")), withoutInit(number(g.Dir+"/pids.peak"))
	if s.Pids == nil {
		s.Pids = withoutInit(g.count())
	}
	s.OOMKills, _ = counter(g.Dir+"/memory.events", "oom_kill")
	s.PidsRefused = g.refused()
	s.Read, s.Written = traffic(g.Dir + "/io.stat")
	return s, nil
}

// refused counts the forks that pids.max refused: in the leaf, whose limit is reached first, and above. Before Linux
// 6.9 the counter of a cgroup tells of the limits above it too, as that of the one in which the fork was.
func (g *Group) refused() uint64 {
	n, _ := counter(g.leaf()+"/pids.events", "max")
	above, _ := counter(g.Dir+"/pids.events", "max")
	return max(n, above)
}

// count counts processes and threads where no controller does.
func (g *Group) count() *uint64 {
	text, err := os.ReadFile(g.leaf() + "/cgroup.threads")
	if err != nil {
		return nil
	}
	n := uint64(len(strings.Fields(string(text))))
	return &n
}

func withoutInit(n *uint64) *uint64 {
	if n != nil && *n > 0 {
		*n--
	}
	return n
}

func micro(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }

// number reads a file of one number, nil where there is none.
func number(path string) *uint64 {
	text, err := read(path)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// keyed reads a file of lines "KEY NUMBER".
func keyed(path string) (map[string]uint64, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			values[key] = n
		}
	}
	return values, nil
}

func counter(path, key string) (uint64, error) {
	values, err := keyed(path)
	return values[key], err
}

// traffic adds up the devices of io.stat: "MAJOR:MINOR rbytes=N wbytes=N ...".
func traffic(path string) (read, written *uint64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil
	}
	var r, w uint64
	for line := range strings.Lines(string(text)) {
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				r += n
			case "wbytes":
				w += n
			}
		}
	}
	return &r, &w
}
