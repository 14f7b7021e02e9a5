package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"

	"sbx/slirp"
)

// upstream makes the connections of the host's: directly, or through the proxies that the host is configured
// to use. A nil upstream knows no proxies.
type upstream struct {
	choose func(*url.URL) (*url.URL, error)
	// addresses are those of the proxies, by the host and port of their URLs: names are looked up before
	// all files are given up.
	addresses map[string]string
}

// proxyTime is how long a proxy may take to reach a host.
const proxyTime = 30 * time.Second

func newUpstream(p *slirp.Proxies) (*upstream, error) {
	if p == nil {
		return nil, nil
	}
	config := httpproxy.Config{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, NoProxy: p.None}
	u := &upstream{choose: config.ProxyFunc(), addresses: map[string]string{}}
	for _, scheme := range []string{"http", "https"} {
		via, err := u.choose(&url.URL{Scheme: scheme, Host: "proxied.invalid:1"})
		if via == nil || err != nil {
			continue // one that NO_PROXY leaves for nobody, or a URL that is none, which each connection then says
		}
		address, err := lookUpProxy(via)
		if err != nil {
			return nil, err
		}
		u.addresses[via.Host] = address
	}
	return u, nil
}

func lookUpProxy(via *url.URL) (string, error) {
	port := via.Port()
	if port == "" {
		port = map[string]string{"http": "80", "socks5": "1080", "socks5h": "1080"}[via.Scheme]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*serverTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, via.Hostname())
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("looking up the host's proxy %s: %w", via.Hostname(), err)
	}
	return net.JoinHostPort(found[0], port), nil
}

// via is the proxy for a host, or nil where it is reached directly. Port 80 is http, all others count as https.
func (u *upstream) via(host string, port uint16) (*url.URL, error) {
	if u == nil {
		return nil, nil
	}
	scheme := "https"
	if port == 80 {
		scheme = "http"
	}
	return u.choose(&url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(int(port)))})
}

// names tells whether a proxy is asked for the host by its name, so that nobody here has to know its address.
func (u *upstream) names(host string) bool {
	via, err := u.via(host, 443)
	return via != nil && err == nil
}

// dial connects to an address, for a name if there is one. A proxy is given the name.
func (u *upstream) dial(name string, dst netip.AddrPort) (net.Conn, error) {
	host := name
	if host == "" {
		host = dst.Addr().String()
	}
	via, err := u.via(host, dst.Port())
	switch {
	case err != nil:
		return nil, &proxyError{err}
	case via == nil && standIns.Contains(dst.Addr()):
		return nil, &proxyError{errors.New("no address is known here, and no proxy is configured for the port")}
	case via == nil:
		return dialer.Dial("tcp", dst.String())
	}
	c, err := u.through(via, net.JoinHostPort(host, strconv.Itoa(int(dst.Port()))))
	if err != nil {
		return nil, &proxyError{err}
	}
	return c, nil
}

// proxyError is a proxy of the host's that did not reach a host.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return "the host's proxy: " + e.err.Error() }

func (e *proxyError) Unwrap() error { return e.err }

func (u *upstream) through(via *url.URL, target string) (net.Conn, error) {
	address := u.addresses[via.Host]
	if address == "" {
		return nil, errors.New("its address is not known")
	}
	if via.Scheme == "socks5" || via.Scheme == "socks5h" {
		ctx, cancel := context.WithTimeout(context.Background(), proxyTime)
		defer cancel()
		socks, err := proxy.SOCKS5("tcp", address, socksUser(via), &dialer)
		if err != nil {
			return nil, err
		}
		return socks.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
	}
	c, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	tunnel, err := connectBy(c, via, target)
	if err != nil {
		c.Close()
	}
	return tunnel, err
}

func socksUser(via *url.URL) *proxy.Auth {
	if via.User == nil {
		return nil
	}
	password, _ := via.User.Password()
	return &proxy.Auth{User: via.User.Username(), Password: password}
}

// connectBy asks an HTTP proxy for a tunnel: RFC 9110, section 9.3.6.
func connectBy(c net.Conn, via *url.URL, target string) (net.Conn, error) {
	c.SetDeadline(time.Now().Add(proxyTime))
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if via.User != nil {
		password, _ := via.User.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return nil, err
	}
	t := &tunnel{TCPConn: c.(*net.TCPConn), rest: peeked{stream: c, limit: maxHead}}
	for {
		end := bytes.Index(t.rest.held, []byte("\r\n\r\n"))
		if end < 0 {
			if err := t.rest.more(); err != nil {
				return nil, fmt.Errorf("it did not answer: %w", err)
			}
			continue
		}
		line, _, _ := strings.Cut(string(t.rest.held[:end]), "\r\n")
		t.rest.held = t.rest.held[end+4:]
		if version, status, _ := strings.Cut(line, " "); !strings.HasPrefix(version, "HTTP/1.") || !strings.HasPrefix(status, "2") {
			return nil, fmt.Errorf("it answered %.60q", line)
		}
		return t, c.SetDeadline(time.Time{})
	}
}

// tunnel is a connection through an HTTP proxy, of which some was read with the proxy's answer.
type tunnel struct {
	*net.TCPConn
	rest peeked
}

func (t *tunnel) Read(b []byte) (int, error) {
	if len(t.rest.held) > 0 {
		n := copy(b, t.rest.held)
		t.rest.held = t.rest.held[n:]
		return n, nil
	}
	return t.TCPConn.Read(b)
}

// standIns are addresses that stand for names which only a proxy can look up. They are of nobody: RFC 2544.
var standIns = netip.MustParsePrefix("198.18.0.0/15")

// maxStandIns bounds the names that have one. Then the oldest goes.
const maxStandIns = 4096

// standIn is the address that stands for a name inside.
func (p *policy) standIn(name string) netip.Addr {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	address, known := p.standFor[name]
	if !known {
		p.lastStandIn = p.lastStandIn%maxStandIns + 1
		base := standIns.Addr().As4()
		address = netip.AddrFrom4([4]byte{base[0], base[1], byte(p.lastStandIn >> 8), byte(p.lastStandIn)})
		for old, other := range p.standFor {
			if other == address {
				delete(p.standFor, old)
			}
		}
		p.standFor[name] = address
	}
	p.opened[address] = []opening{{name, p.now().Add(minTTL)}}
	return address
}
