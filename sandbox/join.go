package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"sbx/profiles"
	"sbx/state"
	"sbx/userns"
)

// A sandbox that uses another one's network or IPC namespace is made inside that one's user namespace,
// with its id map, for the kernel lets nobody else enter those. It ends with the other one.

// Joined is a running sandbox whose namespaces another one is to use.
type Joined struct {
	Name string
	// Spec is what it was made with.
	Spec *Spec
	// supervisor is whose end is its end.
	supervisor state.Process
	store      *state.Store
}

// FindJoined looks up a running sandbox to join.
func FindJoined(store *state.Store, name string) (*Joined, error) {
	record, err := store.Read(name)
	if err != nil {
		return nil, err
	}
	if record.Status() == state.Exited {
		return nil, &NotRunningError{name}
	}
	folder, err := store.Open(name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	spec, err := specOf(folder)
	if err != nil {
		return nil, err
	}
	j := &Joined{Name: name, Spec: spec, supervisor: record.Supervisor, store: store}
	return j, nil
}

// join gives a spec the ids of the other sandbox, where they are the ones that are asked for.
func (s *Spec) join(j *Joined, ipc bool) error {
	other := &j.Spec.IDs
	if s.IDs.UID != other.UID || s.IDs.GID != other.GID {
		return &UsageError{
			Problem: fmt.Sprintf("joining %s: the user inside is %d:%d there and %d:%d here, and a sandbox that joins it has its id map", j.Name, other.UID, other.GID, s.IDs.UID, s.IDs.GID),
			Hint:    fmt.Sprintf("--user %d:%d", other.UID, other.GID),
		}
	}
	net := s.Network.Joins() != ""
	if net && j.Spec.Network == profiles.NetHost {
		return &UsageError{"joining " + j.Name + ": it has the host's own network", "--net host"}
	}
	s.IDs.Maps = other.Maps
	s.IDs.DropGroups = other.DropGroups
	if len(other.Maps.UID) == 1 && s.Level.Name == profiles.LevelFull {
		s.Level.lower(profiles.LevelSingleID, "one user id inside, as in "+j.Name)
	}
	s.Join, s.joined = Join{Name: j.Name, Net: net, IPC: ipc}, j
	return nil
}

// NSFS_MAGIC of linux/magic.h, and NS_GET_NSTYPE of ioctl_ns(2).
const (
	nsfsMagic   = 0x6e736673
	nsGetNSType = 0xb703
)

// namespacesToJoin are open: the user namespace first.
func (j *Joined) namespacesToJoin(s *Spec) ([]*os.File, error) {
	c, _, files, err := ask(j.store, j.Name, call{Op: "namespaces"})
	if err != nil {
		return nil, fmt.Errorf("joining %s: %w", j.Name, err)
	}
	c.close()
	if len(files) != len(joinable) {
		closeAll(files)
		return nil, fmt.Errorf("joining %s: %d namespaces came", j.Name, len(files))
	}
	list := files[:1]
	for i, wanted := range []bool{s.Join.Net, s.Join.IPC} {
		if f := files[i+1]; wanted {
			list = append(list, f)
		} else {
			f.Close()
		}
	}
	return list, nil
}

// joinable are the namespaces that a supervisor hands out, in this order.
var joinable = []struct {
	name string
	kind int
}{{"user", unix.CLONE_NEWUSER}, {"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}}

// namespaces opens them: a child of PID 1 does, since PID 1 hides its own. What it found is told by its
// kind from what a payload that may mount could have put there.
func (r *Running) namespaces() (list []*os.File, err error) {
	r.inside.mutex.Lock()
	defer r.inside.mutex.Unlock()
	for _, n := range joinable {
		slot := userns.Slot("ns." + n.name)
		f := r.inside.files[slot]
		if f == nil {
			if f, err = r.openNamespace(slot, n.name, n.kind); err != nil {
				return nil, err
			}
			r.inside.keep(slot, f)
		}
		list = append(list, f)
	}
	return list, nil
}

func (r *Running) openNamespace(slot userns.Slot, name string, kind int) (*os.File, error) {
	do := "opening the " + name + " namespace of the sandbox"
	f, err := r.handedOut(do, slot, "/proc/self/ns/"+name, userns.How{}, nsfsMagic)
	if err != nil {
		return nil, err
	}
	if got, err := unix.IoctlRetInt(int(f.Fd()), nsGetNSType); err != nil || got != kind {
		f.Close()
		return nil, errors.New(do + ": it is another kind of namespace")
	}
	return f, nil
}

func (l *Life) answerNamespaces(c *conn) {
	list, err := l.running.namespaces()
	if err != nil {
		c.send(answer{Refused: refuse(err)})
		return
	}
	c.send(answer{}, list...)
}

// endWith ends the sandbox when the one ends that it has joined.
func (r *Running) endWith(j *Joined) {
	go func() {
		for j.supervisor.Alive() {
			j.supervisor.AwaitEnd(r.ended)
			if r.endedWithin(0) {
				return
			}
		}
		r.stop(unix.SIGKILL, 0, state.CauseJoined)
	}()
}
