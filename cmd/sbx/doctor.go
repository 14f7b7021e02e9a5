package main

import (
	"context"

	"sbx/host"
)

type doctorCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run asks all probes. The exit status is 1 when the main job cannot run.
func (c *doctorCmd) Run() error {
	findings := host.Run(context.Background())
	can := host.CanRun(findings)
	if err := printFindings(findings, can, c.JSON); err != nil {
		return err
	}
	if !can {
		return exitStatus(1)
	}
	return nil
}
