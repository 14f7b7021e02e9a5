// Package registry talks to registries: it pulls images into the store, pushes them, and lists tags.
//
// What a registry answers is hostile input. Nothing is taken that its digest and size do not prove;
// no address is asked that the name does not lead to by https, unless the user's configuration says
// that a registry is insecure.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sbx/images"
)

// Config is what the user's configuration says about one registry.
type Config struct {
	// Mirrors are asked first, in this order: HOST[:PORT].
	Mirrors []string
	// Insecure allows plain http.
	Insecure bool
}

// Client talks to registries.
type Client struct {
	// Registries are the configured ones, by HOST[:PORT].
	Registries map[string]Config
	// Keychain has the user's credentials.
	Keychain authn.Keychain
	// Tries is how often something is asked for, at most; Stall is how long a body may bring less than
	// stallBytes. Zero: five times, one minute.
	Tries int
	Stall time.Duration
}

const (
	defaultTries = 5
	defaultStall = time.Minute
	stallBytes   = 16 << 10
)

func (c *Client) tries() int {
	if c.Tries > 0 {
		return c.Tries
	}
	return defaultTries
}

func (c *Client) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return defaultStall
}

// source is a registry, or a mirror of it, with one repository.
type source struct {
	client *Client
	host   string
	repo   name.Repository
	http   *http.Client
}

// sources are the places that may have a repository, in the order in which they are asked.
func (c *Client) sources(ref images.Ref) []*source {
	hosts := append(append([]string{}, c.Registries[ref.Registry].Mirrors...), ref.Registry)
	var list []*source
	for _, host := range hosts {
		list = append(list, &source{client: c, host: host})
	}
	return list
}

// hubHost is where Docker Hub's registry is under the name that images have.
const hubHost = "index.docker.io"

// connect finds out how the source wants to be talked to, and gives it the user's credentials. action
// is transport.PullScope or transport.PushScope.
func (s *source) connect(ctx context.Context, repository, action string) error {
	host := s.host
	if host == "docker.io" {
		host = hubHost
	}
	var options []name.Option
	insecure := s.client.Registries[s.host].Insecure
	if insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+repository, options...)
	if err != nil {
		return err
	}
	s.repo = repo
	auth, err := authn.Resolve(ctx, s.client.Keychain, repo)
	if err != nil {
		return fmt.Errorf("finding the credentials for %s: %w", s.host, err)
	}
	base := &guard{host: repo.RegistryStr(), insecure: insecure}
	base.transport = base.newTransport()
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, base, []string{repo.Scope(action)})
	if err != nil {
		return err
	}
	s.http = &http.Client{Transport: rt, CheckRedirect: checkRedirect}
	return nil
}

func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return errors.New("redirected more than five times")
	}
	return nil
}

// url is an address below the repository.
func (s *source) url(path string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), path)
}

// guard is the one way out: it lets no answer of a registry lead to where its name does not.
type guard struct {
	host      string
	insecure  bool
	transport *http.Transport

	mutex sync.Mutex
	class class // of the registry's own address
}

// RefusedError is an address that a registry led to and that is not asked.
type RefusedError struct{ To, Why string }

func (e *RefusedError) Error() string { return "not asking " + e.To + ": " + e.Why }

// RoundTrip sends a request, by https unless the registry itself is configured as insecure.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Scheme == "https":
	case r.URL.Scheme != "http":
		return nil, &RefusedError{r.URL.Redacted(), "it is no https address"}
	case !g.insecure:
		return nil, &RefusedError{r.URL.Scheme + "://" + r.URL.Host, "plain http is not configured for " + g.host}
	case r.URL.Host != g.host:
		return nil, &RefusedError{r.URL.Scheme + "://" + r.URL.Host, "the registry " + g.host + " led there by plain http"}
	}
	return g.transport.RoundTrip(r)
}

// CloseIdleConnections lets go of the connections.
func (g *guard) CloseIdleConnections() { g.transport.CloseIdleConnections() }

