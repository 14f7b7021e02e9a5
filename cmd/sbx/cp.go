package main

import (
	"os"
	"strings"

	"sbx/sandbox"
)

type cpCmd struct {
	From string `arg:"" help:"What to copy: a path, or NAME:PATH."`
	To   string `arg:"" help:"Where to: a path, or NAME:PATH."`
}

// Run copies files into a sandbox that runs, or out of it.
func (c *cpCmd) Run() error {
	from, fromPath := sandboxPath(c.From)
	to, toPath := sandboxPath(c.To)
	if (from == "") == (to == "") {
		return &sandbox.UsageError{Problem: "one of the two has to be in a sandbox, as NAME:PATH", Hint: "a path of the host with a colon is written ./PATH"}
	}
	name := from + to
	store, _, err := lookUpRunning(name)
	if err != nil {
		return err
	}
	root, err := sandbox.Root(store, name)
	if err != nil {
		return err
	}
	defer root.Close()
	defer progress("copying " + c.From)()
	var skipped []string
	if from != "" {
		skipped, err = sandbox.CopyOut(root, fromPath, toPath)
	} else {
		skipped, err = sandbox.CopyIn(root, fromPath, toPath)
	}
	for _, path := range skipped {
		printSkipped(path)
	}
	return err
}

// sandboxPath takes NAME:PATH apart. What has a slash before its colon, or exists, is a path of the host.
func sandboxPath(text string) (name, path string) {
	name, path, found := strings.Cut(text, ":")
	if _, err := os.Lstat(text); !found || name == "" || strings.Contains(name, "/") || err == nil {
		return "", text
	}
	return name, path
}
