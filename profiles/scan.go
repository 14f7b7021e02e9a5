package profiles

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The TOML library tells where the syntax is wrong, not where a key or a value
// of a good file stands. This scan finds that out: it walks the text before
// the library does, notes places, and stops at what it does not understand,
// for the library to explain. It also refuses depth, since the library
// recurses per level and looks at every prefix of a dotted key.

// maxDepth is how deep tables, arrays and dotted keys may nest. The deepest
// key of the schema is tasks.NAME.env.set.KEY.
const maxDepth = 16

// pos is a line and a column, both from 1.
type pos struct{ line, col int }

// place is where one key of a file and its value stand, with what is below.
type place struct {
	key, val pos
	keys     map[string]*place
	elems    []*place
	// tables marks an array of tables: a header below it means the last one.
	tables bool
}

func (p *place) sub(key string, at pos) *place {
	if p.tables && len(p.elems) > 0 {
		p = p.elems[len(p.elems)-1]
	}
	if c, ok := p.keys[key]; ok {
		return c
	}
	if p.keys == nil {
		p.keys = map[string]*place{}
	}
	c := &place{key: at, val: at}
	p.keys[key] = c
	return c
}

// stop is what ends the scan early: not understood, or too deep.
type stop struct {
	off     int
	at      pos
	tooDeep bool
}

type scanner struct {
	src  string
	off  int
	line int
	col  int
}

// scan notes the places of all keys and values of a TOML text. A stop means
// that the text is not understood beyond it.
func scan(src string) (root *place, st *stop) {
	s := &scanner{src: src, line: 1, col: 1}
	root = &place{}
	defer func() {
		if r := recover(); r != nil {
			got, ok := r.(*stop)
			if !ok {
				panic(r)
			}
			st = got
		}
	}()
	s.document(root)
	return root, nil
}

func (s *scanner) document(root *place) {
	table := root
	for s.blank(); s.off < len(s.src); s.blank() {
		if s.peek() == '[' {
			table = s.header(root)
		} else {
			s.pair(table, 1)
		}
		s.endOfLine()
	}
}

func (s *scanner) fail()    { panic(&stop{off: s.off, at: s.pos()}) }
func (s *scanner) pos() pos { return pos{s.line, s.col} }

func (s *scanner) deeper(depth int) int {
	if depth >= maxDepth {
		panic(&stop{off: s.off, at: s.pos(), tooDeep: true})
	}
	return depth + 1
}

// peek returns the next byte, 0 at the end; a NUL byte is no TOML anyway.
func (s *scanner) peek() byte {
	if s.off >= len(s.src) {
		return 0
	}
	return s.src[s.off]
}

func (s *scanner) next() byte {
	c := s.peek()
	if s.off >= len(s.src) {
		s.fail()
	}
	s.off++
	switch {
	case c == '\n':
		s.line, s.col = s.line+1, 1
	case utf8.RuneStart(c):
		s.col++
	}
	return c
}

func (s *scanner) skip(n int) {
	for range n {
		s.next()
	}
}

func (s *scanner) want(c byte) {
	if s.peek() != c {
		s.fail()
	}
	s.next()
}

func (s *scanner) spaces() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.next()
	}
}

