package slirp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Port is a port of the host that leads to one inside.
type Port struct {
	IP     netip.Addr `json:"ip"`
	Host   uint16     `json:"host"`
	Inside uint16     `json:"inside"`
	UDP    bool       `json:"udp,omitempty"`
}

// Wide tells whether others than this machine's own programs reach the port.
func (p Port) Wide() bool { return !p.IP.IsLoopback() }

// String is the port as a profile writes it.
func (p Port) String() string {
	s := netip.AddrPortFrom(p.IP, p.Host).String() + ":" + strconv.Itoa(int(p.Inside))
	if p.UDP {
		s += "/udp"
	}
	return s
}

// PortError is a port of the host that cannot be had: bind(2), listen(2).
type PortError struct {
	Port  Port
	Errno unix.Errno
}

func (e *PortError) Error() string {
	why := e.Errno.Error()
	switch e.Errno {
	case unix.EADDRINUSE:
		why = "it is taken"
	case unix.EACCES:
		why = "it is one of those that only root may have"
	case unix.EADDRNOTAVAIL:
		why = "this machine has no such address"
	}
	return fmt.Sprintf("publishing %s: %s", e.Port, why)
}

func (e *PortError) Unwrap() error { return e.Errno }

// ErrNoPort is a port that is to be taken back and is not published.
var ErrNoPort = errors.New("it is not published")

// Ports are a sandbox's published ports. What comes to one of the host's is passed on by a socket of the
// sandbox's, which a process in there made and handed out: so it works in every network that is the
// sandbox's own, one without a way out too, and the program that serves the network has no part in it.
// Inside, who connects comes from the loopback.
type Ports struct {
	// inside makes a few sockets of a family and a kind, in the sandbox's network.
	inside func(family, kind int) ([]*os.File, error)

	mutex sync.Mutex
	open  map[Port]*os.File
	over  bool
	spare sockets
	slots chan struct{}
}

// maxRelayed is how many connections and flows are passed on at once, of all ports of a sandbox.
const maxRelayed = 512

// OpenPorts takes the ports on the host. Nothing is passed on before Serve.
func OpenPorts(list []Port) (*Ports, error) {
	p := &Ports{open: map[Port]*os.File{}, slots: make(chan struct{}, maxRelayed)}
	for _, port := range list {
		if err := p.take(port); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// Serve begins to pass on. inside makes a few sockets of a family and a kind (socket(2)) in the sandbox's
// network, non-blocking and not connected.
func (p *Ports) Serve(inside func(family, kind int) ([]*os.File, error)) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.inside = inside
	for port, socket := range p.open {
		p.serve(port, socket)
	}
}

// Add publishes a port of a sandbox that is served already.
func (p *Ports) Add(port Port) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.over {
		return &PortError{port, unix.ESRCH}
	}
	if p.open[port] != nil {
		return &PortError{port, unix.EADDRINUSE}
	}
	if err := p.take(port); err != nil {
		return err
	}
	p.serve(port, p.open[port])
	return nil
}

// Remove takes a port back. Connections that are there go on.
func (p *Ports) Remove(port Port) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	socket := p.open[port]
	if socket == nil {
		return ErrNoPort
	}
	delete(p.open, port)
	return socket.Close()
}

// List is what is published now, in order.
func (p *Ports) List() (list []Port) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for port := range p.open {
		list = append(list, port)
	}
	slices.SortFunc(list, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.IP.Compare(b.IP), strings.Compare(a.String(), b.String()))
	})
	return list
}

// Close takes all ports back. A nil Ports has none.
func (p *Ports) Close() {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.over = true
	for port, socket := range p.open {
		socket.Close()
		delete(p.open, port)
	}
	p.spare.close()
}

