package main

type resumeCmd struct {
	Names []string `arg:"" name:"name" help:"The sandboxes."`
}

// Run lets paused sandboxes go on.
func (c *resumeCmd) Run() error {
	return each(c.Names, func(name string) error { return pause(name, false) })
}
