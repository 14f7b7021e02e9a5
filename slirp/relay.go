package slirp

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// relay passes on both ways between two connections, until both sides have said all or one has failed. The
// data stays in the kernel: splice(2).
func relay(client, server *os.File) {
	done := make(chan struct{})
	pass := func(to, from *os.File) {
		if splice(to, from) != nil {
			reset(client)
			reset(server)
			return
		}
		shutdown(to)
	}
	go func() {
		defer close(done)
		pass(server, client)
	}()
	pass(client, server)
	<-done
	client.Close()
	server.Close()
}

// pipeSize is how much is on its way between two connections, in bytes, once they have passed on as much. It is the most
// that a user's pipe may have: /proc/sys/fs/pipe-max-size in proc(5). All pipes of a user together are bounded as well, so one
// that little goes through stays as the kernel makes it.
const pipeSize = 1 << 20

// splice passes on what comes from one connection to another, until its end.
func splice(to, from *os.File) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	source, err1 := from.SyscallConn()
	target, err2 := to.SyscallConn()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for passed, grown := int64(0), false; ; {
		if passed >= pipeSize && !grown {
			unix.FcntlInt(uintptr(pipe[1]), unix.F_SETPIPE_SZ, pipeSize) // it stays as it is where the user may have no more
			grown = true
		}
		n, err := move(source.Read, func(fd int) (int64, error) {
			return unix.Splice(fd, nil, pipe[1], nil, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		})
		if n == 0 || err != nil {
			return err
		}
		passed += n
		for n > 0 {
			m, err := move(target.Write, func(fd int) (int64, error) {
				return unix.Splice(pipe[0], nil, fd, nil, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			})
			if err != nil {
				return err
			}
			n -= m
		}
	}
}

// move does a call when its descriptor is ready.
func move(ready func(func(fd uintptr) bool) error, call func(fd int) (int64, error)) (n int64, err error) {
	var failed error
	err = ready(func(fd uintptr) bool {
		for {
			if n, failed = call(int(fd)); failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	return n, errors.Join(err, failed)
}

// shutdown tells the other side that no more will come.
func shutdown(connection *os.File) {
	if raw, err := connection.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// flowTime is how long a UDP flow is kept on which nothing moves.
const flowTime = 90 * time.Second

// maxPacket is the most that a UDP packet holds, in bytes.
const maxPacket = 64 << 10

// flows are those of a UDP port, by who they are with.
type flows struct {
	mutex sync.Mutex
	open  map[netip.AddrPort]*os.File
}

// servePackets passes packets on until the port is taken back.
func (p *Ports) servePackets(port Port, socket *os.File) {
	f := &flows{open: map[netip.AddrPort]*os.File{}}
	defer f.close()
	b := make([]byte, maxPacket)
	for {
		n, from, err := receiveFrom(socket, b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil: // what an earlier answer met with
			continue
		}
		server := f.with(from)
		if server == nil {
			if server = p.begin(port, socket, f, from); server == nil {
				continue
			}
		}
		server.SetReadDeadline(time.Now().Add(flowTime))
		server.Write(b[:n])
	}
}

func (f *flows) with(from netip.AddrPort) *os.File {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.open[from]
}

func (f *flows) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, server := range f.open {
		server.Close()
	}
}

// begin begins a flow, or drops it where there are too many.
func (p *Ports) begin(port Port, socket *os.File, f *flows, from netip.AddrPort) *os.File {
	select {
	case p.slots <- struct{}{}:
	default:
		return nil
	}
	server, err := p.dial(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port.Inside), unix.SOCK_DGRAM)
	if err != nil {
		<-p.slots
		return nil
	}
	f.mutex.Lock()
	f.open[from] = server
	f.mutex.Unlock()
	go func() {
		defer func() { <-p.slots }()
		answers(socket, server, from)
		f.mutex.Lock()
		delete(f.open, from)
		f.mutex.Unlock()
		server.Close()
	}()
	return server
}

// answers passes on what comes back, until nothing has moved for a while.
func answers(socket, server *os.File, to netip.AddrPort) {
	b := make([]byte, maxPacket)
	for {
		n, err := server.Read(b)
		switch {
		case errors.Is(err, unix.ECONNREFUSED): // nobody listens inside yet
			continue
		case err != nil && err != io.EOF: // which is what package os makes of an empty packet
			return
		}
		server.SetReadDeadline(time.Now().Add(flowTime))
		sendTo(socket, b[:n], to)
	}
}

func receiveFrom(socket *os.File, b []byte) (n int, from netip.AddrPort, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, from, err
	}
	var sender unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, sender, failed = unix.Recvfrom(int(fd), b, 0)
		return failed != unix.EAGAIN
	})
	switch a := sender.(type) {
	case *unix.SockaddrInet4:
		from = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		from = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return n, from, errors.Join(err, failed)
}

func sendTo(socket *os.File, b []byte, to netip.AddrPort) {
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Write(func(fd uintptr) bool { return unix.Sendto(int(fd), b, 0, sockaddr(to)) != unix.EAGAIN })
	}
}
