package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/state"
)

// Proc is a process of a sandbox, seen from outside.
type Proc struct {
	PID int `json:"pid"` // outside
	// Inside is its number inside; 0 where that cannot be read.
	Inside int    `json:"inside"`
	UID    int    `json:"uid"` // outside
	State  string `json:"state"`
	// CPU is the processor time that it has used.
	CPU time.Duration `json:"cpu_ns"`
	// RSS is its resident memory in bytes, shared pages included.
	RSS     int64    `json:"rss"`
	Command []string `json:"command"`

	parent int
}

// clockTicks is the unit of times in /proc, of a second: USER_HZ is 100 on every architecture of today.
const clockTicks = 100

// Processes are those of a running sandbox: PID 1's descendants. The payload's come first.
func Processes(r *state.Record) ([]Proc, error) {
	if !r.Supervisor.Alive() { // PID 1 itself may be hidden: proc(5), hidepid
		return nil, &NotRunningError{r.Name}
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	children := map[int][]Proc{}
	for _, dir := range dirs {
		if p, ok := readProcess(dir); ok {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var list []Proc
	for queue := []int{r.Init.PID}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			p.Command, p.Inside = commandLine(p.PID), insideNumber(p.PID)
			list = append(list, p)
			queue = append(queue, p.PID)
		}
	}
	return list, nil
}

// readProcess reads /proc/PID/stat (proc_pid_stat(5)).
func readProcess(dir string) (p Proc, ok bool) {
	data, err := os.ReadFile(dir + "/stat")
	text := string(data)
	end := strings.LastIndexByte(text, ')')
	if err != nil || end < 0 {
		return p, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 22 {
		return p, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i], 10, 64); return n }
	p.PID, _ = strconv.Atoi(filepath.Base(dir))
	p.State, p.parent = fields[0], int(number(1))
	p.CPU = time.Duration(number(11)+number(12)) * time.Second / clockTicks
	p.RSS = number(21) * int64(os.Getpagesize())
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil {
		p.UID = int(st.Uid)
	}
	return p, true
}

func commandLine(pid int) []string {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if text := strings.TrimRight(string(data), "\x00"); text != "" {
		return strings.Split(text, "\x00")
	}
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return []string{"[" + strings.TrimSpace(string(name)) + "]"}
}

// insideNumber is the last of NSpid in /proc/PID/status.
func insideNumber(pid int) int {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "NSpid:"); found {
			fields := strings.Fields(rest)
			if len(fields) > 1 {
				n, _ := strconv.Atoi(fields[len(fields)-1])
				return n
			}
		}
	}
	return 0
}

// Load is what a running sandbox uses now.
type Load struct {
	// Source says who counted: its cgroup, or this program, which sums the processes up that live now.
	Source    string        `json:"source"` // cgroup, processes
	CPU       time.Duration `json:"cpu_ns"`
	Memory    int64         `json:"memory"` // bytes
	Processes int           `json:"processes"`
	// MemoryPeak is what the cgroup counted; Read and Written are bytes of disks.
	MemoryPeak *uint64 `json:"memory_peak,omitempty"`
	Read       *uint64 `json:"io_read,omitempty"`
	Written    *uint64 `json:"io_written,omitempty"`
}

// load asks the sandbox's cgroup, and sums up the processes for what that does not count.
func (l *Life) load() (*Load, error) {
	l.mutex.Lock()
	record := *l.record
	l.mutex.Unlock()
	list, err := Processes(&record)
	if err != nil {
		return nil, err
	}
	u := &Load{Source: "processes", Processes: len(list)}
	for _, p := range list {
		u.CPU += p.CPU
		u.Memory += p.RSS
	}
	l.running.counting.Lock()
	defer l.running.counting.Unlock()
	if l.running.group == nil {
		return u, nil
	}
	stats, err := l.running.group.Stats()
	if err != nil {
		return u, nil
	}
	u.Source, u.CPU = "cgroup", stats.CPU
	u.MemoryPeak, u.Read, u.Written = stats.MemoryPeak, stats.Read, stats.Written
	if stats.Memory != nil {
		u.Memory = int64(*stats.Memory)
	}
	return u, nil
}
