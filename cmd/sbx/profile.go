package main

import (
	"path/filepath"

	"sbx/profiles"
	"sbx/sandbox"
)

type profileCmd struct {
	List  profileListCmd  `cmd:"" help:"List the profiles and variants that -p can name."`
	Show  profileShowCmd  `cmd:"" help:"Print the merged profile."`
	Check profileCheckCmd `cmd:"" help:"Check profiles, offline; the status is 1 where one is wrong."`
}

type profileListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the profiles by name, with where each comes from.
func (c *profileListCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	layers, err := profiles.Read(at.options(""))
	if err != nil {
		return err
	}
	return printNames(layers.Names(), c.JSON)
}

type profileShowCmd struct {
	Origin bool   `help:"Say with each value where it was written."`
	JSON   bool   `name:"json" help:"Print JSON."`
	Name   string `arg:"" optional:"" help:"The profile or variant, as with -p."`
}

// Run prints the profile that a run in this folder would have, as TOML.
func (c *profileShowCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	layers, err := profiles.Read(at.options(c.Name))
	if err != nil {
		return err
	}
	return printProfile(layers.Merge(), layers.Asked(), c.Origin, c.JSON)
}

type profileCheckCmd struct {
	JSON  bool     `name:"json" help:"Print JSON."`
	Files []string `arg:"" optional:"" name:"file" help:"Profiles to check; the project's sbx.toml if none."`
}

// Run checks the project's file as a machine without configuration sees it, or the files named. The
// exit status is 1 when one is wrong.
func (c *profileCheckCmd) Run() error {
	at, err := findPlace()
	if err != nil {
		return err
	}
	checked, err := c.check(at)
	if err != nil {
		return err
	}
	if err := printChecked(checked, c.JSON); err != nil {
		return err
	}
	for _, file := range checked {
		if file.err != nil {
			return exitStatus(1)
		}
	}
	return nil
}

// checkedFile is a file, what is wrong with it, and what it asks for.
type checkedFile struct {
	path   string
	err    error
	grants []profiles.Grant
}

func (c *profileCheckCmd) check(at place) ([]checkedFile, error) {
	o := at.options("")
	if len(c.Files) > 0 {
		var list []checkedFile
		for _, file := range c.Files {
			path, err := filepath.Abs(file)
			if err != nil {
				return nil, err
			}
			list = append(list, checkedFile{path: path, err: profiles.CheckFile(path, o)})
		}
		return list, nil
	}
	if !at.project.HasFile {
		return nil, &sandbox.UsageError{Problem: "there is no sbx.toml in this folder or above", Hint: "name the file: sbx profile check FILE"}
	}
	grants, err := profiles.CheckProject(o)
	return []checkedFile{{at.project.File(), err, grants}}, nil
}
