package cgroup

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Limits are what a sandbox may use of the machine. The zero value of each field is no limit.
type Limits struct {
	// Memory is the most memory, and MemoryHigh that above which it is slowed and reclaimed, in bytes.
	Memory     uint64 `json:"memory,omitempty"`
	MemoryHigh uint64 `json:"memory_high,omitempty"`
	// Swap is how much of what is not in memory may be in swap, in bytes. nil: none where Memory is set, so that this is
	// all there is; else no limit.
	Swap *uint64 `json:"swap,omitempty"`
	// CPUs is the processor time per time: 1.5 is that of one and a half processors.
	CPUs float64 `json:"cpus,omitempty"`
	// CPUWeight is the share where others want the processor too, 1 to 10000; others have 100.
	CPUWeight uint64 `json:"cpu_weight,omitempty"`
	// CPUSet are the numbers of the processors, in ascending order.
	CPUSet []int `json:"cpuset,omitempty"`
	// CPUSetOptional says that nobody asked for the set: it only makes what programs count agree with CPUs.
	CPUSetOptional bool `json:"cpuset_optional,omitempty"`
	// Pids is the most processes and threads, the sandbox's PID 1 not counted.
	Pids uint64 `json:"pids,omitempty"`
	// IOWeight is the share of the disks, 1 to 10000; others have 100.
	IOWeight uint64 `json:"io_weight,omitempty"`
	// IORead and IOWrite are bytes per second on each of Disks (MAJOR:MINOR of whole disks).
	IORead  uint64   `json:"io_read,omitempty"`
	IOWrite uint64   `json:"io_write,omitempty"`
	Disks   []string `json:"disks,omitempty"`
}

// None tells whether nothing is limited.
func (l *Limits) None() bool { return len(l.needs()) == 0 }

// controllers are all that this package knows, in the order in which they are enabled.
var controllers = []string{"cpuset", "cpu", "io", "memory", "pids"}

// need is a limit that is set, by its key in [limits], with the controller that enforces it.
type need struct{ key, controller string }

func (l *Limits) needs() (list []need) {
	add := func(set bool, key, controller string) {
		if set {
			list = append(list, need{key, controller})
		}
	}
	add(l.Memory > 0, "memory", "memory")
	add(l.MemoryHigh > 0, "memory_high", "memory")
	add(l.Swap != nil, "swap", "memory")
	add(l.CPUs > 0, "cpus", "cpu")
	add(l.CPUWeight > 0, "cpu_weight", "cpu")
	add(len(l.CPUSet) > 0 && !l.CPUSetOptional, "cpuset", "cpuset")
	add(l.Pids > 0, "pids", "pids")
	add(l.IOWeight > 0, "io_weight", "io")
	add(l.IORead > 0, "io_read", "io")
	add(l.IOWrite > 0, "io_write", "io")
	return list
}

// Words tell the limits to a person, one by one, as the kernel gets them.
func (l *Limits) Words() (list []string) {
	for _, s := range l.settings() {
		list = append(list, s.file+" "+s.text)
	}
	return list
}

// Without is the limits but for one, by its key.
func (l Limits) Without(key string) Limits {
	switch key {
	case "memory":
		l.Memory = 0
	case "memory_high":
		l.MemoryHigh = 0
	case "swap":
		l.Swap = nil
	case "cpus":
		l.CPUs = 0
	case "cpu_weight":
		l.CPUWeight = 0
	case "cpuset":
		l.CPUSet, l.CPUSetOptional = nil, false
	case "pids":
		l.Pids = 0
	case "io_weight":
		l.IOWeight = 0
	case "io_read":
		l.IORead = 0
	case "io_write":
		l.IOWrite = 0
	}
	return l
}

// setting is a file of a cgroup, what is written there, and the limit that it is for.
type setting struct{ key, file, text string }

// period is that of cpu.max, in microseconds.
const period = 100_000

// quota is the processor time in a period, in microseconds. The kernel takes no less than 1000.
func (l *Limits) quota() uint64 { return max(uint64(math.Ceil(l.CPUs*period)), 1000) }

// swap is the limit of swap, if there is one.
func (l *Limits) swap() (bytes uint64, limited bool) {
	if l.Swap != nil {
		return *l.Swap, true
	}
	return 0, l.Memory > 0
}

