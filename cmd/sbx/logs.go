package main

import (
	"time"

	"sbx/state"
)

type logsCmd struct {
	Follow     bool   `short:"f" help:"Go on until the sandbox ends."`
	Since      string `placeholder:"TIME" help:"Only what is younger: 10m, or an RFC 3339 time."`
	Timestamps bool   `short:"t" help:"Print the time of each line."`
	Name       string `arg:"" help:"The sandbox."`
}

// Run prints what a detached sandbox has written: to stdout and stderr, as it did.
func (c *logsCmd) Run() error {
	since, err := moment(c.Since)
	if err != nil {
		return err
	}
	store, _, err := lookUp(c.Name)
	if err != nil {
		return err
	}
	folder, err := store.Open(c.Name)
	if err != nil {
		return err
	}
	defer folder.Close()
	out := newLogPrinter(c.Timestamps)
	err = folder.ReadLog(c.Follow, func() bool { return isOver(folder) }, func(e state.Entry) error {
		if e.Time.Before(since) {
			return nil
		}
		return out.print(e)
	})
	if err == nil {
		err = out.flush()
	}
	return err
}

// isOver tells whether a sandbox has ended, or is gone.
func isOver(folder *state.Folder) bool {
	record, err := folder.Read()
	return err != nil || record.Status() == state.Exited && (record.Ended != nil || time.Since(record.Created) > time.Second)
}
