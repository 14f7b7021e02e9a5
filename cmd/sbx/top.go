package main

import "sbx/sandbox"

type topCmd struct {
	JSON bool   `name:"json" help:"Print JSON."`
	Name string `arg:"" help:"The sandbox."`
}

// Run lists the processes of a sandbox.
func (c *topCmd) Run() error {
	_, record, err := lookUpRunning(c.Name)
	if err != nil {
		return err
	}
	list, err := sandbox.Processes(record)
	if err != nil {
		return err
	}
	return printProcesses(list, c.JSON)
}