// blank skips white space, line ends and comments.
func (s *scanner) blank() {
	for {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.next()
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *scanner) comment() {
	for s.off < len(s.src) && s.peek() != '\n' {
		s.next()
	}
}

func (s *scanner) endOfLine() {
	s.spaces()
	if s.peek() == '#' {
		s.comment()
	}
	if s.peek() == '\r' {
		s.next()
	}
	if s.off < len(s.src) {
		s.want('\n')
	}
}

// header reads [a.b] or [[a.b]] and returns the table it opens.
func (s *scanner) header(root *place) *place {
	s.want('[')
	array := s.peek() == '['
	if array {
		s.next()
	}
	t := s.key(root, 0)
	s.want(']')
	if !array {
		return t
	}
	s.want(']')
	t.tables = true
	t.elems = append(t.elems, &place{key: t.key, val: t.key})
	return t
}

// key reads a dotted key and returns its place below table.
func (s *scanner) key(table *place, depth int) *place {
	for {
		depth = s.deeper(depth)
		s.spaces()
		at := s.pos()
		table = table.sub(s.keyPart(), at)
		s.spaces()
		if s.peek() != '.' {
			return table
		}
		s.next()
	}
}

func (s *scanner) keyPart() string {
	switch s.peek() {
	case '"', '\'':
		return s.quoted()
	}
	from := s.off
	for isBare(s.peek()) {
		s.next()
	}
	if s.off == from {
		s.fail()
	}
	return s.src[from:s.off]
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// quoted reads a string on one line and returns what it stands for.
func (s *scanner) quoted() string {
	q, from := s.next(), s.off
	escaped := false
	for s.peek() != q {
		switch s.next() {
		case '\n':
			s.fail()
		case '\\':
			if q == '"' {
				escaped = true
				s.next()
			}
		}
	}
	body := s.src[from:s.off]
	s.next()
	if escaped {
		return unescape(body)
	}
	return body
}

// unescape resolves the escapes of a TOML string. Bad ones stay as they are,
// for the library refuses them.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]; n > 0 && i+n < len(s) {
			r, _ := strconv.ParseUint(s[i+1:i+1+n], 16, 32)
			b.WriteRune(rune(r))
			i += n
			continue
		}
		b.WriteByte(unescapeByte(s[i]))
	}
	return b.String()
}

func unescapeByte(c byte) byte {
	const from, to = `btnfre`, "\b\t\n\f\r\x1b"
	if i := strings.IndexByte(from, c); i >= 0 {
		return to[i]
	}
	return c
}

// pair reads KEY = VALUE.
func (s *scanner) pair(table *place, depth int) {
	p := s.key(table, depth-1)
	s.want('=')
	s.spaces()
	s.value(p, depth)
}

func (s *scanner) value(p *place, depth int) {
	p.val = s.pos()
	switch s.peek() {
	case '[':
		s.array(p, s.deeper(depth))
	case '{':
		s.inlineTable(p, s.deeper(depth))
	case '"', '\'':
		s.stringValue()
	default:
		s.bareValue()
	}
}

func (s *scanner) array(p *place, depth int) {
	s.want('[')
	for s.blank(); s.peek() != ']'; s.blank() {
		e := &place{key: s.pos()}
		s.value(e, depth)
		p.elems = append(p.elems, e)
		s.comma(']')
	}
	s.want(']')
}

func (s *scanner) inlineTable(p *place, depth int) {
	s.want('{')
	for s.blank(); s.peek() != '}'; s.blank() {
		s.pair(p, depth)
		s.comma('}')
	}
	s.want('}')
}

// comma skips a comma, which may be missing only before the end.
func (s *scanner) comma(end byte) {
	s.blank()
	if s.peek() != end {
		s.want(',')
	}
}

func (s *scanner) stringValue() {
	q := s.src[s.off : s.off+1]
	if !strings.HasPrefix(s.src[s.off:], q+q+q) {
		s.quoted()
		return
	}
	s.skip(3)
	for !strings.HasPrefix(s.src[s.off:], q+q+q) {
		if s.next() == '\\' && q == `"` {
			s.next()
		}
	}
	s.skip(3)
	for n := 0; n < 2 && s.peek() == q[0]; n++ { // up to two quotes may stand before the closing three
		s.next()
	}
}

// bareValue reads a number, a boolean or a date, which may have a space in it.
func (s *scanner) bareValue() {
	from := s.off
	for !strings.ContainsRune(",]}#\r\n\x00", rune(s.peek())) {
		s.next()
	}
	if s.off == from {
		s.fail()
	}
}

func (st *stop) depthFault() error {
	return faultf("", "nests more than %s deep", fmt.Sprint(maxDepth, " levels"))
}
