package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRequestHead(t *testing.T) {
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n":                                                     "a.test",
		"GET / HTTP/1.0\r\nHost: A.TEST:80\r\nX: y\r\n\r\n":                                          "a.test",
		"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n":                                       "a.test",
		"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n":                                                 "a.test",
		"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n":                                        "",
		"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n":                                     "",
		"GET / HTTP/1.1\r\nHost: a.test\r\n b.test\r\n\r\n":                                          "",
		"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n":                                                    "",
		"GET / HTTP/1.1\r\n\r\n":                                                                     "",
		"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n":                                                    "",
		"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n":                                                     "",
		"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n":                                        "",
		"GET / HTTP/1.1\nHost: a.test\r\n\r\n":                                                       "",
		"GET / HTTP/1.1\r\nHost: a.test\r\nX: \rHost: b.test\r\n\r\n":                                "",
		"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\n\r\n":                                     "",
		"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":          "",
		"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": "",
		"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":                "",
		"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\n":                              "",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                           "",
		"GET / HTTP/1.1\r\nHost: 198.51.100.10\r\n\r\n":                                              "",
	} {
		h, err := requestHead([]byte(text))
		if h.host != want && err == nil || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", text, h.host, err)
		}
	}
}

func TestHeadsThatGoOn(t *testing.T) {
	for text, want := range map[string]error{
		"": errMore, "GE": errMore, "GET / HTTP/1.1\r\nHost:": errMore, "\x16\x03": errNoHTTP, "PRI * HTTP/2.0\r\n": errNoHTTP,
		"GET / " + strings.Repeat("x", maxHead): errHeadLong, strings.Repeat("x", 40): errNoHTTP,
	} {
		if _, err := requestHead([]byte(text)); err != want {
			t.Errorf("%.40q: got %v, want %v", text, err, want)
		}
	}
}

var errRefused = errors.New("refused")

func forwardAll(text string, allowed string) (string, error) {
	var out bytes.Buffer
	err := forwardRequests(&peeked{stream: strings.NewReader(text), limit: maxHead}, &out, func(host string) error {
		if host != allowed {
			return errRefused
		}
		return nil
	})
	return out.String(), err
}

func TestRequestsAreForwarded(t *testing.T) {
	first := "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"
	chunked := "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	other := "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"
	if out, err := forwardAll(first+chunked+first, "a.test"); out != first+chunked+first || err != io.EOF {
		t.Errorf("got %q, %v", out, err)
	}
	for _, begin := range []string{first, chunked} {
		if out, err := forwardAll(begin+other, "a.test"); out != begin || err != errRefused {
			t.Errorf("got %q, %v", out, err)
		}
	}
	if out, err := forwardAll(strings.Replace(chunked, "0\r\n\r\n", "0\r\nX: y\r\n\r\n", 1), "a.test"); err != errNoHTTP {
		t.Errorf("trailers: %q, %v", out, err)
	}
}

// Whatever comes: all that is passed on is read by Go's server as requests for the host that is allowed.
func FuzzRequests(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
	f.Fuzz(func(t *testing.T, text string) {
		out, _ := forwardAll(text, "a.test")
		r := bufio.NewReader(strings.NewReader(out))
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if host, ok := hostOf(request.Host); !ok || host != "a.test" {
				t.Fatalf("a request for %q passed", request.Host)
			}
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				return
			}
		}
	})
}
