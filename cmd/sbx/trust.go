package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sbx/profiles"
	"sbx/sandbox"
)

type trustCmd struct {
	Profile string `short:"p" placeholder:"NAME" help:"As with run: what this profile of yours gives is not asked for."`
	Show    bool   `help:"List what it asks for, and print the hash that run --trust takes."`
	List    bool   `help:"List the projects and what was agreed to."`
	JSON    bool   `name:"json" help:"Print JSON."`
	Yes     bool   `hidden:"" help:"Taken, since other verbs ask: this one never does."`
	Hash    string `arg:"" optional:"" help:"Agree only if it asks for exactly this."`
}

// Run lists all that any part of the project's file asks for, and records that it is agreed to.
func (c *trustCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	if c.List {
		list, err := trustRecords(at).All()
		if err != nil {
			return err
		}
		return printRecords(list, c.JSON)
	}
	if !at.project.HasFile {
		return &sandbox.UsageError{Problem: "there is no sbx.toml in this folder or above", Hint: "change into the project's folder"}
	}
	layers, err := profiles.Read(at.options(c.Profile))
	if err != nil {
		return err
	}
	asked := layers.AskedByAll()
	hash := layers.Hash(asked)
	if c.Show {
		return printAsked(at.project.File(), asked, hash, c.JSON)
	}
	if c.Hash != "" && c.Hash != hash {
		return &profiles.GrantError{File: at.project.File(), Grants: asked, Hash: hash}
	}
	record := profiles.Record{Path: at.project.Dir, Grants: layers.IDs(asked)}
	if err := trustRecords(at).Put(record); err != nil {
		return err
	}
	return printAgreed(at.project.File(), asked)
}

type untrustCmd struct {
	Dir string `arg:"" optional:"" help:"The project's folder; that of the working folder if none."`
}

// Run forgets what was agreed to for a project, which may be gone.
func (c *untrustCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	dir := at.project.Dir
	if c.Dir != "" {
		if dir, err = filepath.Abs(c.Dir); err != nil {
			return fmt.Errorf("finding %q: %w", c.Dir, err)
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		} else if !os.IsNotExist(err) {
			return err
		}
	}
	known, err := trustRecords(at).Remove(dir)
	if err != nil {
		return err
	}
	printForgotten(dir, known)
	return nil
}
