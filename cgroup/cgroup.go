// Package cgroup gives a sandbox a cgroup of its own, version 2: limits, statistics, freeze, and an end that nothing in
// it escapes: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
//
// Who gives the cgroup differs (host.FindCgroups): systemd, as a transient scope; the caller itself, below a cgroup that
// was delegated to it; nobody. A Group is the same in the first two. It has two folders:
//
//	DIR          made by systemd, or by this package; never holds a process for longer than a moment
//	DIR/inside   the leaf with all processes of the sandbox, and the root of its cgroup namespace
//
// Limits are set on both. Those on DIR hold whatever is written inside, and in a scope they are properties of the unit,
// so that systemd keeps them. Those on the leaf are what programs inside read.
//
// Create makes a group for a process, at the barrier of its start. After that everything is a file of the group: no bus
// is needed for Freeze, Thaw, Kill and Stats. Close removes what is left, once all processes are gone.
//
// Not in scope: which limits a profile may ask for, what to say of a limit that cannot be enforced, and cgroup v1.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/host"
)

// leafName is the folder that the processes are in.
const leafName = "inside"

// Group is a sandbox's cgroup.
type Group struct {
	// Dir is its folder, and Unit the name of the scope that systemd made of it, if it did.
	Dir, Unit string
	// lock says that the group is in use, to those who clean up after the killed. nil for a scope.
	lock *os.File
}

func (g *Group) leaf() string { return filepath.Join(g.Dir, leafName) }

// LimitError is a limit that cannot be enforced: the controller for it is not to be had.
type LimitError struct {
	// Limit is its key in [limits], and Controller what is missing; empty where there is no cgroup at all.
	Limit, Controller string
	// Why says why, and Mend is the command that helps, if one does.
	Why, Mend string
	Err       error // of the attempt, if there was one
}

func (e *LimitError) Error() string {
	text := "the limit " + e.Limit + " cannot be enforced here"
	if e.Controller != "" {
		text += " without the cgroup controller " + e.Controller
	}
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

func (e *LimitError) Unwrap() error { return e.Err }

// Check tells which of the limits cannot be enforced by what the machine offers. Create may still find that the facts
// were wrong; its error is then of the same kind.
func Check(l Limits, facts host.CgroupFacts) (list []*LimitError) {
	for _, n := range l.needs() {
		if facts.Way == host.CgroupNone || !facts.Can(n.controller) {
			list = append(list, &LimitError{Limit: n.key, Controller: n.controller, Why: facts.Why, Mend: facts.Mend})
		}
	}
	return list
}

// Maker makes one group. It begins when the facts are known, beside the start of the process that the group is for.
type Maker struct {
	facts  host.CgroupFacts
	scopes *scopes // where systemd makes it
}

// Begin begins to make a group, where facts.Way is not CgroupNone: it connects to systemd. Who does not need it any more
// calls Discard.
func Begin(facts host.CgroupFacts) *Maker {
	m := &Maker{facts: facts}
	if facts.Way == host.CgroupScope {
		m.scopes = newScopes(facts, patience)
	}
	return m
}

// Discard ends what Begin began, unless Create was called.
func (m *Maker) Discard() {
	if m != nil && m.scopes != nil {
		m.scopes.discard()
	}
}

// Create makes a group with these limits and moves the process pid, which waits for it, into the leaf. name becomes
// part of the group's own: letters, digits, - and _ alone. Errors are a *LimitError or a *ScopeError, or say what was
// being done; nothing is left behind then but the process.
func (m *Maker) Create(name string, pid int, l Limits) (*Group, error) {
	var g *Group
	var err error
	switch m.facts.Way {
	case host.CgroupScope:
		g, err = m.scopes.create(name, pid, l)
	case host.CgroupDelegated:
		g, err = newDelegated(m.facts, name, l)
	default:
		err = fmt.Errorf("making a cgroup: %s", m.facts.Why)
	}
	if err != nil {
		return nil, err
	}
	if err := g.furnish(pid, l); err != nil {
		g.Kill()
		g.Close()
		return nil, err
	}
	return g, nil
}

// furnish makes the leaf, moves the process there, and sets what systemd does not.
func (g *Group) furnish(pid int, l Limits) error {
	if err := os.Mkdir(g.leaf(), 0o755); err != nil {
		return fmt.Errorf("making a cgroup: %w", err)
	}
	if err := write(g.leaf()+"/cgroup.procs", fmt.Sprint(pid)); err != nil {
		return fmt.Errorf("moving the sandbox into its cgroup: %w", err)
	}
	have, err := read(g.Dir + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("reading what the cgroup can do: %w", err)
	}
	if l.CPUSetOptional && !hasWord(have, "cpuset") {
		l = l.Without("cpuset")
	}
	if err := g.enable(have, l); err != nil {
		return err
	}
	dirs := []string{g.leaf()}
	if g.Unit == "" {
		dirs = append(dirs, g.Dir)
	}
	for _, dir := range dirs {
		if err := l.set(dir); err != nil {
			return err
		}
	}
	return nil
}

// enable gives the leaf the controllers that the limits need, and those that count.
func (g *Group) enable(have string, l Limits) error {
	for _, n := range l.needs() {
		if !hasWord(have, n.controller) {
			return &LimitError{Limit: n.key, Controller: n.controller, Why: g.lacks(), Mend: g.mend()}
		}
	}
	text := l.wanted(have)
	if text == "" {
		return nil
	}
	if err := write(g.Dir+"/cgroup.subtree_control", text); err != nil {
		return fmt.Errorf("enabling cgroup controllers: %w", err)
	}
	return nil
}

// wanted are the controllers to enable, of those that a cgroup has, as cgroup.subtree_control takes them.
func (l *Limits) wanted(have string) string {
	needed := map[string]bool{"cpu": true, "memory": true, "pids": true, "cpuset": len(l.CPUSet) > 0}
	for _, n := range l.needs() {
		needed[n.controller] = true
	}
	var list []string
	for _, c := range controllers {
		if needed[c] && hasWord(have, c) {
			list = append(list, "+"+c)
		}
	}
	return strings.Join(list, " ")
}

func (g *Group) lacks() string {
	if g.Unit != "" {
		return "the user's systemd made a scope without it, and may not have heard yet that it was delegated"
	}
	return "the new cgroup " + g.Dir + " does not have it"
}

func (g *Group) mend() string {
	if g.Unit != "" && os.Getuid() != 0 {
		return "systemctl --user daemon-reexec"
	}
	return ""
}

// write writes a file of a cgroup, in the one write that such files take. Nothing is made: a file that is missing is
// an error (ENOENT), as is a cgroup that is gone (ENODEV).
func write(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(text))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "write", Path: path, Err: fmt.Errorf("%q: %w", text, err)}
		}
	}
}

// read reads a small file of a cgroup, without its last line end.
func read(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 8192)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimRight(string(buf[:n]), "\n"), nil
}

func hasWord(text, word string) bool {
	for w := range strings.FieldsSeq(text) {
		if w == word {
			return true
		}
	}
	return false
}