// take binds a port of the host.
func (p *Ports) take(port Port) error {
	kind := unix.SOCK_STREAM
	if port.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(familyOf(port.IP), kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		if err = bind(fd, port); err != nil {
			unix.Close(fd)
		}
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return &PortError{port, errno}
	}
	if err != nil {
		return err
	}
	p.open[port] = os.NewFile(uintptr(fd), port.String())
	return nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func bind(fd int, port Port) error {
	if port.IP.Is6() { // all of IPv4 is a port of its own
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if !port.UDP { // connections of an earlier sandbox that linger hold no port
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(port.IP, port.Host))); err != nil {
		return err
	}
	if port.UDP {
		return nil
	}
	return unix.Listen(fd, unix.SOMAXCONN)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func (p *Ports) serve(port Port, socket *os.File) {
	if port.UDP {
		go p.servePackets(port, socket)
		return
	}
	go p.serveStreams(port, socket)
}

// serveStreams takes connections until the port is taken back.
func (p *Ports) serveStreams(port Port, listener *os.File) {
	for {
		client, err := accept(listener)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil: // too many files are open, or the client has gone already
			time.Sleep(pause)
			continue
		}
		select {
		case p.slots <- struct{}{}:
			go func() {
				defer func() { <-p.slots }()
				p.stream(port, client)
			}()
		default:
			reset(client)
		}
	}
}

// pause is the time until the next try where the machine has too little of something.
const pause = 20 * time.Millisecond

func accept(listener *os.File) (*os.File, error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = raw.Read(func(l uintptr) bool {
		fd, _, failed = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return failed != unix.EAGAIN
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "client"), nil
}

// stream passes a connection on. Where nobody listens inside it is reset.
func (p *Ports) stream(port Port, client *os.File) {
	server, err := p.connect(port.Inside)
	if err != nil {
		reset(client)
		return
	}
	relay(client, server)
}

// connect connects to a port inside, on its loopback: by IPv4, else by IPv6.
func (p *Ports) connect(inside uint16) (*os.File, error) {
	server, err := p.dial(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), inside), unix.SOCK_STREAM)
	if errors.Is(err, unix.ECONNREFUSED) {
		return p.dial(netip.AddrPortFrom(netip.IPv6Loopback(), inside), unix.SOCK_STREAM)
	}
	return server, err
}

func (p *Ports) dial(to netip.AddrPort, kind int) (*os.File, error) {
	socket, err := p.spare.take(familyOf(to.Addr()), kind, p.inside)
	if err != nil {
		return nil, err
	}
	if err := connect(socket, to); err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

func connect(socket *os.File, to netip.AddrPort) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	begun, failed := false, error(nil)
	err = raw.Write(func(fd uintptr) bool {
		if !begun {
			begun = true
			failed = unix.Connect(int(fd), sockaddr(to))
			return failed != unix.EINPROGRESS
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		failed = err
		if code != 0 {
			failed = unix.Errno(code)
		}
		return true
	})
	return errors.Join(err, failed)
}

// reset ends a connection at once, which its client sees as such: socket(7), SO_LINGER.
func reset(client *os.File) {
	if raw, err := client.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}
	client.Close()
}

// sockets are some of the sandbox's, made ahead: a process inside makes several at a time.
type sockets struct {
	mutex sync.Mutex
	kinds map[[2]int][]*os.File
	over  bool
}

func (s *sockets) take(family, kind int, more func(family, kind int) ([]*os.File, error)) (*os.File, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	key := [2]int{family, kind}
	if s.over {
		return nil, unix.ESRCH
	}
	if len(s.kinds[key]) == 0 {
		made, err := more(family, kind)
		if err != nil {
			return nil, err
		}
		if s.kinds == nil {
			s.kinds = map[[2]int][]*os.File{}
		}
		s.kinds[key] = made
	}
	last := len(s.kinds[key]) - 1
	socket := s.kinds[key][last]
	s.kinds[key] = s.kinds[key][:last]
	return socket, nil
}

func (s *sockets) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.over = true
	for _, list := range s.kinds {
		for _, socket := range list {
			socket.Close()
		}
	}
	s.kinds = nil
}
