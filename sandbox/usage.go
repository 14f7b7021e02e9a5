package sandbox

import (
	"time"

	"sbx/cgroup"
)

// Usage is what a sandbox used. Only a cgroup counts all of it.
type Usage struct {
	Wall time.Duration `json:"wall_ns"`
	cgroup.Used
	// LargestProcess is the most memory that one process had, in bytes, where no cgroup counted.
	LargestProcess *uint64 `json:"largest_process,omitempty"`
}

// usage puts together what the cgroup and the kernel counted. Without a cgroup it is that of the processes that PID 1 or
// one below it waited for (getrusage(2)), those that ended with the sandbox among them.
func (r *Running) usage() Usage {
	u := Usage{Wall: time.Since(r.began)}
	if s := r.stats; s != nil {
		u.Used = s.Used
		return u
	}
	used := &r.process.Usage
	u.User, u.System = time.Duration(used.Utime.Nano()), time.Duration(used.Stime.Nano())
	u.CPU = u.User + u.System
	largest := uint64(used.Maxrss) << 10
	read, written := uint64(used.Inblock)<<9, uint64(used.Oublock)<<9
	u.LargestProcess, u.Read, u.Written = &largest, &read, &written
	return u
}

// Reached is a limit that ended or refused something, as the kernel counted it.
type Reached struct {
	Limit string  `json:"limit"` // "memory" or "pids"
	Value uint64  `json:"value"` // of the limit, in bytes or processes
	Peak  *uint64 `json:"peak,omitempty"`
	Count uint64  `json:"count"` // of processes ended, or of forks refused
}

// reached are the limits that this run came to.
func reached(l *cgroup.Limits, u *Usage) (list []Reached) {
	if u.OOMKills > 0 && l.Memory > 0 {
		list = append(list, Reached{"memory", l.Memory, u.MemoryPeak, u.OOMKills})
	}
	if u.PidsRefused > 0 && l.Pids > 0 {
		list = append(list, Reached{"pids", l.Pids, u.PidsPeak, u.PidsRefused})
	}
	return list
}
