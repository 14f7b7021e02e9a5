// Command sbx-net is the network of one sandbox: it reads the packets of the sandbox's network device, and
// makes what they ask for out of sockets of the host's, as far as the allowlist lets it. sbx starts it and
// talks to it; it is not for people.
//
// It is a program of its own for the start time that its TCP/IP stack would cost sbx, and for the wall: it
// reads what hostile peers send on both sides, and so gives up files, other programs and all system calls
// but those that it needs before it reads the first packet.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"sbx/harden"
	"sbx/slirp"
)

// controlFD is the socket to the supervisor. Its end is the end of this program.
const controlFD = 3

// memoryLimit is what the garbage collector keeps to, in bytes.
const memoryLimit = 48 << 20

func main() {
	if len(os.Args) > 1 || unix.SetNonblock(controlFD, true) != nil {
		fmt.Fprintln(os.Stderr, "sbx-net: started by sbx alone, see sbx(1)")
		os.Exit(2)
	}
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(50)
	supervisor := newControl(controlFD)
	if err := run(supervisor); err != nil {
		supervisor.say(slirp.Word{Error: err.Error()})
		os.Exit(1)
	}
}

// run serves the sandbox until the supervisor says that it is over, or is gone.
func run(supervisor *control) error {
	warmUp()
	filter, err := harden.Compile(ownPolicy(), harden.HostArch())
	if err != nil {
		return err
	}
	setup, device, err := supervisor.setup()
	if err != nil {
		return fmt.Errorf("reading what is to be done: %w", err)
	}
	rules, err := newPolicy(setup)
	if err != nil {
		return fmt.Errorf("reading the allowlist: %w", err)
	}
	rules.ask = newAsker(setup.Ask, func(q *slirp.Question) { supervisor.say(slirp.Word{Ask: q}) })
	servers := newResolver(rules, setup.ResolvConf, func() { supervisor.say(slirp.Word{Resolv: true}) })
	proxies, err := newUpstream(setup.Proxies)
	if err != nil {
		return err
	}
	if proxies != nil {
		servers.byName = proxies.names
	}
	g := &gateway{policy: rules, resolver: servers, upstream: proxies, slots: make(chan struct{}, maxConnections), flows: make(chan struct{}, maxFlows)}
	if err := confine(filter); err != nil {
		return fmt.Errorf("giving up what is not needed: %w", err)
	}
	if err := g.serve(device); err != nil {
		return fmt.Errorf("starting the network: %w", err)
	}
	supervisor.say(slirp.Word{Ready: true})
	for {
		reply, err := supervisor.hear()
		switch {
		case err != nil:
			return errors.New("sbx has ended") // and hears this no more
		case reply.ResolvConf != nil:
			servers.configure(*reply.ResolvConf)
		case reply.Answer != nil:
			rules.ask.decide(*reply.Answer, rules)
		case reply.Report:
			supervisor.say(slirp.Word{Report: rules.report.sum()})
		case reply.End:
			leave(device) // first: who has the report may kill this program
			supervisor.say(slirp.Word{Report: rules.report.sum()})
			return nil
		}
	}
}

// leave has the device go with its network namespace, which the kernel takes down when nobody waits for it. As the last one
// to close it, this program would take some 20 ms to end. Where it ends by itself the device goes at once, and the network
// with it. The kernel asks for no privilege but the descriptor: tuntap.rst, TUNSETPERSIST.
func leave(device int) { unix.IoctlSetInt(device, unix.TUNSETPERSIST, 1) }

// warmUp makes the Go runtime find out what sockets this kernel has while it still may.
func warmUp() {
	if c, err := dialer.Dial("udp", netip.MustParseAddrPort("127.0.0.1:9").String()); err == nil {
		c.Close()
	}
}
