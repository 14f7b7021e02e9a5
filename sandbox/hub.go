package sandbox

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sbx/state"
)

// hub takes what a detached payload writes, to its log and to whom is attached; and holds its terminal,
// where it has one. It reads on whatever becomes of those: a payload never waits for a reader.
type hub struct {
	log    *state.Log
	master *os.File // nil: no terminal
	ended  <-chan struct{}
	pumps  sync.WaitGroup

	mutex   sync.Mutex
	clients []*os.File
	over    bool // nobody is shown anything any more
}

// Names of what the log holds besides stdout and stderr.
const (
	terminalStream = "terminal"
	// OwnStream is what sbx itself says of a detached sandbox.
	OwnStream = "sbx"
)

// pump copies a stream until its end.
func (h *hub) pump(name string, source *os.File) {
	h.pumps.Go(func() {
		defer source.Close()
		buf := make([]byte, 16<<10)
		for {
			n, err := source.Read(buf)
			if n > 0 {
				h.log.Write(name, buf[:n])
				h.show(buf[:n])
			}
			if err != nil && !h.comesBack(err) {
				return
			}
		}
	})
}

// comesBack tells whether there may be more: a terminal that nobody inside has open now (EIO) can be
// opened again, as /dev/tty.
func (h *hub) comesBack(err error) bool {
	if !errors.Is(err, unix.EIO) {
		return false
	}
	select {
	case <-h.ended:
		return false
	case <-time.After(glance):
		return true
	}
}

// slow is how long somebody who is attached may keep all others waiting.
const slow = time.Second

func (h *hub) show(out []byte) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.clients = slices.DeleteFunc(h.clients, func(c *os.File) bool {
		c.SetWriteDeadline(time.Now().Add(slow))
		if _, err := c.Write(out); err != nil {
			c.Close()
			return true
		}
		return false
	})
}

// admit shows to a client what comes from now on.
func (h *hub) admit(client *os.File) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.over {
		client.Close()
		return
	}
	h.clients = append(h.clients, client)
}

// hear gives the payload what an admitted client types. It returns when the client goes, or is let go.
func (h *hub) hear(client *os.File) {
	buf := make([]byte, 4<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if h.master != nil {
			h.master.Write(buf[:n])
		}
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.clients = slices.DeleteFunc(h.clients, func(c *os.File) bool { return c == client })
	client.Close()
}

// isOver tells whether the payload's output has ended, and all of it was shown.
func (h *hub) isOver() bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.over
}

// end waits for the rest of the output, and lets go of all clients.
func (h *hub) end() {
	h.pumps.Wait()
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for _, c := range h.clients {
		c.Close()
	}
	h.clients, h.over = nil, true
}

// resize gives the terminal the size of a client's.
func (h *hub) resize(size *unix.Winsize) {
	if h.master != nil && size != nil {
		control(h.master, func(fd int) { unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
	}
}

// answerAttach serves a client that wants to see and to type. Its connection brings the size of its
// terminal as that changes.
func (l *Life) answerAttach(c *conn, what *call, files []*os.File) {
	switch {
	case l.hub == nil:
		name := l.folder.Name()
		c.send(answer{Refused: &refusal{Text: name + " runs in the foreground of another terminal", Hint: "sbx exec " + name + " -- sh"}})
		return
	case len(files) != 1:
		c.send(answer{Refused: &refusal{Text: "a call without its parts"}})
		return
	}
	client := pollable(files[0])
	if c.send(answer{Terminal: l.hub.master != nil}) != nil {
		client.Close()
		return
	}
	l.told.Add(1)
	defer l.told.Done()
	l.hub.resize(what.Window)
	l.hub.admit(client)
	l.visited(c, client)
}

// visited serves an admitted client, until it goes, or the sandbox has ended and it was told so.
func (l *Life) visited(c *conn, client *os.File) {
	go func() {
		for {
			var more call
			files, err := c.receive(&more)
			closeAll(files)
			if err != nil {
				return
			}
			l.hub.resize(more.Window)
		}
	}()
	l.hub.hear(client)
	if l.hub.isOver() {
		l.answerEnd(c)
	}
}
