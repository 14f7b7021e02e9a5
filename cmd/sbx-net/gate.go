package main

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"sbx/slirp"
)

// gate stands between the device and the stack. Only whole TCP and UDP packets from the sandbox's own
// addresses come through, so that the stack's code for fragments, options of IPv6, ICMP and the like is out
// of a payload's reach. Pings are answered with an error at once.
type gate struct {
	nested.Endpoint
	child  stack.LinkEndpoint
	policy *policy
}

var (
	_ stack.NetworkDispatcher = (*gate)(nil)
	_ stack.LinkEndpoint      = (*gate)(nil)

	sandboxIPv4 = netip.MustParsePrefix(slirp.SandboxIPv4).Addr()
	sandboxIPv6 = netip.MustParsePrefix(slirp.SandboxIPv6).Addr()
)

func newGate(child stack.LinkEndpoint, p *policy) *gate {
	g := &gate{child: child, policy: p}
	g.Endpoint.Init(child, g)
	return g
}

// DeliverNetworkPacket takes a packet of the sandbox's.
func (g *gate) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, packet *stack.PacketBuffer) {
	switch protocol {
	case header.IPv4ProtocolNumber:
		if b, ok := packet.Data().PullUp(header.IPv4MinimumSize); !ok || !g.passes4(header.IPv4(b), packet) {
			return
		}
	case header.IPv6ProtocolNumber:
		if b, ok := packet.Data().PullUp(header.IPv6MinimumSize); !ok || !g.passes6(header.IPv6(b), packet) {
			return
		}
	default:
		return
	}
	g.Endpoint.DeliverNetworkPacket(protocol, packet)
}

func (g *gate) passes4(h header.IPv4, packet *stack.PacketBuffer) bool {
	dst := netip.AddrFrom4(h.DestinationAddress().As4())
	switch {
	case netip.AddrFrom4(h.SourceAddress().As4()) != sandboxIPv4 || dst.IsMulticast():
		return false
	case h.More() || h.FragmentOffset() > 0:
		return false
	case h.TransportProtocol() == header.TCPProtocolNumber || h.TransportProtocol() == header.UDPProtocolNumber:
		return true
	}
	g.refuse(dst, packet, int(h.HeaderLength()), header.IPv4ProtocolNumber)
	return false
}

func (g *gate) passes6(h header.IPv6, packet *stack.PacketBuffer) bool {
	dst := netip.AddrFrom16(h.DestinationAddress().As16())
	switch {
	case netip.AddrFrom16(h.SourceAddress().As16()) != sandboxIPv6 || dst.IsMulticast():
		return false
	case h.TransportProtocol() == header.TCPProtocolNumber || h.TransportProtocol() == header.UDPProtocolNumber:
		return true
	}
	g.refuse(dst, packet, header.IPv6MinimumSize, header.IPv6ProtocolNumber)
	return false
}

// quoted is how much of a refused packet comes back with the error, in bytes: RFC 792 and RFC 4443 want
// enough to tell which one it was.
const quoted = 64

// refuse answers a packet that is neither TCP nor UDP: "administratively prohibited". No answer is given to
// ICMP errors, as the RFCs say.
func (g *gate) refuse(dst netip.Addr, packet *stack.PacketBuffer, headerLength int, protocol tcpip.NetworkProtocolNumber) {
	original, ok := packet.Data().PullUp(min(headerLength+quoted, packet.Data().Size()))
	if !ok || len(original) <= headerLength {
		return
	}
	var answer []byte
	kind := original[headerLength]
	switch {
	case protocol == header.IPv4ProtocolNumber && kind == byte(header.ICMPv4Echo):
		answer = prohibited4(dst, original)
	case protocol == header.IPv6ProtocolNumber && kind == byte(header.ICMPv6EchoRequest):
		answer = prohibited6(dst, original)
	default:
		return
	}
	g.policy.report.refuse(contactKey{address: dst, protocol: "icmp", why: "only TCP and UDP are passed on"}, "")
	reply := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(answer)})
	defer reply.DecRef()
	reply.NetworkProtocolNumber = protocol
	var list stack.PacketBufferList
	list.PushBack(reply)
	g.child.WritePackets(list)
}

// prohibited4 is RFC 1812's "communication with destination host is administratively prohibited".
func prohibited4(from netip.Addr, original []byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize, header.IPv4MinimumSize+header.ICMPv4MinimumSize+len(original))
	b = append(b, original...)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(sandboxIPv4.As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	message := header.ICMPv4(b[header.IPv4MinimumSize:])
	message.SetType(header.ICMPv4DstUnreachable)
	message.SetCode(header.ICMPv4HostProhibited)
	message.SetChecksum(^checksum.Checksum(message, 0))
	return b
}

// prohibited6 is RFC 4443's "communication with destination administratively prohibited".
func prohibited6(from netip.Addr, original []byte) []byte {
	b := make([]byte, header.IPv6MinimumSize+header.ICMPv6MinimumSize, header.IPv6MinimumSize+header.ICMPv6MinimumSize+len(original))
	b = append(b, original...)
	source, target := tcpip.AddrFrom16(from.As16()), tcpip.AddrFrom16(sandboxIPv6.As16())
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(b) - header.IPv6MinimumSize), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 64,
		SrcAddr: source, DstAddr: target,
	})
	message := header.ICMPv6(b[header.IPv6MinimumSize:])
	message.SetType(header.ICMPv6DstUnreachable)
	message.SetCode(header.ICMPv6Prohibited)
	message.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message, Src: source, Dst: target}))
	return b
}
