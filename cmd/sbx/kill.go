package main

import (
	"golang.org/x/sys/unix"

	"sbx/sandbox"
)

type killCmd struct {
	Signal string   `short:"s" default:"KILL" placeholder:"NAME" help:"The signal."`
	Names  []string `arg:"" name:"name" help:"The sandboxes."`
}

// Run sends a signal to payloads. KILL ends all that runs inside.
func (c *killCmd) Run() error {
	sig, err := signalNamed(c.Signal)
	if err != nil {
		return err
	}
	return each(c.Names, func(name string) error { return kill(name, sig) })
}

func kill(name string, sig unix.Signal) error {
	store, _, err := lookUpRunning(name)
	if err != nil {
		return err
	}
	err = sandbox.Kill(store, name, sig)
	if sig == unix.SIGKILL && isNotRunning(err) {
		return end(store, name, 0)
	}
	return err
}
