package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// dialer makes the sockets of the host's.
var dialer = net.Dialer{Timeout: 30 * time.Second}

// helloTime is how long a client may take to say for whom a connection is.
const helloTime = 20 * time.Second

// connection decides about a connection that the sandbox begins. It has a goroutine of its own.
func (g *gateway) connection(r *tcp.ForwarderRequest) {
	dst := destination(r.ID())
	v := g.policy.decide(dst, false)
	if !v.allowed {
		v = g.policy.asksAddress(dst, v)
	}
	if !v.allowed {
		g.policy.refuseAddress(dst, "tcp", v)
		r.Complete(true)
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		g.policy.report.refuse(contactKey{address: dst.Addr(), port: dst.Port(), protocol: "tcp", why: "too many connections at once"}, "")
		r.Complete(true)
		return
	}
	if len(v.names) > 0 && (dst.Port() == 443 || dst.Port() == 80) {
		g.named(r, dst)
		return
	}
	g.plain(r, dst, v)
}

// plain connects first, so that the sandbox sees what the host saw. Where the address is open for a name
// alone, a TLS hello that comes nevertheless must name one that is allowed.
func (g *gateway) plain(r *tcp.ForwarderRequest, dst netip.AddrPort, v verdict) {
	server, err := g.dial(first(v.names), dst, v.names...)
	if err != nil {
		g.tellProxy(first(v.names), dst, err)
		r.Complete(true)
		return
	}
	defer server.Close()
	client, err := g.accept(r)
	if err != nil {
		return
	}
	g.policy.report.reach(contactKey{name: g.policy.nameFor(v, dst.Addr()), address: dst.Addr(), port: dst.Port(), protocol: "tcp"})
	if len(v.names) == 0 {
		relay(client, client, server)
		return
	}
	go func() {
		copyAll(client, server, client.buffers)
		client.CloseWrite()
	}()
	g.watchHello(client, server, dst)
}

// dial connects to an address for a name, if there is one. names are those for which it is open.
func (g *gateway) dial(name string, dst netip.AddrPort, names ...string) (net.Conn, error) {
	if onHost(dst, names...) {
		return dialHost("tcp", dst.Port())
	}
	return g.upstream.dial(name, dst)
}

// dialHost connects to the host's loopback: by IPv4, else by IPv6.
func dialHost(network string, port uint16) (net.Conn, error) {
	c, err := dialer.Dial(network, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String())
	if err == nil {
		return c, nil
	}
	return dialer.Dial(network, netip.AddrPortFrom(netip.IPv6Loopback(), port).String())
}