// maxPids counts the sandbox's PID 1 too.
func (l *Limits) maxPids() uint64 { return l.Pids + 1 }

func (l *Limits) settings() (list []setting) {
	add := func(key, file string, n uint64) {
		if n > 0 {
			list = append(list, setting{key, file, strconv.FormatUint(n, 10)})
		}
	}
	add("memory", "memory.max", l.Memory)
	add("memory_high", "memory.high", l.MemoryHigh)
	if n, limited := l.swap(); limited {
		list = append(list, setting{"swap", "memory.swap.max", strconv.FormatUint(n, 10)})
	}
	if l.CPUs > 0 {
		list = append(list, setting{"cpus", "cpu.max", fmt.Sprintf("%d %d", l.quota(), period)})
	}
	add("cpu_weight", "cpu.weight", l.CPUWeight)
	if len(l.CPUSet) > 0 {
		list = append(list, setting{"cpuset", "cpuset.cpus", commas(l.CPUSet)})
	}
	if l.Pids > 0 {
		add("pids", "pids.max", l.maxPids())
	}
	add("io_weight", "io.weight", l.IOWeight)
	for _, disk := range l.Disks {
		if l.IORead > 0 {
			list = append(list, setting{"io_read", "io.max", fmt.Sprintf("%s rbps=%d", disk, l.IORead)})
		}
		if l.IOWrite > 0 {
			list = append(list, setting{"io_write", "io.max", fmt.Sprintf("%s wbps=%d", disk, l.IOWrite)})
		}
	}
	return list
}

// commas writes numbers as cpuset.cpus takes them.
func commas(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// set writes all limits into a cgroup.
func (l *Limits) set(dir string) error {
	for _, s := range l.settings() {
		err := write(dir+"/"+s.file, s.text)
		if err == nil {
			continue
		}
		if s.file == "memory.swap.max" && l.Swap == nil && os.IsNotExist(err) {
			continue // a kernel without accounting of swap: nobody asked
		}
		return &LimitError{Limit: s.key, Why: err.Error(), Err: err}
	}
	return nil
}

// properties are the limits as those of a unit: org.freedesktop.systemd1(5), systemd.resource-control(5).
func (l *Limits) properties() (list []property) {
	add := func(name string, n uint64) {
		if n > 0 {
			list = append(list, property{name, dbus.MakeVariant(n)})
		}
	}
	add("MemoryMax", l.Memory)
	add("MemoryHigh", l.MemoryHigh)
	if n, limited := l.swap(); limited {
		list = append(list, property{"MemorySwapMax", dbus.MakeVariant(n)})
	}
	if l.CPUs > 0 {
		add("CPUQuotaPerSecUSec", l.quota()*(1_000_000/period))
	}
	add("CPUWeight", l.CPUWeight)
	if len(l.CPUSet) > 0 {
		list = append(list, property{"AllowedCPUs", dbus.MakeVariant(bitmap(l.CPUSet))})
	}
	if l.Pids > 0 {
		add("TasksMax", l.maxPids())
	}
	add("IOWeight", l.IOWeight)
	list = append(list, bandwidth("IOReadBandwidthMax", l.IORead, l.Disks)...)
	return append(list, bandwidth("IOWriteBandwidthMax", l.IOWrite, l.Disks)...)
}

// diskLimit is an element of IOReadBandwidthMax: a path of a device and bytes per second.
type diskLimit struct {
	Path  string
	Bytes uint64
}

func bandwidth(name string, bytes uint64, disks []string) []property {
	if bytes == 0 || len(disks) == 0 {
		return nil
	}
	var list []diskLimit
	for _, disk := range disks {
		list = append(list, diskLimit{"/dev/block/" + disk, bytes})
	}
	return []property{{name, dbus.MakeVariant(list)}}
}

// bitmap is a set of processors as AllowedCPUs takes it: bit n of the bytes, lowest first.
func bitmap(numbers []int) []byte {
	var out []byte
	for _, n := range numbers {
		for len(out) <= n/8 {
			out = append(out, 0)
		}
		out[n/8] |= 1 << (n % 8)
	}
	return out
}
