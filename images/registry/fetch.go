package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sbx/images"
)

// acceptManifests are the media types that are asked for.
var acceptManifests = strings.Join([]string{images.TypeOCIManifest, images.TypeOCIIndex, images.TypeDockerManifest, images.TypeDockerIndex}, ",")

// get asks for something below the repository. The answer has the status 200, or 206.
func (s *source) get(ctx context.Context, path, what string, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(path), nil)
	if err != nil {
		return nil, err
	}
	r.Header = header
	r.Header.Set("User-Agent", "sbx")
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
		return answer, nil
	}
	defer answer.Body.Close()
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return nil, &StatusError{
		Host: s.host, What: what, Status: answer.StatusCode,
		After: time.Duration(max(seconds, 0)) * time.Second, Detail: detail(answer),
	}
}

// detail is what a registry says of an error, where it says it as the specification has it.
func detail(answer *http.Response) string {
	if !strings.Contains(answer.Header.Get("Content-Type"), "json") {
		return ""
	}
	err := transport.CheckError(answer)
	var said *transport.Error
	if !errors.As(err, &said) || len(said.Errors) == 0 {
		return ""
	}
	text := said.Errors[0].Message
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text[:min(len(text), 200)])
}

// manifest asks for a manifest or index by tag or digest, and proves a digest.
func (s *source) manifest(ctx context.Context, reference string) (data []byte, err error) {
	what := s.host + "/" + s.repo.RepositoryStr() + at(reference)
	err = s.client.again(ctx, func() error {
		answer, err := s.get(ctx, "manifests/"+reference, what, http.Header{"Accept": {acceptManifests}})
		if err != nil {
			return err
		}
		body := s.watched(answer.Body)
		defer body.Close()
		if data, err = io.ReadAll(io.LimitReader(body, images.MaxJSON+1)); err != nil {
			return &cutError{fmt.Errorf("reading the manifest of %s: %w", what, err)}
		}
		if len(data) > images.MaxJSON {
			return &images.DamagedError{What: "the manifest of " + what, Why: fmt.Sprintf("it is larger than %d bytes", images.MaxJSON)}
		}
		if images.IsDigest(reference) && images.Sum(data) != reference {
			return &images.DamagedError{What: "the manifest of " + what, Why: "what the registry sent has the digest " + images.Sum(data)}
		}
		return nil
	})
	return data, err
}

func at(reference string) string {
	if images.IsDigest(reference) {
		return "@" + reference
	}
	return ":" + reference
}

// small fetches a small blob, such as a configuration.
func (s *source) small(ctx context.Context, d images.Descriptor) (data []byte, err error) {
	if d.Size > images.MaxJSON {
		return nil, &images.DamagedError{What: d.Digest, Why: fmt.Sprintf("a configuration of %d bytes", d.Size)}
	}
	err = s.client.again(ctx, func() error {
		body, _, err := s.blob(ctx, d, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		if data, err = io.ReadAll(io.LimitReader(body, d.Size+1)); err != nil {
			return &cutError{fmt.Errorf("reading %s: %w", d.Digest, err)}
		}
		return prove(d, int64(len(data)), images.Sum(data))
	})
	return data, err
}

// prove holds what came against what was named.
func prove(d images.Descriptor, size int64, digest string) error {
	switch {
	case size != d.Size:
		return &images.DamagedError{What: d.Digest, Why: fmt.Sprintf("the registry sent %d bytes and not %d", size, d.Size)}
	case digest != d.Digest:
		return &images.DamagedError{What: d.Digest, Why: "what the registry sent has the digest " + digest}
	}
	return nil
}

// blob asks for a blob from an offset on. A registry that knows no ranges sends it from its start:
// from says where the body begins.
func (s *source) blob(ctx context.Context, d images.Descriptor, offset int64) (body io.ReadCloser, from int64, err error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	answer, err := s.get(ctx, "blobs/"+d.Digest, s.host+"'s blob "+d.Digest, header)
	if err != nil {
		return nil, 0, err
	}
	if answer.StatusCode == http.StatusPartialContent {
		from = offset
	}
	return s.watched(answer.Body), from, nil
}

// watched ends a body that brings next to nothing for too long.
func (s *source) watched(body io.ReadCloser) io.ReadCloser {
	w := &watched{body: body, every: s.client.stall()}
	w.timer = time.AfterFunc(w.every, func() { w.body.Close() })
	return w
}

type watched struct {
	body  io.ReadCloser
	timer *time.Timer
	every time.Duration
	since int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if w.since += n; w.since >= stallBytes && w.timer.Stop() {
		w.timer.Reset(w.every)
		w.since = 0
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	return w.body.Close()
}
