package host

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable shows what would act on a terminal, or reorder text, as an escape sequence: names come
// from repositories, images and payloads.
func Printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && !strings.ContainsRune(s, unicode.ReplacementChar) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, rest, quoted := nextRune(s)
		if r == unicode.ReplacementChar || unprintable(r) {
			b.WriteString(quoted)
		} else {
			b.WriteRune(r)
		}
		s = rest
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// nextRune takes the first rune of s, and how Go would write it.
func nextRune(s string) (r rune, rest, quoted string) {
	for i, c := range s {
		if i > 0 {
			s, rest = s[:i], s[i:]
			break
		}
		r = c
	}
	quoted = strconv.QuoteToASCII(s)
	return r, rest, quoted[1 : len(quoted)-1]
}
