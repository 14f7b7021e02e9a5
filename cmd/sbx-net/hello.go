package main

import (
	"encoding/binary"
	"errors"
	"strings"
)

// The first bytes of a TLS connection, as far as they say for whom it is: RFC 8446, sections 4.1.2 and 5.1,
// RFC 6066, section 3. They come from the sandbox, in any number of pieces.

// maxHello bounds what is read of a client's first flight, in bytes: keys of the new kinds make it 2 KiB long.
const maxHello = 64 << 10

var (
	errMore      = errors.New("more bytes are needed")
	errNoTLS     = errors.New("not TLS")
	errNoName    = errors.New("a TLS hello without a server name")
	errHelloLong = errors.New("a TLS hello that is too long")
)

// helloName is the server name of the TLS hello that data begins with. Its error is errMore where data is
// only the beginning of one.
func helloName(data []byte) (string, error) {
	message, err := handshake(data)
	if err != nil {
		return "", err
	}
	r := reader{rest: message}
	r.take(2 + 32)        // version, random
	r.take(int(r.byte())) // session
	r.take(r.number())    // cipher suites
	r.take(int(r.byte())) // compression
	extensions := reader{rest: r.take(r.number())}
	if r.short {
		return "", errNoTLS
	}
	name, found := "", false
	for len(extensions.rest) > 0 {
		kind := extensions.number()
		body := extensions.take(extensions.number())
		if extensions.short {
			return "", errNoTLS
		}
		if kind != 0 { // server_name
			continue
		}
		if found {
			return "", errNoTLS // twice, which servers refuse
		}
		if name, found = serverName(body); !found {
			return "", errNoTLS
		}
	}
	if !found {
		return "", errNoName
	}
	return name, nil
}

// serverName reads the extension: a list of one host name.
func serverName(body []byte) (string, bool) {
	r := reader{rest: body}
	list := reader{rest: r.take(r.number())}
	kind := list.byte()
	name := list.take(list.number())
	if r.short || list.short || len(r.rest) > 0 || len(list.rest) > 0 || kind != 0 {
		return "", false
	}
	return hostName(string(name))
}

// handshake puts the client hello together from the records that data begins with.
func handshake(data []byte) ([]byte, error) {
	var message []byte
	for {
		switch {
		case len(data) > 0 && data[0] != 22 || len(data) > 1 && data[1] != 3: // handshake, version 3.x
			return nil, errNoTLS
		case len(data) < 5:
			return nil, errMore
		}
		length := int(binary.BigEndian.Uint16(data[3:]))
		if length == 0 || length > 1<<14 {
			return nil, errNoTLS
		}
		whole := len(data) >= 5+length
		message = append(message, data[5:min(5+length, len(data))]...)
		if len(message) > 0 && message[0] != 1 { // client_hello
			return nil, errNoTLS
		}
		if len(message) >= 4 {
			size := int(message[1])<<16 | int(binary.BigEndian.Uint16(message[2:]))
			if size > maxHello {
				return nil, errHelloLong
			}
			if len(message) >= 4+size {
				return message[4 : 4+size], nil
			}
		}
		if !whole {
			return nil, errMore
		}
		data = data[5+length:]
	}
}

// reader takes numbers and bytes off a message; short says that there were too few.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// number is one of two bytes.
func (r *reader) number() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// hostName brings a name into the form that rules have, and tells whether it is one.
func hostName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if s == "" || len(s) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	return s, true
}
