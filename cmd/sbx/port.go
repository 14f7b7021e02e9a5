package main

import (
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
)

type portCmd struct {
	JSON  bool     `name:"json" help:"Print JSON."`
	Name  string   `arg:"" help:"The sandbox."`
	Do    string   `arg:"" optional:"" default:"ls" enum:"add,ls,rm" help:"add, ls or rm."`
	Ports []string `arg:"" optional:"" name:"ports" placeholder:"[IP:]HOST:INSIDE[/udp]" help:"The ports to publish or to take back."`
}

// Run changes which ports of a running sandbox are published, for as long as it runs, or prints them.
func (c *portCmd) Run() error {
	list := []profiles.Port{}
	for _, text := range c.Ports {
		p, err := profiles.ParsePort(text)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	if (c.Do == "ls") != (len(list) == 0) {
		return &sandbox.UsageError{Problem: "sbx port: add and rm take ports, and ls takes none", Hint: "sbx port " + c.Name + " add 8080:80"}
	}
	store, _, err := lookUpRunning(c.Name)
	if err != nil {
		return err
	}
	var published []slirp.Port
	if c.Do == "ls" {
		list = append(list, profiles.Port{})
	}
	for _, p := range list {
		if published, err = sandbox.Port(store, c.Name, c.Do, p); err != nil {
			return err
		}
	}
	if c.Do != "ls" {
		return nil
	}
	return printPorts(published, c.JSON)
}
