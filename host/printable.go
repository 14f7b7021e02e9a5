package host

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
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

// PrintableJSON is the same for JSON, in the way that JSON writes such runes. Its package does so for those
// below the space alone, and a terminal obeys others as well.
func PrintableJSON(text []byte) []byte {
	acts := func(r rune) bool { return r >= 0x7f && unprintable(r) }
	if bytes.IndexFunc(text, acts) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !acts(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
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
