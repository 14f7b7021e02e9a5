package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
	"sbx/state"
)

// maxRefusals is how many refusals are told one by one.
const maxRefusals = 20

// printNetwork tells what the network refused, and what would allow it.
func printNetwork(s *sandbox.Spec, r sandbox.Result) {
	if r.SoughtNetwork && r.Status != 0 && r.Status < 126 {
		message("the run had no network, and tried to reach one")
		service := s.Service()
		switch {
		case s.Egress.Unused:
			hint("the profile's allow has no effect under mode none: --net on, or mode = \"on\" in [network]")
		case service != "":
			hint("if it failed for that: --allow @%s allows what the tool is configured to use, --allow HOST[:PORT] a host", service)
		default:
			hint("if it failed for that, name the hosts that it needs: --allow HOST[:PORT]")
		}
		return
	}
	if r.Network == nil {
		return
	}
	for _, a := range r.Network.Allowed {
		message("allowed when asked: %s", a.Entry)
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

// destination is whom a contact was with.
func destination(c *slirp.Contact) string {
	where := strings.TrimSpace(c.Name + " " + c.Address)
	if c.Port != 0 {
		where += fmt.Sprintf(", %s port %d", c.Protocol, c.Port)
	} else if c.Protocol == "icmp" {
		where += ", icmp"
	}
	return where
}

// printTraffic prints what a sandbox has reached and was refused.
func printTraffic(r *state.Record, report *slirp.Report, asJSON bool) error {
	if asJSON {
		if report == nil {
			report = &slirp.Report{Refused: []slirp.Contact{}, Reached: []slirp.Contact{}}
		}
		return printJSON(report)
	}
	if report == nil {
		message("nobody counts what the network %s of %s reaches: --net builtin and --allow do", r.Network, r.Name)
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	for _, c := range report.Reached {
		fmt.Fprintf(w, "reached\t%s\t%s\t%s\n", escape(destination(&c)), timesWords(&c), "")
	}
	for _, a := range report.Allowed {
		fmt.Fprintf(w, "allowed\t%s\twhen asked, %s\t\n", escape(a.Entry), a.At.Local().Format(clock))
	}
	for _, c := range report.Refused {
		fmt.Fprintf(w, "refused\t%s\t%s\t%s\n", escape(destination(&c)), timesWords(&c), escape(reasonWords(&c)))
	}
	if report.More > 0 {
		fmt.Fprintf(w, "more\tdestinations than are told one by one\t%d times\t\n", report.More)
	}
	return w.Flush()
}

const clock = "2006-01-02 15:04:05"

// timesWords tell how often, and when.
func timesWords(c *slirp.Contact) string {
	if c.Count == 1 {
		return "once, " + c.First.Local().Format(clock)
	}
	return fmt.Sprintf("%d times, %s to %s", c.Count, c.First.Local().Format(clock), c.Last.Local().Format(clock))
}

// reasonWords are why something was refused, ending with what would allow it.
func reasonWords(c *slirp.Contact) string {
	if c.Entry == "" {
		return c.Why
	}
	return c.Why + "; to allow it: --allow " + c.Entry
}

// questionWords put a question about the network. number has to be part of an answer that allows.
func questionWords(q *slirp.Question, number string) string {
	who := escape(q.Name)
	if q.Name == "" {
		who = escape(q.Address)
		if a, err := netip.ParseAddr(q.Address); err == nil && (a.IsPrivate() || !a.IsGlobalUnicast()) {
			who += ", an address of a local network,"
		}
	}
	ports := "ports 443 and 80"
	if q.Port != 0 {
		ports = "port " + strconv.Itoa(int(q.Port))
	}
	return fmt.Sprintf("sbx: the sandbox asks for %s at %s\n%s", who, ports, answersWords(number))
}

func answersWords(number string) string {
	return fmt.Sprintf("sbx: y%s allows it for this run, p%[1]s also prints the line for the profile, n refuses it, d refuses all from now on: ", number)
}

// profileWords are the line for the profile, with what it allows already.
func profileWords(rules []profiles.Rule, kept []string) string {
	var list []string
	for _, r := range rules {
		list = append(list, strconv.Quote(r.String()))
	}
	for _, entry := range kept {
		list = append(list, strconv.Quote(entry))
	}
	return "sbx: for [network] of the profile: allow = [" + escape(strings.Join(list, ", ")) + "]\n"
}

func lastQuestionWords() string {
	return fmt.Sprintf("sbx: that was the last of %d questions: all else is refused\n", slirp.MaxQuestions)
}

// printPorts prints which ports lead into a sandbox.
func printPorts(list []slirp.Port, asJSON bool) error {
	if asJSON {
		return printJSON(append([]slirp.Port{}, list...))
	}
	for _, p := range list {
		if _, err := fmt.Println(p); err != nil {
			return err
		}
	}
	return nil
}

// printPortAdvice says what helps where a port of the host cannot be had.
func printPortAdvice(err error) {
	var port *slirp.PortError
	switch {
	case !errors.As(err, &port):
	case port.Errno == unix.EADDRINUSE:
		hint("take another one, as in %d:%d; ss -ltnup tells who has it", nextPort(port.Port.Host), port.Port.Inside)
	case port.Errno == unix.EACCES:
		hint("take one of 1024 or above, as in %d:%d", 8000+port.Port.Host%1000, port.Port.Inside)
	case port.Errno == unix.EADDRNOTAVAIL:
		hint("ip address lists those of this machine; without one it is the loopback")
	}
}

func nextPort(n uint16) uint16 {
	if n == 65535 {
		return n - 1
	}
	return n + 1
}

func refusalWords(c *slirp.Contact) string {
	words := destination(c) + ": " + c.Why
	if c.Count > 1 {
		words += fmt.Sprintf(" (%d times)", c.Count)
	}
	if c.Entry != "" {
		words += "; to allow it: --allow " + c.Entry
	}
	return words
}
