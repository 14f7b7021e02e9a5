package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"sbx/cgroup"
	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/state"
	"sbx/userns"
)

// groupError is a cgroup that could not be made when the sandbox was started.
type groupError struct{ error }

func (e *groupError) Unwrap() error { return e.error }

// beginGroup begins to make the cgroup, if the spec has one.
func beginGroup(s *Spec) *cgroup.Maker {
	if s.Cgroup.Way == host.CgroupNone {
		return nil
	}
	return cgroup.Begin(s.Cgroup.Facts)
}

// makeGroup is what happens at the barrier: first what is given, and then the cgroup.
func (r *Running) makeGroup(maker *cgroup.Maker, first func(pid int) error) func(pid int) error {
	if maker == nil {
		return first
	}
	return func(pid int) error {
		if first != nil {
			if err := first(pid); err != nil {
				return err
			}
		}
		g, err := maker.Create("", pid, r.spec.Cgroup.Limits)
		if err != nil {
			return &groupError{err}
		}
		r.group = g
		return nil
	}
}

// withoutGroup makes of the spec one that goes on without its cgroup. What was to be limited lowers the level, which may
// then be less than what is required.
func (r *Running) withoutGroup(err *groupError) error {
	s := *r.spec
	s.Cgroup.Way = host.CgroupNone
	s.Root.Entries = slices.DeleteFunc(slices.Clone(s.Root.Entries), func(e fuseoverlay.Entry) bool { return e.Kind == fuseoverlay.Cgroup })
	if s.Cgroup.Limits.None() {
		r.Level.Warnings = append(r.Level.Warnings, "no cgroup of its own, so that less is counted and it cannot be paused: "+err.Error())
	} else {
		r.Level.lower(profiles.LevelUnlimited, err.Error())
	}
	s.Cgroup.Limits = cgroup.Limits{}
	r.spec = &s
	if !r.Level.Require.Accepts(r.Level.Name) {
		return &LevelError{r.Level}
	}
	return nil
}

// groupState is what a record keeps of the cgroup.
func (r *Running) groupState() *state.Cgroup {
	r.counting.Lock()
	defer r.counting.Unlock()
	if r.group == nil {
		return nil
	}
	return &state.Cgroup{Dir: r.group.Dir, Unit: r.group.Unit}
}

// closeGroup removes the cgroup, with all that may be left in it.
func (r *Running) closeGroup() {
	r.counting.Lock()
	defer r.counting.Unlock()
	if r.group != nil {
		r.group.Kill()
		r.group.Close()
		r.group = nil
	}
}

// count reads what the sandbox has used. The last count is the one that is told.
func (r *Running) count() {
	r.counting.Lock()
	defer r.counting.Unlock()
	if r.group == nil {
		return
	}
	if stats, err := r.group.Stats(); err == nil {
		r.stats = stats
	}
}

// kill ends the sandbox at once, with all that runs in it.
func (r *Running) kill() {
	r.count()
	r.counting.Lock()
	if r.group != nil {
		r.group.Kill()
	}
	r.counting.Unlock()
	r.process.Kill()
}

// SmallError is a sandbox whose first process was killed before it started the payload, where a limit of memory may be
// the reason: what the kernel counted went with the cgroup.
type SmallError struct {
	Memory uint64 // the limit, in bytes
	Err    error
}

func (e *SmallError) Error() string {
	return fmt.Sprintf("%v: the memory limit of %s may be less than it needs", e.Err, profiles.Size(e.Memory).Text())
}

func (e *SmallError) Unwrap() error { return e.Err }

// explainStart says what a failed start may come of.
func (r *Running) explainStart(err error) error {
	var group *groupError
	if errors.As(err, &group) {
		return group.error
	}
	if memory := r.spec.Cgroup.Limits.Memory; memory > 0 && errors.Is(err, userns.ErrKilled) {
		return &SmallError{memory, err}
	}
	return err
}
