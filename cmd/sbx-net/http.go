package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// HTTP/1 requests, as far as they say for whom they are: RFC 9112. Every request of a connection is looked
// at, since several go over one. What servers read in more than one way is refused: then what is checked
// here is what the server sees.

// maxHead bounds the head of a request, in bytes.
const maxHead = 64 << 10

var (
	errNoHTTP   = errors.New("not HTTP/1")
	errHeadLong = errors.New("the head of an HTTP request that is too long")
)

// head is what the head of a request says.
type head struct {
	host   string
	length int64 // of the body; -1: in chunks
	size   int   // of the head itself, in bytes
}

// requestHead reads the head of the request that data begins with. Its error is errMore where data is only
// the beginning of one.
func requestHead(data []byte) (head, error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		// What cannot become a request is refused at once, so that nobody waits for its end.
		if !beginsRequest(data) {
			return head{}, errNoHTTP
		}
		if len(data) > maxHead {
			return head{}, errHeadLong
		}
		return head{}, errMore
	}
	h := head{size: end + 4}
	lines := strings.Split(string(data[:end]), "\r\n")
	target, ok := requestLine(lines[0])
	if !ok {
		return head{}, errNoHTTP
	}
	fields := fields{}
	for _, line := range lines[1:] {
		if !fields.add(line) {
			return head{}, errNoHTTP
		}
	}
	return h, h.understand(target, fields)
}

// beginsRequest: a method, which is a token, and then a space and something that may be printed.
func beginsRequest(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\r\n"))
	method, rest, _ := bytes.Cut(line, []byte(" "))
	if len(method) == 0 && len(data) > 0 || len(method) > 32 || !isToken(string(method)) && len(method) > 0 {
		return false
	}
	return !bytes.HasPrefix(data, []byte("PRI * HTTP/2")) && bytes.IndexFunc(rest, func(r rune) bool { return r < ' ' && r != '\r' }) < 0
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// requestLine reads METHOD TARGET HTTP/1.x.
func requestLine(line string) (target string, ok bool) {
	words := strings.Split(line, " ")
	if len(words) != 3 || !isToken(words[0]) || words[0] == "CONNECT" || words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0" {
		return "", false
	}
	for _, c := range []byte(words[1]) {
		if c <= ' ' || c == 0x7f {
			return "", false
		}
	}
	return words[1], words[1] != ""
}

// fields are the header fields, by their names in lower case.
type fields map[string][]string

func (f fields) add(line string) bool {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return false // a line that goes on the one before begins with a space, which is no token
	}
	name = strings.ToLower(name)
	f[name] = append(f[name], strings.Trim(value, " \t"))
	return true
}

func (h *head) understand(target string, f fields) error {
	if len(f["host"]) != 1 || len(f["upgrade"]) > 0 {
		return errNoHTTP
	}
	host, ok := hostOf(f["host"][0])
	if !ok {
		return errNoHTTP
	}
	h.host = host
	if !strings.HasPrefix(target, "/") && target != "*" {
		rest, ok := strings.CutPrefix(strings.ToLower(target), "http://")
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			rest = rest[:i]
		}
		if named, valid := hostOf(rest); !ok || !valid || named != host {
			return errNoHTTP
		}
	}
	return h.body(f)
}

// hostOf is the name in HOST[:PORT].
func hostOf(s string) (string, bool) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if _, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil {
			return "", false
		}
		s = s[:i]
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", false
	}
	return hostName(s)
}

// body reads how long the body is: RFC 9112, section 6.3.
func (h *head) body(f fields) error {
	lengths, codings := f["content-length"], f["transfer-encoding"]
	switch {
	case len(lengths) > 0 && len(codings) > 0 || len(lengths) > 1 || len(codings) > 1:
		return errNoHTTP
	case len(codings) == 1:
		h.length = -1
		if !strings.EqualFold(codings[0], "chunked") {
			return errNoHTTP
		}
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || strings.HasPrefix(lengths[0], "+") {
			return errNoHTTP
		}
		h.length = int64(n)
	}
	return nil
}

// forwardRequests passes requests on, from a client to a server, as long as allowed says yes to the host of
// each. The error is io.EOF after the last.
func forwardRequests(client *peeked, server io.Writer, allowed func(host string) error) error {
	for {
		h, err := readHead(client)
		if err != nil {
			return err
		}
		if err := allowed(h.host); err != nil {
			return err
		}
		if _, err := io.CopyN(server, client, int64(h.size)); err != nil {
			return err
		}
		if h.length >= 0 {
			_, err = io.CopyN(server, client, h.length)
		} else {
			err = forwardChunks(client, server)
		}
		if err != nil {
			return err
		}
	}
}

func readHead(client *peeked) (head, error) {
	for {
		h, err := requestHead(client.buffered())
		if err != errMore {
			return h, err
		}
		if err := client.more(); err != nil {
			if err == io.EOF && len(client.buffered()) > 0 {
				return head{}, errNoHTTP
			}
			return head{}, err
		}
	}
}

// forwardChunks passes a body in chunks on: RFC 9112, section 7.1. Trailers are refused.
func forwardChunks(client *peeked, server io.Writer) error {
	for {
		line, err := client.line()
		if err != nil {
			return err
		}
		number, _, _ := strings.Cut(line, ";")
		size, err := strconv.ParseUint(number, 16, 60)
		if err != nil || strings.HasPrefix(number, "+") {
			return errNoHTTP
		}
		if _, err := fmt.Fprintf(server, "%x\r\n", size); err != nil {
			return err
		}
		if _, err := io.CopyN(server, client, int64(size)); err != nil {
			return err
		}
		if end, err := client.line(); err != nil || end != "" {
			return errNoHTTP
		}
		if _, err := io.WriteString(server, "\r\n"); err != nil || size == 0 {
			return err
		}
	}
}