// tellProxy counts what a proxy of the host's did not reach.
func (g *gateway) tellProxy(name string, dst netip.AddrPort, err error) {
	var by *proxyError
	if errors.As(err, &by) {
		g.policy.report.refuse(contactKey{name: name, address: dst.Addr(), port: dst.Port(), protocol: "tcp", why: by.Error()}, "")
	}
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// watchHello passes on what the client sends, but for a TLS hello to somebody else.
func (g *gateway) watchHello(client *clientConn, server net.Conn, dst netip.AddrPort) {
	p := &peeked{stream: client, limit: maxHello}
	name, err := "", error(errMore)
	for err == errMore {
		if len(p.held) > 0 && p.held[0] != 22 {
			break // no TLS
		}
		if e := p.more(); e != nil {
			break
		}
		name, err = helloName(p.buffered())
	}
	if err == nil && !g.policy.reaches(name, dst.Port(), false) {
		g.policy.refuseName(name, dst, "the TLS hello names another host")
		client.abort()
		return
	}
	finish(client, server, copyAll(server, p, client.buffers))
}

// finish ends a connection whose client has said all. Where it was cut off, nobody waits for an answer.
func finish(client *clientConn, server net.Conn, err error) {
	if err != nil {
		server.Close()
	} else if c, ok := server.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	client.wait()
}

// named lets the client speak first, and connects only to whom it may.
func (g *gateway) named(r *tcp.ForwarderRequest, dst netip.AddrPort) {
	client, err := g.accept(r)
	if err != nil {
		return
	}
	p := &peeked{stream: client, limit: maxHello + 4096}
	client.SetReadDeadline(time.Now().Add(helloTime))
	name, err := g.whose(p, dst.Port())
	client.SetReadDeadline(time.Time{})
	if err != nil || !g.policy.reaches(name, dst.Port(), false) {
		if err != io.EOF {
			g.policy.refuseName(name, dst, reason(err))
		}
		client.abort()
		return
	}
	server, err := g.dial(name, dst, name)
	if err != nil {
		g.tellProxy(name, dst, err)
		client.abort()
		return
	}
	defer server.Close()
	g.policy.report.reach(contactKey{name: name, address: dst.Addr(), port: dst.Port(), protocol: "tcp"})
	if dst.Port() == 443 {
		relay(client, p, server)
		return
	}
	g.requests(client, p, server, dst)
}

// requests passes HTTP requests on, each of which must be for a name that is allowed.
func (g *gateway) requests(client *clientConn, p *peeked, server net.Conn, dst netip.AddrPort) {
	go func() {
		copyAll(client, server, client.buffers)
		client.CloseWrite()
	}()
	err := forwardRequests(p, server, func(host string) error {
		if g.policy.reaches(host, dst.Port(), false) {
			return nil
		}
		g.policy.refuseName(host, dst, "the request names another host")
		return errNoHTTP
	})
	if err != io.EOF {
		client.abort()
		return
	}
	finish(client, server, nil)
}

// whose is the name that the first bytes of a connection are for.
func (g *gateway) whose(p *peeked, port uint16) (string, error) {
	if port == 80 {
		h, err := readHead(p)
		return h.host, err
	}
	for {
		name, err := helloName(p.buffered())
		if err != errMore {
			return name, err
		}
		if err := p.more(); err != nil {
			return "", err
		}
	}
}

func reason(err error) string {
	switch {
	case err == nil:
		return "the connection names another host"
	case errors.Is(err, errNoTLS), errors.Is(err, errNoName), errors.Is(err, errHelloLong), errors.Is(err, errNoHTTP), errors.Is(err, errHeadLong):
		return err.Error()
	case errors.Is(err, io.ErrShortBuffer):
		return "it does not say in time for whom it is"
	}
	return "it did not say for whom it is"
}

// clientConn is a connection of the sandbox's.
type clientConn struct {
	*gonet.TCPConn
	endpoint tcpip.Endpoint
	buffers  *sync.Pool
	gone     chan struct{}
	once     sync.Once
}

// accept takes the connection that the sandbox began.
func (g *gateway) accept(r *tcp.ForwarderRequest) (*clientConn, error) {
	var queue waiter.Queue
	endpoint, err := r.CreateEndpoint(&queue)
	if err != nil {
		r.Complete(true)
		return nil, failed(err)
	}
	r.Complete(false)
	buffers := large
	if len(g.slots) > crowd {
		buffers = small
		endpoint.SocketOptions().SetSendBufferSize(smallBuffer, true)
		endpoint.SocketOptions().SetReceiveBufferSize(smallBuffer, true)
	}
	return &clientConn{TCPConn: gonet.NewTCPConn(&queue, endpoint), endpoint: endpoint, buffers: buffers, gone: make(chan struct{})}, nil
}

// abort resets the connection.
func (c *clientConn) abort() {
	c.endpoint.Abort()
	c.Close()
}

// CloseWrite tells the client that no more will come.
func (c *clientConn) CloseWrite() error {
	err := c.TCPConn.CloseWrite()
	c.once.Do(func() { close(c.gone) })
	return err
}

// wait waits until all that came for the client has been handed over, and closes.
func (c *clientConn) wait() {
	<-c.gone
	c.Close()
}

// relay passes on both ways, from what the client sent, until both sides are done.
func relay(client *clientConn, from io.Reader, server net.Conn) {
	go func() {
		if copyAll(client, server, client.buffers) != nil {
			client.abort()
		}
		client.CloseWrite()
	}()
	finish(client, server, copyAll(server, from, client.buffers))
}

// Buffers in which data is passed on, of two sizes: in a crowd the large ones would be most of the memory.
var large, small = pool(64 << 10), pool(4 << 10)

func pool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// copyAll copies until the end. The bare reader and writer keep package net from ways of its own, which
// allocate or want system calls that are not there.
func copyAll(to io.Writer, from io.Reader, buffers *sync.Pool) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, *b)
	return err
}

// refuseAddress counts a connection to an address that is not open.
func (p *policy) refuseAddress(dst netip.AddrPort, protocol string, v verdict) {
	host := dst.Addr().String()
	if len(v.names) > 0 {
		host = slices.Min(v.names)
	}
	key := contactKey{name: first(v.names), address: dst.Addr(), port: dst.Port(), protocol: protocol, why: v.why}
	p.report.refuse(key, entryFor(host, dst.Port(), protocol == "udp"))
}

// refuseName counts a connection to an address that is open, for somebody else.
func (p *policy) refuseName(name string, dst netip.AddrPort, why string) {
	host := name
	if host == "" {
		host = dst.Addr().String()
	}
	p.report.refuse(contactKey{name: name, address: dst.Addr(), port: dst.Port(), protocol: "tcp", why: why}, entryFor(host, dst.Port(), false))
}
