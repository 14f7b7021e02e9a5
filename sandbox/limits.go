package sandbox

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/cgroup"
	"sbx/host"
	"sbx/profiles"
)

// defaultProcesses is RLIMIT_NPROC of a sandbox that asks for no limit.
const defaultProcesses = 4096

// cgroupFolder is where a sandbox with a cgroup of its own sees it.
const cgroupFolder = "/sys/fs/cgroup"

// resolveLimits finds out who enforces what the profile limits. A run that limits and counts nothing asks nobody.
func resolveLimits(s *Spec, r *Request, p *profiles.Profile) error {
	s.Limits.Processes = processLimit(defaultProcesses)
	s.Cgroup.Way = host.CgroupNone
	l := asked(&p.Limits)
	if l.None() && !r.Count {
		return nil
	}
	if err := s.checkSize(&l); err != nil {
		return err
	}
	s.Cgroup.Facts = host.FindCgroups()
	s.Cgroup.Optional = l.None() || p.Limits.Enforce.V == profiles.EnforceBestEffort
	l, err := s.enforceable(l)
	if err != nil {
		return err
	}
	if l.Pids > 0 {
		s.Limits.Processes = processLimit(max(defaultProcesses, l.Pids+1))
	}
	s.Cgroup.Limits = s.chooseProcessors(l)
	if !l.None() || r.Count {
		s.Cgroup.Way = s.Cgroup.Facts.Way
	}
	return nil
}

// asked are the limits of a profile that a cgroup enforces.
func asked(p *profiles.Limits) cgroup.Limits {
	l := cgroup.Limits{
		Memory: uint64(p.Memory.V), MemoryHigh: uint64(p.MemoryHigh.V),
		CPUs: p.CPUs.V, CPUWeight: uint64(p.CPUWeight.V),
		Pids:     uint64(p.Pids.V),
		IOWeight: uint64(p.IOWeight.V), IORead: uint64(p.IORead.V), IOWrite: uint64(p.IOWrite.V),
	}
	if p.CPUSet.Set {
		l.CPUSet = p.CPUSet.V.Numbers()
	}
	if p.Swap.Set {
		swap := uint64(p.Swap.V)
		l.Swap = &swap
	}
	return l
}

// enforceable are the limits that can be enforced here. One that cannot is an error, unless the profile takes what it
// gets; then the level says so.
func (s *Spec) enforceable(l cgroup.Limits) (cgroup.Limits, error) {
	for _, lack := range cgroup.Check(l, s.Cgroup.Facts) {
		switch {
		case lack.Limit == "pids" && host.ProcessLimitCounts():
			s.Limits.Processes = processLimit(l.Pids + 1)
			s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf("the limit of %d processes is RLIMIT_NPROC of the user namespace, since the cgroup controller pids cannot be had", l.Pids))
		case !s.Cgroup.Optional:
			return l, lack
		default:
			s.Level.lower(profiles.LevelUnlimited, lack.Error())
		}
		l = l.Without(lack.Limit)
	}
	return l, nil
}

// processLimit is RLIMIT_NPROC, or the caller's own limit where that is lower.
func processLimit(n uint64) uint64 {
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &own) != nil {
		return n
	}
	return min(own.Max, n)
}

// checkSize says which limits limit nothing, being more than there is, and refuses processors that are not there.
func (s *Spec) checkSize(l *cgroup.Limits) error {
	own := ownProcessors()
	warn := func(format string, args ...any) {
		s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf(format, args...))
	}
	if total := machineMemory(); l.Memory > total {
		warn("the memory limit of %s is more than this machine has, %s", profiles.Size(l.Memory).Text(), profiles.Size(total).Text())
	}
	if l.CPUs > float64(len(own)) {
		warn("the limit of %v processors is more than there are, %d", l.CPUs, len(own))
	}
	for _, n := range l.CPUSet {
		if !slices.Contains(own, n) {
			return &UsageError{Problem: fmt.Sprintf("limits.cpuset: processor %d is not there, or the caller may not use it", n)}
		}
	}
	return nil
}

