package main

import (
	"bytes"
	"io"
)

// peeked is a stream whose first bytes can be looked at before they are taken. limit bounds them.
type peeked struct {
	stream io.Reader
	held   []byte
	limit  int
}

// buffered is what has been read and not taken.
func (p *peeked) buffered() []byte { return p.held }

// more reads what comes next, behind what is there. Its error is io.ErrShortBuffer at the limit.
func (p *peeked) more() error {
	if len(p.held) >= p.limit {
		return io.ErrShortBuffer
	}
	buf := make([]byte, min(4096, p.limit-len(p.held)))
	n, err := p.stream.Read(buf)
	p.held = append(p.held, buf[:n]...)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line takes a line and cuts its CR LF off.
func (p *peeked) line() (string, error) {
	for {
		if i := bytes.Index(p.held, []byte("\r\n")); i >= 0 {
			line := string(p.held[:i])
			p.held = p.held[i+2:]
			return line, nil
		}
		if len(p.held) > 1024 {
			return "", errNoHTTP
		}
		if err := p.more(); err != nil {
			return "", err
		}
	}
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.held) > 0 {
		n := copy(b, p.held)
		if p.held = p.held[n:]; len(p.held) == 0 {
			p.held = nil
		}
		return n, nil
	}
	return p.stream.Read(b)
}
