package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Ports of the servers, on all addresses. 9998 sends as much as is read, 9997 reads all that is sent; 3128 is an HTTP proxy,
// 1080 one of SOCKS 5.
var (
	noncePorts = []string{"22", "853", "5432", "8080", "9999"}
	tlsPorts   = []string{"443", "8443"}
	httpPorts  = []string{"80", "8000"}
	udpPorts   = []string{"123", "443", "9999"}
)

func startServers(l *log, server, dir string) error {
	var err error
	listen := func(ports []string, serve func(net.Conn)) {
		for _, port := range ports {
			listener, e := net.Listen("tcp", ":"+port)
			if e != nil {
				err = e
				continue
			}
			go acceptAll(listener, serve)
		}
	}
	listen(noncePorts, func(c net.Conn) {
		l.visit("tcp", c.LocalAddr().String(), "")
		io.WriteString(c, l.nonce+"\n")
		c.Close()
	})
	listen([]string{"9998"}, func(c net.Conn) { io.Copy(c, endless{}); c.Close() })
	listen([]string{"9997"}, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		fmt.Fprintf(c, "%d\n", n)
		c.Close()
	})
	listen([]string{"3128"}, func(c net.Conn) { serveProxy(l, c) })
	listen([]string{"1080"}, func(c net.Conn) { serveSocks(l, c) })
	listen(httpPorts, func(c net.Conn) { serveHTTP(l, "http", c) })
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]})
	if err := os.WriteFile(filepath.Join(dir, "lab-certificate.pem"), public, 0o644); err != nil {
		return err
	}
	listen(tlsPorts, func(c net.Conn) {
		t := tls.Server(c, config)
		if t.Handshake() != nil {
			l.visit("tcp", c.LocalAddr().String(), "no TLS")
			io.WriteString(c, l.nonce+"\n")
			c.Close()
			return
		}
		serveHTTP(l, "tls", t)
	})
	for _, port := range udpPorts {
		// One socket an address: an answer must come from where the question went.
		for _, a := range addresses {
			host, _, _ := strings.Cut(a, "/")
			if strings.HasPrefix(host, "fe80") {
				continue
			}
			conn, e := net.ListenPacket("udp", net.JoinHostPort(host, port))
			if e != nil {
				return e
			}
			go serveUDP(l, conn)
		}
	}
	if e := startDNS(l, server); e != nil {
		return e
	}
	return err
}

func acceptAll(listener net.Listener, serve func(net.Conn)) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// serveHTTP answers requests, and says which name they were for.
func serveHTTP(l *log, protocol string, c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			l.visit(protocol, c.LocalAddr().String(), "no HTTP")
			return
		}
		io.Copy(io.Discard, request.Body)
		asked := request.Method + " " + request.Host
		if t, ok := c.(*tls.Conn); ok {
			asked = "sni=" + t.ConnectionState().ServerName + " " + asked
		}
		l.visit(protocol, c.LocalAddr().String(), asked)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s\n", len(l.nonce)+1, l.nonce)
	}
}

func serveUDP(l *log, conn net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		l.visit("udp", conn.LocalAddr().String(), string(buf[:min(n, 40)]))
		conn.WriteTo([]byte(l.nonce+"\n"), from)
	}
}

// certificate is one for all names, which nobody should trust.
func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"*.test", "allowed.test", "other.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// zone is what the name server knows. other.test shares an address with allowed.test.
var zone = map[string][]string{
	"allowed.test.":       {"198.51.100.10", "2001:db8::10"},
	"other.test.":         {"198.51.100.10"},
	"a.wild.test.":        {"198.51.100.11"},
	"wild.test.":          {"198.51.100.11"},
	"elsewhere.test.":     {"203.0.113.5"},
	"v6.test.":            {"2001:db8::10"},
	"rebind-loop.test.":   {"127.0.0.1"},
	"rebind-lan.test.":    {"10.77.0.5"},
	"rebind-meta.test.":   {"169.254.169.254"},
	"rebind-mapped.test.": {"::ffff:10.77.0.5"},
	"rebind-v6.test.":     {"fd77::5"},
	"mixed.test.":         {"198.51.100.11", "10.77.0.5"},
}

func startDNS(l *log, server string) error {
	conn, err := net.ListenPacket("udp", server+":53")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", server+":53")
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := answerDNS(l, "dns-udp", buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	go acceptAll(listener, func(c net.Conn) {
		defer c.Close()
		for {
			head := make([]byte, 2)
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
			query := make([]byte, int(head[0])<<8|int(head[1]))
			if _, err := io.ReadFull(c, query); err != nil {
				return
			}
			answer := answerDNS(l, "dns-tcp", query)
			c.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...))
		}
	})
	return nil
}

// answerDNS answers from the zone. big.test has an answer that is too long for UDP; an HTTPS record is
// there for every name.
func answerDNS(l *log, protocol string, query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	l.visit(protocol, name, q.Type.String())
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RecursionDesired: true}
	m.Additionals = nil
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
	list, known := zone[name]
	switch {
	case name == "alias.test.":
		target := dnsmessage.MustNewName("elsewhere.test.")
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: target}})
		head.Name, list = target, zone["elsewhere.test."]
	case name == "big.test.":
		for i := range 60 {
			list = append(list, fmt.Sprintf("198.51.100.%d", 10+i))
		}
		m.Truncated = protocol == "dns-udp"
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range list {
		ip := net.ParseIP(address)
		switch {
		case m.Truncated:
		case q.Type == dnsmessage.TypeA && !strings.Contains(address, ":"):
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(ip.To4())}})
		case q.Type == dnsmessage.TypeAAAA && strings.Contains(address, ":"):
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip.To16())}})
		}
	}
	if q.Type == 65 && known { // HTTPS, RFC 9460
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.UnknownResource{Type: 65, Data: []byte{0, 1, 0}}})
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}
