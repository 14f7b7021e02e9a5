package main

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

// hello is what Go's own client sends first.
func hello(t testing.TB, config *tls.Config) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, config).Handshake()
	}()
	b := make([]byte, 1<<20)
	n := 0
	for {
		m, err := server.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
		if n > 5 && n >= 5+int(b[3])<<8+int(b[4]) {
			client.Close()
			return b[:n]
		}
	}
}

func TestHelloName(t *testing.T) {
	whole := hello(t, &tls.Config{ServerName: "Allowed.TEST"})
	if name, err := helloName(whole); name != "allowed.test" || err != nil {
		t.Fatalf("got %q, %v", name, err)
	}
	for n := range whole {
		if _, err := helloName(whole[:n]); err != errMore {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	// The same message in records of one byte each.
	var split []byte
	for _, c := range whole[5:] {
		split = append(split, 22, 3, 1, 0, 1, c)
	}
	if name, err := helloName(split); name != "allowed.test" || err != nil {
		t.Fatalf("split into records: %q, %v", name, err)
	}
}

func TestHelloRefused(t *testing.T) {
	none := hello(t, &tls.Config{InsecureSkipVerify: true})
	if _, err := helloName(none); err != errNoName {
		t.Errorf("without a name: %v", err)
	}
	for text, want := range map[string]error{
		"GET / HTTP/1.1\r\n": errNoTLS, "\x16\x02": errNoTLS, "\x16\x03\x01\x00\x00": errNoTLS,
		"\x16\x03\x01\x00\x04\x02\x00\x00\x00":     errNoTLS,
		"\x16\x03\x01\x00\x04\x01\x02\x00\x00":     errHelloLong,
		"\x16\x03\x01\xff\xff":                     errNoTLS,
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03": errNoTLS,
	} {
		if _, err := helloName([]byte(text)); err != want {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestHostName(t *testing.T) {
	for in, want := range map[string]string{
		"a.test": "a.test", "A.Test.": "a.test", "": "", ".": "", "a..b": "", "a b": "", "ä.test": "", "a\x00.test": "",
		strings.Repeat("a", 64) + ".test": "", strings.Repeat("a.", 150): "", "*.a.test": "",
	} {
		if got, ok := hostName(in); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v", in, got, ok)
		}
	}
}

// Whatever comes, a name that is found is one, and more bytes do not change it.
func FuzzHello(f *testing.F) {
	f.Add(hello(f, &tls.Config{ServerName: "allowed.test"}))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name, err := helloName(data)
		if err != nil {
			return
		}
		if again, ok := hostName(name); !ok || again != name {
			t.Errorf("no name of a host: %q", name)
		}
		if later, err := helloName(append(data[:len(data):len(data)], 'x')); later != name || err != nil {
			t.Errorf("with a byte more: %q, %v", later, err)
		}
	})
}
