package main

import (
	"fmt"
	"slices"
	"strings"

	"sbx/sandbox"
	"sbx/state"
)

type psCmd struct {
	All    bool     `short:"a" help:"Also sandboxes that have ended."`
	Filter []string `sep:"none" placeholder:"KEY=VALUE" help:"Only those whose name, status, image or level is this one."`
	Quiet  bool     `short:"q" help:"Print names alone."`
	JSON   bool     `name:"json" help:"Print JSON."`
}

// Run lists sandboxes.
func (c *psCmd) Run() error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	matches, err := c.filters()
	if err != nil {
		return err
	}
	list, left, broken := store.List()
	for _, l := range left {
		printLeft(l)
	}
	for _, err := range broken {
		printBroken(err)
	}
	list = slices.DeleteFunc(list, func(r *state.Record) bool {
		return !matches(r) || !c.All && len(c.Filter) == 0 && r.Status() == state.Exited
	})
	return printSandboxes(list, holding(store, list), c.Quiet, c.JSON)
}

// filters tells which sandboxes are asked for: all filters have to hold, of one key any.
func (c *psCmd) filters() (func(*state.Record) bool, error) {
	values := map[string][]string{}
	for _, f := range c.Filter {
		key, value, ok := strings.Cut(f, "=")
		if !ok || !slices.Contains([]string{"name", "status", "image", "level"}, key) {
			return nil, &sandbox.UsageError{Problem: fmt.Sprintf("--filter %s: not of the form KEY=VALUE", f), Hint: "keys are name, status, image and level"}
		}
		values[key] = append(values[key], value)
	}
	return func(r *state.Record) bool {
		for key, any := range values {
			is := map[string]string{"name": r.Name, "status": string(r.Status()), "image": r.Image, "level": r.Level}[key]
			if !slices.Contains(any, is) {
				return false
			}
		}
		return true
	}, nil
}
