package main

import (
	"fmt"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
)

// maxRefusals is how many refusals are told one by one.
const maxRefusals = 20

// printNetwork tells what the network refused, and what would allow it.
func printNetwork(s *sandbox.Spec, r sandbox.Result) {
	if s.Network == profiles.NetNone && r.Status != 0 && r.Status < 126 && !r.TimedOut {
		message("the run had no network")
		if service := s.Service(); service != "" {
			hint("if it failed for that: --allow @%s allows what the tool is configured to use, --allow HOST[:PORT] a host", service)
		} else {
			hint("if it failed for that, name the hosts that it needs: --allow HOST[:PORT]")
		}
		return
	}
	if r.Network == nil {
		return
	}
	refused := r.Network.Refused
	for i, c := range refused {
		if i == maxRefusals {
			message("refused: %d more destinations", len(refused)-i)
			break
		}
		message("refused: %s", refusalWords(&c))
	}
	if r.Network.More > 0 {
		message("refused or reached: more destinations than are counted")
	}
}

func refusalWords(c *slirp.Contact) string {
	where := c.Name
	if c.Address != "" {
		where = strings.TrimSpace(c.Name + " " + c.Address)
	}
	if c.Port != 0 {
		where += fmt.Sprintf(", %s port %d", c.Protocol, c.Port)
	} else if c.Protocol == "icmp" {
		where += ", icmp"
	}
	words := where + ": " + c.Why
	if c.Count > 1 {
		words += fmt.Sprintf(" (%d times)", c.Count)
	}
	if c.Entry != "" {
		words += "; to allow it: --allow " + c.Entry
	}
	return words
}
