package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"sbx/images"
)

// hostile is a registry of the tests' own: a real HTTP server that answers as it likes, which real registries refuse to.
type hostile struct {
	t      *testing.T
	server *httptest.Server
	// blobs and manifests are what it has, by digest and by tag.
	blobs, manifests map[string][]byte
	// blob, if set, answers for blobs.
	blob func(w http.ResponseWriter, r *http.Request, data []byte)
	// any, if set, answers first, and says whether it did.
	any   func(w http.ResponseWriter, r *http.Request) bool
	asked atomic.Int64
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{t: t, blobs: map[string][]byte{}, manifests: map[string][]byte{}}
	h.server = httptest.NewServer(h)
	t.Cleanup(h.server.Close)
	return h
}

func (h *hostile) host() string { return strings.TrimPrefix(h.server.URL, "http://") }

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	if h.any != nil && h.any(w, r) {
		return
	}
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/v2/":
		fmt.Fprint(w, "{}")
	case strings.Contains(r.URL.Path, "/manifests/"):
		if data, ok := h.manifests[last]; ok {
			w.Write(data)
			return
		}
		http.NotFound(w, r)
	case strings.Contains(r.URL.Path, "/blobs/"):
		data, ok := h.blobs[last]
		switch {
		case !ok:
			http.NotFound(w, r)
		case h.blob != nil:
			h.blob(w, r, data)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}
	}
}

// image files an image of one layer under the tag latest. change, if not nil, may spoil its manifest and configuration.
func (h *hostile) image(layer []byte, change func(m *images.Manifest, c *images.ConfigFile)) {
	c := images.ConfigFile{OS: "linux", RootFS: images.RootFS{Type: "layers", DiffIDs: []string{images.Sum(layer)}}}
	m := images.Manifest{SchemaVersion: 2, Layers: []images.Descriptor{{Digest: images.Sum(layer), Size: int64(len(layer))}}}
	if change != nil {
		change(&m, &c)
	}
	config, _ := json.Marshal(c)
	if m.Config.Digest == "" {
		m.Config = images.Descriptor{Digest: images.Sum(config), Size: int64(len(config))}
	}
	h.blobs[images.Sum(config)], h.blobs[images.Sum(layer)] = config, layer
	data, _ := json.Marshal(m)
	h.manifests["latest"] = data
	h.manifests[images.Sum(data)] = data
}

// kept unpacks nothing and keeps what was written.
type kept struct {
	bytes.Buffer
	finished, aborted bool
}

func (k *kept) Finish() error { k.finished = true; return nil }
func (k *kept) Abort()        { k.aborted = true }

func (h *hostile) puller(t *testing.T) (*Puller, *kept) {
	store := &images.Store{Dir: t.TempDir()}
	if err := store.Prepare(); err != nil {
		t.Fatal(err)
	}
	k := &kept{}
	return &Puller{
		Client: &Client{
			Registries: map[string]Config{h.host(): {Insecure: true}}, Keychain: authn.NewMultiKeychain(),
			Tries: 3, Stall: 300 * time.Millisecond,
		},
		Store: store, Has: func(string) (bool, error) { return false, nil },
		Unpack: func(context.Context, images.Layer) (Unpacker, error) { return k, nil },
		Settle: func([]images.Layer) error { return nil },
	}, k
}

func (h *hostile) ref() images.Ref {
	return images.Ref{Registry: h.host(), Repository: "a/b", Tag: "latest"}
}

// names are the files of the store that a later pull or run would take for whole.
func names(p *Puller) (list []string) {
	for _, pattern := range []string{"blobs/sha256/*", "refs/*", "tmp/*"} {
		found, _ := filepath.Glob(filepath.Join(p.Store.Dir, pattern))
		list = append(list, found...)
	}
	return list
}

var content = bytes.Repeat([]byte("a layer that is not that small "), 10000)

func TestPull(t *testing.T) {
	h := newHostile(t)
	h.image(content, nil)
	p, k := h.puller(t)
	img, err := p.Pull(t.Context(), h.ref())
	if err != nil || !k.finished || !bytes.Equal(k.Bytes(), content) {
		t.Fatalf("%v, finished %v, %d bytes", err, k.finished, k.Len())
	}
	if found, err := p.Store.Find(h.ref()); err != nil || found.Digest != img.Digest {
		t.Errorf("in the store: %v, %v", found, err)
	}
}

