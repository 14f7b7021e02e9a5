package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

var (
	errNoQuestion = errors.New("no question of DNS")
	errNoAnswer   = errors.New("no name server of the host's gave an answer")
)

// ask hands a message to the host's name servers, one after the other, under a number of our own.
func (r *resolver) ask(query []byte, stream bool) ([]byte, error) {
	var id [2]byte
	rand.Read(id[:])
	own := append(id[:2:2], query[2:]...)
	for _, server := range *r.servers.Load() {
		answer, err := exchange(server, own, stream)
		if err == nil {
			copy(answer, query[:2])
			return answer, nil
		}
	}
	return nil, errNoAnswer
}

// exchange asks one server, from a port that nobody can guess.
func exchange(server netip.AddrPort, query []byte, stream bool) ([]byte, error) {
	network := "udp"
	if stream {
		network = "tcp"
	}
	d := net.Dialer{Timeout: serverTime}
	c, err := d.Dial(network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(serverTime))
	if stream {
		if err := writeStream(c, query); err != nil {
			return nil, err
		}
		answer, err := readStream(c)
		if err == nil && !answersTo(answer, query) {
			err = errNoAnswer
		}
		return answer, err
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	return awaitAnswer(c, query)
}

// awaitAnswer passes over packets that are no answer to the query.
func awaitAnswer(c io.Reader, query []byte) ([]byte, error) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		if answersTo(b[:n], query) {
			return b[:n:n], nil
		}
	}
}

// answersTo compares number and question, names in any case.
func answersTo(answer, query []byte) bool {
	const head = 12
	if len(answer) < head || len(query) < head || !bytes.Equal(answer[:2], query[:2]) || answer[2]&0x80 == 0 {
		return false
	}
	if binary.BigEndian.Uint16(query[4:]) != 1 || binary.BigEndian.Uint16(answer[4:]) == 0 {
		return true // an error may come without the question
	}
	size := questionSize(query[head:])
	return len(answer) >= head+size && strings.EqualFold(string(answer[head:head+size]), string(query[head:head+size]))
}

// questionSize is the length of a question that is no pointer, or 0.
func questionSize(b []byte) int {
	for at := 0; at < len(b); at += int(b[at]) + 1 {
		switch {
		case b[at] > 63:
			return 0
		case b[at] == 0:
			return min(at+5, len(b))
		}
	}
	return 0
}
