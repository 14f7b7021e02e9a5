package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"sbx/profiles"
	"sbx/slirp"
	"sbx/state"
	"sbx/userns"
)

// batch is how many sockets a process inside makes at a time.
const batch = 16

// sockets are some of a family and a kind in the sandbox's network: a child of PID 1 makes them and hands
// them out, since nobody outside may enter the network's namespace but through the user namespace.
func (r *Running) sockets(family, kind int) (list []*os.File, err error) {
	const do = "making sockets in the sandbox"
	var steps []userns.Step
	for i := range batch {
		slot := userns.Slot("socket" + strconv.Itoa(i))
		steps = append(steps, userns.Socket(do, family, kind, slot), userns.Send(do, slot), userns.Close(do, slot))
	}
	job, err := r.process.Exec(steps, userns.Options{})
	if err != nil {
		return nil, err
	}
	for slot, f := range job.Files {
		list = append(list, f)
		delete(job.Files, slot)
	}
	job.Close()
	if len(list) == 0 {
		return nil, errors.New(do + ": none came")
	}
	return list, nil
}

// Port publishes a port of a running sandbox, takes one back, or does neither, and returns those that are
// published then. do is add, rm or ls.
func Port(store *state.Store, name, do string, port profiles.Port) ([]slirp.Port, error) {
	p := hostPort(port)
	a, err := simple(store, name, call{Op: "port", Name: do, Port: &p})
	if err != nil {
		return nil, err
	}
	return a.Ports, nil
}

// answerPort answers Port.
func (l *Life) answerPort(c *conn, what *call) {
	err := l.changePorts(what)
	c.send(answer{Refused: refuseIf(err), Ports: l.running.network.ports.List()})
}

func (l *Life) changePorts(what *call) error {
	s, name, ports := l.running.spec, l.folder.Name(), l.running.network.ports
	switch {
	case what.Port == nil || what.Name == "ls":
		return nil
	case s.Network == profiles.NetHost:
		return &UsageError{name + " has the host's own network: what listens inside listens on the host", "connect to it there"}
	case s.Join.Net:
		return &UsageError{name + " has joined the network of " + s.Join.Name, "sbx port " + s.Join.Name + " add " + what.Port.String()}
	case what.Name == "add":
		return ports.Add(*what.Port)
	}
	err := ports.Remove(*what.Port)
	if errors.Is(err, slirp.ErrNoPort) {
		return &UsageError{fmt.Sprintf("port %s of %s: %v", what.Port, name, err), "sbx port " + name + " ls"}
	}
	return err
}
