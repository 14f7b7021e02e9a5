package sandbox

import (
	"bytes"
	"testing"
)

func TestDetachKeys(t *testing.T) {
	for _, c := range []struct {
		keys, typed, sent string
		left              bool
	}{
		{"ctrl-p,ctrl-q", "abc", "abc", false},
		{"ctrl-p,ctrl-q", "a\x10\x11b", "a", true},
		{"ctrl-p,ctrl-q", "\x10\x10\x11", "\x10", true},
		{"ctrl-p,ctrl-q", "\x10x\x11", "\x10x\x11", false},
		{"a,a,b", "aaab", "a", true},
		{"a,b,a,c", "ababac", "ab", true},
		{"", "\x10\x11", "\x10\x11", false},
	} {
		keys, err := ParseKeys(c.keys)
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		matched, left := 0, false
		for _, b := range []byte(c.typed) {
			if out, matched = matchKeys(out, keys, matched, b); matched == len(keys) && matched > 0 {
				left = true
				break
			}
		}
		if !bytes.Equal(out, []byte(c.sent)) || left != c.left {
			t.Errorf("%s, typed %q: sent %q, left %v", c.keys, c.typed, out, left)
		}
	}
	for _, bad := range []string{"ctrl-", "ctrl-pq", "ab", ",", "ctrl-1"} {
		if _, err := ParseKeys(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