// chooseProcessors chooses a set of as many processors as the limit says, where one can be had: what nproc(1) and the
// like find inside then agrees with the limit. Not every sandbox gets the same ones.
func (s *Spec) chooseProcessors(l cgroup.Limits) cgroup.Limits {
	own := ownProcessors()
	n := int(math.Ceil(l.CPUs))
	if n == 0 || len(l.CPUSet) > 0 || n >= len(own) || !s.Cgroup.Facts.Can("cpuset") {
		return l
	}
	for i := range n {
		l.CPUSet = append(l.CPUSet, own[(os.Getpid()+i)%len(own)])
	}
	slices.Sort(l.CPUSet)
	l.CPUSetOptional = true
	return l
}

// ownProcessors are those that the caller may use: sched_getaffinity(2).
func ownProcessors() (list []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return []int{0}
	}
	for n := range len(set) * 64 {
		if set.IsSet(n) {
			list = append(list, n)
		}
	}
	return list
}

// noCores keeps the host from getting a core: 0 would not stop a handler in core_pattern, 1 does (core(5)).
const noCores = 1

// hardCores is the caller's own hard limit on cores, which nobody can raise: getrlimit(2).
func hardCores() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &limit) != nil {
		return 0
	}
	return limit.Max
}

// coreLimit is noCores, or 0 where the caller has that already, by sudo(8) say: then no core is written, but a handler gets one.
func (s *Spec) coreLimit() uint64 {
	if hardCores() > 0 {
		return noCores
	}
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err != nil || strings.HasPrefix(string(pattern), "|") {
		s.Level.Warnings = append(s.Level.Warnings, "your hard limit on cores is 0, which does not keep cores of the payload from the host's handler of cores, as 1 would: ulimit -c")
	}
	return 0
}

// machineMemory is all there is, in bytes.
func machineMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 4 << 30
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// memoryShare bounds all that a sandbox holds in its folders in memory, in bytes, where nobody says otherwise.
func memoryShare() uint64 { return machineMemory() / 4 }

// filesInMemory bounds their number. Each costs about 1 KiB of kernel memory that no size counts, so all together cost an eighth of
// the machine's memory at most, or 1 GiB.
func filesInMemory() uint64 { return min(1<<20, machineMemory()/(8<<10)) }

// memoryBound is another bound than memoryShare, or 0: what the profile says, or half of a limit of memory, so that a full
// folder is an error of write(2) and not the end of a process. A project's own file may only lower it.
func memoryBound(s *Spec, p *profiles.Profile) uint64 {
	bound := memoryShare()
	if limit := s.Cgroup.Limits.Memory; limit > 0 {
		bound = min(bound, limit/2)
	}
	if own := p.Limits.Tmpfs; own.Set {
		lower, otherwise := own.From.Layer == profiles.LayerProject, bound
		if bound = uint64(own.V); lower {
			bound = min(bound, otherwise)
		}
	}
	if bound == memoryShare() {
		return 0
	}
	return max(bound, 4096) // 0 is no bound
}

// findDisks names the disks that the limits on them are about: those on which what is shown lies.
func (s *Spec) findDisks() error {
	l := &s.Cgroup.Limits
	if l.IORead == 0 && l.IOWrite == 0 {
		return nil
	}
	for _, e := range s.Root.Entries {
		var st unix.Stat_t
		if !e.Shows() || unix.Stat(e.Source, &st) != nil {
			continue
		}
		if disk, ok := wholeDisk(st.Dev); ok && !slices.Contains(l.Disks, disk) {
			l.Disks = append(l.Disks, disk)
		}
	}
	if len(l.Disks) > 0 {
		return nil
	}
	key := "io_read"
	if l.IORead == 0 {
		key = "io_write"
	}
	lack := &cgroup.LimitError{Limit: key, Why: "what the sandbox shows lies on no disk that the kernel counts for"}
	if !s.Cgroup.Optional {
		return lack
	}
	s.Level.lower(profiles.LevelUnlimited, lack.Error())
	*l = l.Without("io_read").Without("io_write")
	return nil
}

// wholeDisk is the disk of a device, MAJOR:MINOR, that of a partition being what it is a part of: sysfs(5).
func wholeDisk(dev uint64) (disk string, ok bool) {
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	if _, err := os.Stat(dir + "/partition"); err == nil {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", false
		}
		dir = filepath.Dir(real)
	}
	text, err := os.ReadFile(dir + "/dev")
	return strings.TrimSpace(string(text)), err == nil
}
