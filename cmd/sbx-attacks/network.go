package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const networkPatience = 5 * time.Second

// overTLS reads a page by TLS: ADDR:PORT/SNI[/how]. how is split (the hello goes out byte by byte), long (a
// megabyte of it) or nothing. An empty SNI sends none.
func overTLS(arg string) (string, error) {
	parts := strings.Split(arg+"//", "/")
	c, err := net.DialTimeout("tcp", parts[0], networkPatience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(networkPatience))
	config := &tls.Config{ServerName: parts[1], InsecureSkipVerify: true}
	switch parts[2] {
	case "split":
		c.(*net.TCPConn).SetNoDelay(true)
		c = slowly{c}
	case "long":
		for range 9000 {
			config.NextProtos = append(config.NextProtos, strings.Repeat("x", 100))
		}
	}
	t := tls.Client(c, config)
	if err := t.Handshake(); err != nil {
		return "", err
	}
	fmt.Fprintf(t, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", parts[1])
	return page(t)
}

// slowly writes each byte as a segment of its own.
type slowly struct{ net.Conn }

func (s slowly) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func page(c io.Reader) (string, error) {
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 200))
	if !bytes.Contains(body, []byte("nonce-")) {
		return "", fmt.Errorf("answered without the nonce: %q, %w", body, err)
	}
	return "read " + strings.TrimSpace(string(body)), nil
}

// sendRaw sends bytes and reads the nonce: ADDR:PORT/TEXT, where TEXT is as in a string of Go. What is read
// last counts: a text may hold several requests.
func sendRaw(arg string) (string, error) {
	address, text, _ := strings.Cut(arg, "/")
	text, err := strconv.Unquote(`"` + text + `"`)
	if err != nil {
		return "", err
	}
	c, err := net.DialTimeout("tcp", address, networkPatience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(networkPatience))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(io.LimitReader(c, 64<<10))
	wanted := max(1, strings.Count(text, "HTTP/1.1\r\n"))
	if got := bytes.Count(answer, []byte("nonce-")); got < wanted {
		return "", fmt.Errorf("%d of %d answered, %w", got, wanted, err)
	}
	return "read " + strings.TrimSpace(string(answer[max(0, len(answer)-40):])), nil
}

// askDNS asks a name server: udp:ADDR:PORT/NAME/TYPE, type by number. Any answer but an empty one is a risk.
func askDNS(arg string) (string, error) {
	parts := strings.Split(arg+"///", "/")
	network, address, _ := strings.Cut(parts[0], ":")
	kind, err := strconv.Atoi(parts[2])
	if err != nil {
		return "", err
	}
	name, err := dnsmessage.NewName(parts[1])
	if err != nil {
		return "", err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.Type(kind), Class: dnsmessage.ClassINET}}}
	query, err := m.Pack()
	if err != nil {
		return "", err
	}
	answer, err := exchangeDNS(network, address, query)
	if err != nil {
		return "", err
	}
	if err := m.Unpack(answer); err != nil {
		return "", fmt.Errorf("an answer that cannot be read: %w", err)
	}
	if len(m.Answers) == 0 {
		return "", fmt.Errorf("%v, no answers", m.RCode)
	}
	return fmt.Sprintf("%d answers: %v", len(m.Answers), m.Answers[0].Body.GoString()), nil
}

func exchangeDNS(network, address string, query []byte) ([]byte, error) {
	c, err := net.DialTimeout(network, address, networkPatience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(networkPatience))
	answer := make([]byte, 64<<10)
	if network == "tcp" {
		query = append([]byte{byte(len(query) >> 8), byte(len(query))}, query...)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	n, err := c.Read(answer)
	if network == "tcp" && n > 2 {
		return answer[2:n], nil
	}
	return answer[:n], err
}

// mapped connects to an IPv4 address in its IPv6 form.
func mapped(arg string) (string, error) {
	address, err := net.ResolveTCPAddr("tcp4", arg)
	if err != nil {
		return "", err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: address.Port, Addr: [16]byte(address.IP.To16())}); err != nil {
		return "", err
	}
	b := make([]byte, 100)
	n, err := unix.Read(fd, b)
	if n <= 0 {
		return "", fmt.Errorf("read nothing: %w", err)
	}
	return "read " + string(b[:n]), nil
}

// rawSocket opens the sockets with which packets are made by hand.
func rawSocket(string) (string, error) {
	for _, s := range [][3]int{{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP}, {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		{unix.AF_PACKET, unix.SOCK_RAW, 0x0300}, {unix.AF_PACKET, unix.SOCK_DGRAM, 0x0300}} {
		if fd, err := unix.Socket(s[0], s[1], s[2]); err == nil {
			unix.Close(fd)
			return fmt.Sprintf("a socket of family %d, type %d", s[0], s[1]), nil
		}
	}
	return "", errors.New("no raw and no packet socket can be had")
}

// ping sends an echo request by the socket that needs no privilege.
func ping(arg string) (string, error) {
	family, protocol, kind := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	ip := net.ParseIP(arg)
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(ip.To16()[12:])}
	if ip.To4() == nil {
		family, protocol, kind = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		to = &unix.SockaddrInet6{Addr: [16]byte(ip)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3})
	if err := unix.Connect(fd, to); err != nil {
		return "", err
	}
	if _, err := unix.Write(fd, append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, "hello"...)); err != nil {
		return "", err
	}
	b := make([]byte, 200)
	n, err := unix.Read(fd, b)
	if n <= 0 {
		return "", err
	}
	return "an echo", nil
}

// configure changes addresses and routes, which takes a capability.
func configure(string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return "", err
	}
	request.SetUint16(0)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return "", err
	}
	return "took the interface lo down", nil
}

// flood begins N connections at once, and leaves them open for a while: ADDR:PORT/N. What it got is whether
// one of a later moment still goes through; so it is no attack by itself, but a load.
func flood(arg string) (string, error) {
	address, count, _ := strings.Cut(arg, "/")
	n, err := strconv.Atoi(count)
	if err != nil {
		return "", err
	}
	var open atomic.Int64
	var group sync.WaitGroup
	release := make(chan struct{})
	for range n {
		group.Go(func() {
			c, err := net.DialTimeout("tcp", address, networkPatience)
			if err != nil {
				return
			}
			defer c.Close()
			open.Add(1)
			<-release
		})
	}
	time.Sleep(networkPatience)
	close(release)
	group.Wait()
	return "", fmt.Errorf("%d of %d connections were open at once", open.Load(), n)
}

// floodDNS asks N questions as fast as it can: udp:ADDR:PORT/N.
func floodDNS(arg string) (string, error) {
	address, count, _ := strings.Cut(strings.TrimPrefix(arg, "udp:"), "/")
	n, err := strconv.Atoi(count)
	if err != nil {
		return "", err
	}
	c, err := net.Dial("udp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for i := range n {
		label := make([]byte, 8)
		rand.Read(label)
		name := hex.EncodeToString(label) + ".allowed.test."
		if i%3 == 0 {
			name = "allowed.test."
		}
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		query, _ := m.Pack()
		c.Write(query)
	}
	return "", fmt.Errorf("%d questions asked", n)
}
