package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sbx/images"
)

// maxTags bounds how many tags are listed: a registry could go on for ever.
const maxTags = 100000

// Tags lists the tags of a repository.
func (c *Client) Tags(ctx context.Context, ref images.Ref) ([]string, error) {
	var said []error
	for _, s := range c.sources(ref) {
		tags, err := s.tags(ctx, ref)
		if err == nil {
			return tags, nil
		}
		said = append(said, fmt.Errorf("%s: %w", s.host, err))
	}
	return nil, &MissingError{ref.Registry + "/" + ref.Repository, errors.Join(said...)}
}

// tagPage is how many tags are asked for at once.
const tagPage = 1000

func (s *source) tags(ctx context.Context, ref images.Ref) (all []string, err error) {
	err = s.client.again(ctx, func() error { return s.connect(ctx, ref.Repository, transport.PullScope) })
	if err != nil {
		return nil, err
	}
	for path := fmt.Sprintf("tags/list?n=%d", tagPage); ; {
		var page struct {
			Tags []string `json:"tags"`
		}
		err := s.client.again(ctx, func() error {
			answer, err := s.get(ctx, path, "the tags of "+ref.Repository, http.Header{})
			if err != nil {
				return err
			}
			body := s.watched(answer.Body)
			defer body.Close()
			data, err := io.ReadAll(io.LimitReader(body, images.MaxJSON))
			if err != nil {
				return &cutError{err}
			}
			return json.Unmarshal(data, &page)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Tags...)
		if len(page.Tags) < tagPage || len(all) > maxTags {
			return all, nil
		}
		path = fmt.Sprintf("tags/list?n=%d&last=%s", tagPage, page.Tags[len(page.Tags)-1])
	}
}
