package main

import (
	"strings"

	"sbx/profiles"
)

type tasksCmd struct {
	Profile string `short:"p" placeholder:"NAME" help:"As with run."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Run lists the tasks that `sbx run :NAME` can run here.
func (c *tasksCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	o := at.options(c.Profile)
	o.Suggest = c.Profile == ""
	layers, err := profiles.Read(o)
	if err != nil {
		return err
	}
	return printTasks(layers.Tasks(), c.JSON)
}

// taskName is the task that a command names, as in `sbx run :build`; empty if it names none.
func taskName(command []string) string {
	if len(command) == 0 || !strings.HasPrefix(command[0], ":") {
		return ""
	}
	return command[0][1:]
}
