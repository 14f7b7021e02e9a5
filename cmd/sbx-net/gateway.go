package main

import (
	"errors"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"sbx/slirp"
)

// gateway is what the sandbox takes for the world: a TCP/IP stack that answers for every address.
type gateway struct {
	policy   *policy
	resolver *resolver
	upstream *upstream
	stack    *stack.Stack
	slots    chan struct{} // one for each TCP connection
	flows    chan struct{} // one for each UDP flow
}

const (
	nic = 1
	// maxConnections and maxFlows are how many TCP connections and UDP flows a sandbox may have at once.
	maxConnections = 512
	maxFlows       = 256
	// maxInFlight is how many connections may be on their way; the kernel inside asks again for more.
	maxInFlight = 256
)

// Buffers of a TCP connection, in bytes. They are what a payload that does not read can fill.
const (
	minBuffer     = 4 << 10
	defaultBuffer = 128 << 10
	maxBuffer     = 512 << 10
	crowd         = 100 // connections from which on the buffers are small
	smallBuffer   = 8 << 10
)

// serve starts to read the device's packets.
func (g *gateway) serve(device int) error {
	link, err := fdbased.New(&fdbased.Options{
		FDs: []int{device}, MTU: slirp.MTU, PacketDispatchMode: fdbased.Readv,
		RXChecksumOffload: true, // they come from a kernel and not over a wire
	})
	if err != nil {
		return err
	}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	g.tune()
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(g.stack, 0, maxInFlight, g.connection).HandlePacket)
	flows := udp.NewForwarder(g.stack, g.flow)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, func(id stack.TransportEndpointID, packet *stack.PacketBuffer) bool {
		return g.admit(id) && flows.HandlePacket(id, packet) // what is not handled gets an ICMP error
	})
	if err := failed(g.stack.CreateNIC(nic, newGate(link, g.policy))); err != nil {
		return err
	}
	return errors.Join(
		failed(g.stack.SetPromiscuousMode(nic, true)), // it takes packets for all addresses
		failed(g.stack.SetSpoofing(nic, true)),        // and answers from all
		g.listen())
}

// tune sets the sizes of buffers and the routes.
func (g *gateway) tune() {
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer}
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &receive)
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &send)
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate)
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
}

// listen starts the resolver, on its address inside.
func (g *gateway) listen() error {
	address := tcpip.AddrFrom4(netip.MustParseAddr(slirp.Resolver).As4())
	protocol := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address.WithPrefix()}
	if err := failed(g.stack.AddProtocolAddress(nic, protocol, stack.AddressProperties{})); err != nil {
		return err
	}
	at := tcpip.FullAddress{NIC: nic, Addr: address, Port: 53}
	packets, err := gonet.DialUDP(g.stack, &at, nil, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	listener, err := gonet.ListenTCP(g.stack, at, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	go g.resolver.servePackets(packets)
	go g.resolver.serveStreams(listener)
	return nil
}

func failed(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the network stack: %s", err)
}

// destination is whom a packet of the sandbox is for.
func destination(id stack.TransportEndpointID) netip.AddrPort {
	address, _ := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	return netip.AddrPortFrom(address.Unmap(), id.LocalPort)
}