// What a registry spoils is an error in words, nothing that looks whole is left, and it ends in bounded time.
func TestHostileAnswers(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(code)
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request, data []byte) {
		for i := range data {
			w.Write(data[i : i+1])
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	for _, c := range []struct {
		name, want string
		change     func(*images.Manifest, *images.ConfigFile)
		blob       func(http.ResponseWriter, *http.Request, []byte)
	}{
		{name: "flipped byte", want: "has the digest", blob: func(w http.ResponseWriter, _ *http.Request, d []byte) {
			spoilt := bytes.Clone(d)
			spoilt[len(spoilt)/2] ^= 1
			w.Write(spoilt)
		}},
		{name: "too long", want: "the registry sent", blob: func(w http.ResponseWriter, _ *http.Request, d []byte) { w.Write(append(bytes.Clone(d), "more"...)) }},
		{name: "too short", want: "early", blob: func(w http.ResponseWriter, r *http.Request, d []byte) {
			if r.Header.Get("Range") == "" {
				w.Write(d[:len(d)/2])
			}
		}},
		{name: "endless", want: "the registry sent", blob: func(w http.ResponseWriter, r *http.Request, d []byte) {
			for r.Context().Err() == nil {
				if _, err := w.Write(d); err != nil {
					return
				}
			}
		}},
		{name: "dripping", want: "closed", blob: drip},
		{name: "429", want: "429", blob: status(429, "Retry-After", "0")},
		{name: "503", want: "503", blob: status(503)},
		{name: "html", want: "the registry sent", blob: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			io.WriteString(w, "<html>log in</html>"+strings.Repeat(" ", 1<<20))
		}},
		{name: "redirect to a file", want: "not asking file:///etc/passwd", blob: status(307, "Location", "file:///etc/passwd")},
		{name: "redirect to loopback", want: "not asking http://127.0.0.1:1", blob: status(307, "Location", "http://127.0.0.1:1/x")},
		{name: "redirect in a circle", want: "redirected more than", blob: func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}},
		{name: "wrong size", want: "no more than", change: func(m *images.Manifest, _ *images.ConfigFile) { m.Layers[0].Size++ }},
		{name: "other diff ids", want: "its configuration 2", change: func(_ *images.Manifest, c *images.ConfigFile) {
			c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, c.RootFS.DiffIDs[0])
		}},
		{name: "other platform", want: "no image for linux/", change: func(_ *images.Manifest, c *images.ConfigFile) { c.OS = "plan9" }},
		{name: "NUL in the environment", want: "NUL byte", change: func(_ *images.Manifest, c *images.ConfigFile) { c.Config.Env = []string{"A=\x00"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostile(t)
			h.image(content, c.change)
			if c.blob != nil {
				h.blob = func(w http.ResponseWriter, r *http.Request, data []byte) {
					if len(data) < len(content) { // the configuration
						w.Write(data)
						return
					}
					c.blob(w, r, data)
				}
			}
			p, k := h.puller(t)
			_, err := p.Pull(t.Context(), h.ref())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one with %q", err, c.want)
			}
			if k.finished || len(names(p)) > 0 {
				t.Errorf("finished %v, left %q", k.finished, names(p))
			}
			if n := h.asked.Load(); n > 60 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestHostileManifests(t *testing.T) {
	for name, c := range map[string]struct{ manifest, want string }{
		"huge":       {strings.Repeat(" ", 100<<20), "larger than"},
		"html":       {"<html></html>", "invalid character"},
		"no digests": {`{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}`, "no sha256 digest"},
		"platforms":  {`{"schemaVersion":2,"manifests":[{"platform":{"os":"linux","architecture":"z80"}}]}`, "it has linux/z80"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			h.manifests["latest"] = []byte(c.manifest)
			p, _ := h.puller(t)
			if _, err := p.Pull(t.Context(), h.ref()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one with %q", err, c.want)
			}
			if len(names(p)) > 0 {
				t.Errorf("left %q", names(p))
			}
		})
	}
}

// An index in an index in an index ...
func TestNestedIndex(t *testing.T) {
	h := newHostile(t)
	h.image(content, nil)
	inner := h.manifests["latest"]
	for range 60 {
		data := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, images.TypeOCIIndex, images.Sum(inner), len(inner))
		h.manifests[images.Sum(data)], inner = data, data
	}
	h.manifests["latest"] = inner
	p, _ := h.puller(t)
	if _, err := p.Pull(t.Context(), h.ref()); err == nil || !strings.Contains(err.Error(), "an index in an index") {
		t.Errorf("the error is %v", err)
	}
}

