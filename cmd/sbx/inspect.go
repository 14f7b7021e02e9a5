package main

import (
	"encoding/json"

	"sbx/sandbox"
	"sbx/slirp"
	"sbx/state"
)

type inspectCmd struct {
	JSON    bool   `name:"json" help:"Print JSON, as it does without, but for --network."`
	Network bool   `help:"Print what its network has reached and refused."`
	Name    string `arg:"" help:"The sandbox."`
}

// inspected is a record with what is known beside it.
type inspected struct {
	*state.Record
	Status  state.Status    `json:"status"`
	Spec    json.RawMessage `json:"spec,omitempty"`
	Traffic *slirp.Report   `json:"network_report,omitempty"`
}

// Run prints all that is known of a sandbox.
func (c *inspectCmd) Run() error {
	store, record, err := lookUp(c.Name)
	if err != nil {
		return err
	}
	report, err := sandbox.Network(store, record)
	if c.Network {
		if err != nil {
			return err
		}
		return printTraffic(record, report, c.JSON)
	}
	answer := inspected{Record: record, Status: record.Status(), Traffic: report}
	if folder, err := store.Open(c.Name); err == nil {
		defer folder.Close()
		if spec, err := folder.ReadFile("spec.json"); err == nil && json.Valid(spec) {
			answer.Spec = spec
		}
	}
	return printJSON(answer)
}
