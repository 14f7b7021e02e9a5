package main

import (
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// flowTime is how long a UDP flow is kept on which nothing moves.
const flowTime = 90 * time.Second

// admit decides about the first packet of a UDP flow.
func (g *gateway) admit(id stack.TransportEndpointID) bool {
	dst := destination(id)
	v := g.policy.decide(dst, true)
	if !v.allowed {
		g.policy.refuseAddress(dst, "udp", v)
	}
	return v.allowed
}

// flow begins a UDP flow.
func (g *gateway) flow(r *udp.ForwarderRequest) {
	dst := destination(r.ID())
	select {
	case g.flows <- struct{}{}:
	default:
		return
	}
	var queue waiter.Queue
	endpoint, err := r.CreateEndpoint(&queue)
	if err != nil {
		<-g.flows
		return
	}
	client := gonet.NewUDPConn(&queue, endpoint)
	go func() {
		defer func() { <-g.flows }()
		defer client.Close()
		v := g.policy.decide(dst, true)
		server, err := dialPackets(dst, v.names)
		if err != nil {
			return
		}
		defer server.Close()
		g.policy.report.reach(contactKey{name: g.policy.nameFor(v, dst.Addr()), address: dst.Addr(), port: dst.Port(), protocol: "udp"})
		done := make(chan struct{})
		go func() {
			defer close(done)
			passPackets(client, server)
		}()
		passPackets(server, client)
		server.SetReadDeadline(time.Now())
		<-done
	}()
}

func dialPackets(dst netip.AddrPort, names []string) (net.Conn, error) {
	if onHost(dst, names...) {
		return dialHost("udp", dst.Port())
	}
	return dialer.Dial("udp", dst.String())
}

// passPackets passes packets on until none has come for a while, either way.
func passPackets(to, from net.Conn) {
	b := make([]byte, 65535)
	for {
		from.SetReadDeadline(time.Now().Add(flowTime))
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
