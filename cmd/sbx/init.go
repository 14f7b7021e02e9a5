package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
)

type initCmd struct {
	From  string `placeholder:"FILE" help:"Take over what a devcontainer.json says."`
	Print bool   `help:"Print the file, and write nothing."`
	Kind  string `arg:"" optional:"" help:"A built-in profile, instead of the one that the project's files suggest."`
}

// Run writes an sbx.toml into the working folder, says what it allows, and records that its user
// agrees to that: it holds nothing but what was just asked for and shown.
func (c *initCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	draft, err := c.draft(at)
	if err != nil {
		return err
	}
	if c.Print {
		return printScript(draft.Text())
	}
	path := filepath.Join(at.cwd, profiles.ProjectFile)
	if err := writeNew(path, draft.Text()); err != nil {
		return err
	}
	if at, err = findPlace(); err != nil {
		return err
	}
	layers, err := profiles.Read(at.options(""))
	if err != nil {
		return err
	}
	own, others := partAsked(layers.AskedByAll(), path)
	agreed := len(own) > 0 && c.From == ""
	if agreed {
		if err := trustRecords(at).Put(profiles.Record{Path: at.project.Dir, Grants: layers.IDs(own)}); err != nil {
			return err
		}
	}
	printInit(path, draft, own, agreed, layers.Tasks())
	if len(others) > 0 {
		return &profiles.GrantError{File: at.project.File(), Grants: others, Further: true}
	}
	return nil
}

// partAsked parts what the file that was just written asks for from what files in the folders above do.
func partAsked(asked []profiles.Grant, path string) (own, others []profiles.Grant) {
	for _, g := range asked {
		if g.From.File == path {
			own = append(own, g)
		} else {
			others = append(others, g)
		}
	}
	return own, others
}

func (c *initCmd) draft(at place) (profiles.Draft, error) {
	if at.project.Dir == at.cwd && (at.project.HoldsHome || at.project.System || at.project.Kernel) {
		return profiles.Draft{}, &sandbox.UsageError{Problem: at.cwd + " is no project", Hint: "change into a project's folder"}
	}
	draft := profiles.Draft{Schema: schemaFile()}
	kinds := profiles.Detect(at.cwd)
	if c.Kind != "" {
		kinds = slices.DeleteFunc(kinds, func(k profiles.Kind) bool { return k.Name == c.Kind })
		kinds = append([]profiles.Kind{{Name: c.Kind, File: "what you chose"}}, kinds...)
		if !slices.Contains(profiles.BuiltinNames(), c.Kind) {
			return draft, &sandbox.UsageError{Problem: fmt.Sprintf("there is no built-in profile %q", c.Kind), Hint: strings.Join(profiles.BuiltinNames(), ", ")}
		}
	}
	if len(kinds) > 0 {
		draft.Kind, draft.Others = kinds[0], kinds[1:]
	}
	if c.From != "" {
		if err := draft.TakeDevcontainer(c.From, at.account.Home, at.cwd); err != nil {
			return draft, err
		}
	}
	return draft, nil
}

// schemaFile is the schema that is installed beside sbx, for editors; empty if none is.
func schemaFile() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(filepath.Dir(self)), "share/sbx/sbx.schema.json")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// writeNew writes a file that must not exist yet, nor be a link to anywhere.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &sandbox.UsageError{Problem: path + " exists already", Hint: "sbx init --print shows what it would write"}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
