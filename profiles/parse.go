package profiles

import (
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile is how large a file of ours may be.
const maxFile = 1 << 20

// node is a value of a file with its place.
type node struct {
	raw any
	at  *place
	src *source
}

// source is one text that is being read.
type source struct {
	origin Origin // of everything in it, without line and column
	base   base
	errs   Errors
}

func (s *source) from(p pos) Origin {
	o := s.origin
	o.Line, o.Column = p.line, p.col
	return o
}

const maxErrors = 20

// fail notes an error. A file that is nothing but errors gets the first ones.
func (s *source) fail(p pos, err error) {
	if !s.full() {
		s.errs = append(s.errs, errorAt(s.from(p), err))
	}
}

func (s *source) full() bool { return len(s.errs) >= maxErrors }

// document reads the syntax of a text: size, depth and TOML.
func (s *source) document(text string) (node, bool) {
	if len(text) > maxFile {
		s.fail(pos{}, faultf("", "is larger than %d bytes", maxFile))
		return node{}, false
	}
	text = strings.TrimPrefix(text, "\ufeff")
	places, st := scan(text)
	if st != nil && st.tooDeep {
		s.fail(st.at, st.depthFault())
		return node{}, false
	}
	if st != nil { // the library sees no more than the scan did, so that depth stays bounded
		text = text[:lineEnd(text, st.off)]
	}
	raw, ok := s.syntax(text)
	if ok && st != nil {
		s.fail(st.at, faultf("", "is not TOML"))
		return node{}, false
	}
	return node{raw: raw, at: places, src: s}, ok
}

func lineEnd(text string, off int) int {
	if i := strings.IndexByte(text[off:], '\n'); i >= 0 {
		return off + i + 1
	}
	return len(text)
}

func (s *source) syntax(text string) (map[string]any, bool) {
	raw := map[string]any{}
	_, err := toml.Decode(text, &raw)
	if err == nil {
		return raw, true
	}
	pe, ok := err.(toml.ParseError)
	if !ok {
		s.fail(pos{}, faultf("", "%s", plainSyntax(err.Error())))
		return nil, false
	}
	s.fail(positionOf(text, pe.Position), faultf("", "%s", plainSyntax(pe.Message)))
	return nil, false
}

// positionOf counts the column in characters; the library counts bytes.
func positionOf(text string, p toml.Position) pos {
	start := min(max(p.Start, 0), len(text))
	before := text[:start]
	line := strings.LastIndexByte(before, '\n') + 1
	return pos{strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[line:]) + 1}
}

// plainSyntax gives a message of the library the form of ours.
func plainSyntax(msg string) string {
	msg = strings.TrimSuffix(strings.TrimPrefix(msg, "toml: "), ".")
	if r, n := utf8.DecodeRuneInString(msg); r >= 'A' && r <= 'Z' {
		msg = strings.ToLower(msg[:n]) + msg[n:]
	}
	return escapeControl(msg)
}

func escapeControl(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = '\ufffd'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// table returns the entries of a table, or notes that the node is none.
func (n node) table(what string) (map[string]any, bool) {
	t, ok := n.raw.(map[string]any)
	if !ok {
		n.fail(faultf("", "%s is a table, not %s", what, typeName(n.raw)))
	}
	return t, ok
}

func (n node) sub(key string, raw any) node {
	at := n.at.keys[key]
	if at == nil { // the scan and the library differ: the parent's place is near
		at = &place{key: n.at.key, val: n.at.val}
	}
	return node{raw: raw, at: at, src: n.src}
}

func (n node) elem(i int, raw any) node {
	at := &place{key: n.at.key, val: n.at.val}
	if i < len(n.at.elems) {
		at = n.at.elems[i]
	}
	return node{raw: raw, at: at, src: n.src}
}

func (n node) fail(err error)    { n.src.fail(n.at.val, err) }
func (n node) failKey(err error) { n.src.fail(n.at.key, err) }
func (n node) from() Origin      { return n.src.from(n.at.val) }