func (g *guard) newTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: g.dial,
		TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: 45 * time.Second,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true, MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize: 64 << 10, ReadBufferSize: 256 << 10,
	}
}

// class is how near an address is: what is nearer is more to be guarded.
type class int

const (
	unknownClass class = iota
	public
	private
	local // loopback and link-local, where metadata services are
)

func classOf(a netip.Addr) class {
	a = a.Unmap()
	switch {
	case a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsUnspecified(), a.IsMulticast():
		return local
	case a.IsPrivate():
		return private
	}
	return public
}

// dial connects. An address that only a registry's answer named must not be nearer than the registry.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := g.judge(address, classOf(remote.Addr())); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// judge knows the registry by its name, and a proxy by having been the first that was dialled.
func (g *guard) judge(address string, c class) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	own := address == g.host || strings.HasPrefix(address, g.host+":")
	if own || g.class == unknownClass {
		g.class = max(g.class, c)
		return nil
	}
	if c > g.class {
		return &RefusedError{address, "its address is nearer than that of " + g.host + ", which led there"}
	}
	return nil
}

// StatusError is an answer that is none to the question.
type StatusError struct {
	Host, What string
	Status     int
	After      time.Duration // that it asks to wait
	Detail     string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s for %s", e.Host, e.Status, http.StatusText(e.Status), e.What)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// mayPass tells whether it can help to ask again.
func mayPass(err error) bool {
	var status *StatusError
	var answer *transport.Error
	var damaged *images.DamagedError
	var refused *RefusedError
	switch {
	case errors.As(err, &damaged), errors.As(err, &refused), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &status):
		return status.Status == http.StatusTooManyRequests || status.Status >= 500 || status.Status == http.StatusRequestTimeout
	case errors.As(err, &answer):
		return answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500
	}
	return isNetwork(err)
}

// isNetwork tells errors of the connection from those of this machine, such as a full disk.
func isNetwork(err error) bool {
	var network net.Error
	var op *net.OpError
	var cut *cutError
	var notFound *net.DNSError
	if errors.As(err, &notFound) && notFound.IsNotFound {
		return false
	}
	return errors.As(err, &network) || errors.As(err, &op) || errors.As(err, &cut)
}

// cutError is a body that ended before its time, or brought nothing for too long.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// maxWait bounds what a registry can make us wait before one more try.
const maxWait = 30 * time.Second

// again does something until it works, cannot work, or was tried often enough.
func (c *Client) again(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil || !mayPass(err) || n >= c.tries() {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait(n, err)):
		}
	}
}

// wait doubles from a quarter of a second on, with some chance in it, or is what the registry asks for.
func wait(n int, err error) time.Duration {
	var status *StatusError
	if errors.As(err, &status) && status.After > 0 {
		return min(status.After, maxWait)
	}
	var random [2]byte
	rand.Read(random[:])
	base := 250 * time.Millisecond << min(n-1, 6)
	return min(base/2+base*time.Duration(binary.NativeEndian.Uint16(random[:]))/65536, maxWait)
}

// Login tries a name and a password.
func (c *Client) Login(ctx context.Context, host, user, password string) error {
	try := &Client{Registries: c.Registries, Keychain: fixed{authn.FromConfig(authn.AuthConfig{Username: user, Password: password})}}
	s := &source{client: try, host: host}
	if err := s.connect(ctx, "library/login", transport.PullScope); err != nil {
		return fmt.Errorf("logging in to %s: %w", host, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.repo.Scheme()+"://"+s.repo.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return fmt.Errorf("logging in to %s: %w", host, err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return &StatusError{Host: host, What: "this user and password", Status: answer.StatusCode}
	}
	return nil
}

// fixed has one set of credentials for all.
type fixed struct{ authn.Authenticator }

func (f fixed) Resolve(authn.Resource) (authn.Authenticator, error) { return f.Authenticator, nil }