// A layer that says where else it can be had is asked for at its registry alone.
func TestForeignURLs(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the foreign URL was asked") }))
	defer other.Close()
	h := newHostile(t)
	h.image(content, func(m *images.Manifest, _ *images.ConfigFile) {
		m.Layers[0].MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		m.Layers[0].URLs = []string{other.URL + "/layer", "file:///etc/passwd"}
	})
	delete(h.blobs, images.Sum(content))
	p, _ := h.puller(t)
	if _, err := p.Pull(t.Context(), h.ref()); err == nil || !strings.Contains(err.Error(), "404") || len(names(p)) > 0 {
		t.Errorf("the error is %v, left %q", err, names(p))
	}
}

// A token realm is asked for a token with the user's password: it must not lead elsewhere by plain http.
func TestTokenRealm(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the realm on another host was asked") }))
	defer other.Close()
	for _, realm := range []string{other.URL + "/token", "file:///etc/passwd"} {
		h := newHostile(t)
		h.any = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="x"`, realm))
			w.WriteHeader(401)
			return true
		}
		p, _ := h.puller(t)
		if _, err := p.Pull(t.Context(), h.ref()); err == nil {
			t.Error("no error for the realm", realm)
		}
	}
}

// Plain http is for registries that are configured so.
func TestPlainHTTPRefused(t *testing.T) {
	h := newHostile(t)
	h.image(content, nil)
	p, _ := h.puller(t)
	p.Client.Registries = nil
	var refused *RefusedError
	if _, err := p.Pull(t.Context(), h.ref()); !errors.As(err, &refused) {
		t.Errorf("the error is %v", err)
	}
}

// A pull that was cut off goes on where it stopped, in this process and in the next.
func TestResume(t *testing.T) {
	h := newHostile(t)
	h.image(content, nil)
	var ranges []string
	cuts := 2
	h.blob = func(w http.ResponseWriter, r *http.Request, data []byte) {
		if len(data) < len(content) {
			w.Write(data)
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		if cuts > 0 {
			cuts--
			from := int64(0)
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Length", fmt.Sprint(int64(len(data))-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(data[from : from+100000])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	p, k := h.puller(t)
	if _, err := p.Pull(t.Context(), h.ref()); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 3 || ranges[1] == "" || !bytes.Equal(k.Bytes(), content) {
		t.Errorf("asked for %q, unpacked %d bytes", ranges, k.Len())
	}
	// Another process, which finds half of it.
	p, k = h.puller(t)
	os.WriteFile(p.Store.Partial(images.Sum(content)), content[:len(content)/2], 0o600)
	ranges = nil
	if _, err := p.Pull(t.Context(), h.ref()); err != nil || ranges[0] != fmt.Sprintf("bytes=%d-", len(content)/2) || !bytes.Equal(k.Bytes(), content) {
		t.Errorf("%v, asked for %q, unpacked %d bytes", err, ranges, k.Len())
	}
	// What it finds is not of this blob.
	p, _ = h.puller(t)
	os.WriteFile(p.Store.Partial(images.Sum(content)), bytes.Repeat([]byte("x"), 1000), 0o600)
	if _, err := p.Pull(t.Context(), h.ref()); err == nil {
		t.Error("a wrong half was taken")
	}
	if _, err := p.Pull(t.Context(), h.ref()); err != nil {
		t.Errorf("after the wrong half was thrown away: %v", err)
	}
}
