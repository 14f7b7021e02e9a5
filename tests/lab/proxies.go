package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// behind is known to the proxies alone.
const behind = "behind.test"

// target is where a proxy connects to for HOST:PORT.
func target(address string) string {
	host, port, _ := net.SplitHostPort(address)
	switch list := zone[host+"."]; {
	case host == behind:
		host = "203.0.113.5"
	case len(list) > 0:
		host = list[0]
	}
	return net.JoinHostPort(host, port)
}

// serveProxy is an HTTP proxy, which knows CONNECT alone.
func serveProxy(l *log, c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	request, err := http.ReadRequest(r)
	if err != nil || request.Method != http.MethodConnect {
		l.visit("proxy", c.LocalAddr().String(), "no CONNECT")
		return
	}
	user, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(request.Header.Get("Proxy-Authorization"), "Basic "))
	l.visit("proxy", c.LocalAddr().String(), request.Host+" "+string(user))
	if strings.HasPrefix(request.Host, "elsewhere.test") {
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	server, err := net.Dial("tcp", target(request.Host))
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nVia: lab\r\n\r\n")
	both(c, r, server)
}

// serveSocks is a proxy of RFC 1928, without a password.
func serveSocks(l *log, c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != 5 {
		return
	}
	r.Discard(int(head[1]))
	c.Write([]byte{5, 0})
	request := make([]byte, 4)
	if _, err := io.ReadFull(r, request); err != nil {
		return
	}
	size := map[byte]int{1: 4, 4: 16}[request[3]]
	if request[3] == 3 {
		n, _ := r.ReadByte()
		size = int(n)
	}
	address := make([]byte, size+2)
	if _, err := io.ReadFull(r, address); err != nil {
		return
	}
	host := string(address[:size])
	if request[3] != 3 {
		host = net.IP(address[:size]).String()
	}
	asked := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(address[size:]))))
	l.visit("socks", c.LocalAddr().String(), asked)
	server, err := net.Dial("tcp", target(asked))
	if err != nil {
		c.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	both(c, r, server)
}

func both(c net.Conn, from io.Reader, server net.Conn) {
	defer server.Close()
	go func() {
		io.Copy(server, from)
		server.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, server)
}
