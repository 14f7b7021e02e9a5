package images

import (
	"fmt"
	"strings"
)

// Ref names an image: a registry, a repository in it, and a tag or a digest.
type Ref struct {
	Registry   string // HOST[:PORT], "docker.io" for Docker Hub
	Repository string // as in "library/ubuntu"
	Tag        string // "latest" where neither tag nor digest was written
	Digest     string // "sha256:" and 64 hex digits; with one the tag is empty
}

// String is the whole name, which is also what the store files the image under.
func (r Ref) String() string {
	if r.Digest != "" {
		return r.Registry + "/" + r.Repository + "@" + r.Digest
	}
	return r.Registry + "/" + r.Repository + ":" + r.Tag
}

// At is the same repository at a digest.
func (r Ref) At(digest string) Ref {
	return Ref{Registry: r.Registry, Repository: r.Repository, Digest: digest}
}

// Short is the last part of the repository: what a host name or a prompt can show.
func (r Ref) Short() string { return r.Repository[strings.LastIndexByte(r.Repository, '/')+1:] }

// RefError is a text that names no image.
type RefError struct{ Text, Why string }

func (e *RefError) Error() string { return fmt.Sprintf("no name of an image: %q: %s", e.Text, e.Why) }

// Docker Hub as people write it, and where its images without a folder lie.
const (
	dockerHub     = "docker.io"
	dockerLibrary = "library/"
)

// maxName is the length that the distribution specification allows for registry and repository.
const maxName = 255

// ParseRef reads a name as people write it: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]. A name without a
// registry is looked up in aliases, by itself or without its tag; else it is Docker Hub's. With a
// digest the tag says nothing more and is left out.
func ParseRef(s string, aliases map[string]string) (Ref, error) {
	name, tag, digest, err := split(s)
	if err != nil {
		return Ref{}, err
	}
	target, ok := aliases[s]
	if ok {
		return ParseRef(target, nil)
	}
	if target, ok = aliases[name]; ok {
		r, err := ParseRef(target, nil)
		if err != nil || tag == "" && digest == "" {
			return r, err
		}
		return finish(s, r.Registry, r.Repository, tag, digest)
	}
	first, rest, found := strings.Cut(name, "/")
	switch {
	case found && (strings.ContainsAny(first, ".:") || first == "localhost"):
		return finish(s, first, rest, tag, digest)
	case found:
		return finish(s, dockerHub, name, tag, digest)
	}
	return finish(s, dockerHub, dockerLibrary+name, tag, digest)
}

// split parts a name from its tag and digest.
func split(s string) (name, tag, digest string, err error) {
	name, digest, hasDigest := strings.Cut(s, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if !isTag(tag) {
			return "", "", "", &RefError{s, "a tag is up to 128 letters, digits, '_', '.' and '-'"}
		}
	}
	if hasDigest && !IsDigest(digest) {
		return "", "", "", &RefError{s, "a digest is sha256: and 64 hex digits"}
	}
	return name, tag, digest, nil
}

func finish(s, registry, repository, tag, digest string) (Ref, error) {
	if registry == "index.docker.io" || registry == "registry-1.docker.io" {
		registry = dockerHub
	}
	switch {
	case !IsRegistry(registry):
		return Ref{}, &RefError{s, "no registry HOST[:PORT]"}
	case !isRepository(repository) || len(registry)+len(repository) >= maxName:
		return Ref{}, &RefError{s, "a repository is words of lower case letters and digits, parted by '/', '.', '_' and '-'"}
	case digest != "":
		return Ref{Registry: registry, Repository: repository, Digest: digest}, nil
	case tag == "":
		tag = "latest"
	}
	return Ref{Registry: registry, Repository: repository, Tag: tag}, nil
}

const (
	lower    = "abcdefghijklmnopqrstuvwxyz"
	digits   = "0123456789"
	hexDigit = digits + "abcdef"
	alnum    = lower + digits
	wordChar = alnum + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
)

// IsRegistry tells whether s is a registry's HOST[:PORT].
func IsRegistry(s string) bool {
	host, port, hasPort := s, "", false
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	if hasPort && (port == "" || len(port) > 5 || !only(port, digits)) {
		return false
	}
	if strings.HasPrefix(host, "[") {
		return strings.HasSuffix(host, "]") && only(host[1:len(host)-1], hexDigit+":")
	}
	return host != "" && only(host, wordChar+"-.") && !strings.HasPrefix(host, "-") && !strings.HasPrefix(host, ".")
}

// isRepository follows the grammar of the distribution specification.
func isRepository(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !only(part, alnum+"._-") || !only(part[:1], alnum) || !only(part[len(part)-1:], alnum) ||
			strings.Contains(part, "..") {
			return false
		}
	}
	return true
}

func isTag(s string) bool {
	return s != "" && len(s) <= 128 && only(s[:1], wordChar) && only(s, wordChar+".-")
}

// IsDigest tells whether s is a digest of the only kind that the store takes.
func IsDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && only(hex, hexDigit)
}

func only(s, chars string) bool { return strings.Trim(s, chars) == "" }
