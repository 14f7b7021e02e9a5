package host

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseSockets(t *testing.T) {
	const text = `Num       RefCount Protocol Flags    Type St Inode Path
000000003d296a3f: 00000003 00000000 00000000 0001 03  1567
00000000686db6ab: 00000002 00000000 00010000 0001 01 15680 /run/user/1000/bus
0000000000000001: 00000002 00000000 00010000 0001 01     1 @/tmp/.X11-unix/X0
0000000000000002: 00000003 00000000 00000000 0001 03     2 /run/user/1000/bus
0000000000000003: 00000002 00000000 00010000 0001 01     3 relative/path
0000000000000004: 00000002 00000000 00010000 0001 01     4 /tmp/with space/and
newline: here/s
0000000000000005: 00000002 00000000 00010000 0001 01     5 @abstract
/tmp/not a path
`
	absolute, relative := parseSockets(text)
	if want := []string{"/run/user/1000/bus", "/tmp/with space/and\nnewline: here/s"}; !slices.Equal(plain(absolute), want) {
		t.Errorf("absolute: %q, want %q", absolute, want)
	}
	if want := []string{"relative/path"}; !slices.Equal(plain(relative), want) {
		t.Errorf("relative: %q, want %q", relative, want)
	}
	for _, none := range []string{"", "\n", "/tmp/x\n", "Num RefCount\n", "0: 1 2 3 4 5 6 /x\n", unnamed, unnamed + "x /x\n"} {
		if absolute, relative := parseSockets(none); len(absolute)+len(relative) != 0 {
			t.Errorf("%q gave %q, %q", none, absolute, relative)
		}
	}
}

const unnamed = "000000003d296a3f: 00000003 00000000 00000000 0001 03  1567"

// plain leaves out the second reading of text that could be read in two ways.
func plain(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, "\n0000") })
}

// A name that holds what looks like another entry must not lose its own socket, whichever way it is cut.
func TestNamesThatLookLikeEntries(t *testing.T) {
	for _, name := range []string{
		"/tmp/a\n" + unnamed + " /b", "/tmp/a\n" + unnamed, "/tmp/a\n" + unnamed + "\n", "/tmp/a\n" + unnamed + " /b\nc\n", "/a\nab: c d e f g h /y",
		"/a\n\n" + unnamed + " ", "/tmp/a\nNum RefCount Protocol", "/" + strings.Repeat("x", longestName-2-len(unnamed)) + "\n" + unnamed,
		"rel\n" + unnamed + " /b", "\n" + unnamed + " /b", "\nrel", "\n", " rel", " ", "x\n@y", "rel\n" + unnamed + " @b",
	} {
		absolute, relative := parseSockets(unnamed + "\n" + unnamed + " " + name + "\n" + unnamed + "\n" + unnamed + " /last\n")
		list := relative
		if name[0] == '/' {
			list = absolute
		}
		if !slices.Contains(list, name) || !slices.Contains(absolute, "/last") {
			t.Errorf("%q gave %q, %q", name, absolute, relative)
		}
	}
}

func TestSocketsFindsOneJustBound(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Chdir(dir)
	for _, name := range []string{"plain", "with space", "with\nnewline", "\n", " ", "caf\xe9", unnamed, "a\n" + unnamed + " b"} {
		for _, path := range []string{filepath.Join(dir, name), name} {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			absolute, relative, err := Sockets()
			if err != nil || slices.Contains(absolute, path) == slices.Contains(relative, path) ||
				slices.Contains(absolute, path) != filepath.IsAbs(path) {
				t.Errorf("%q is not among %q or among %q (%v)", path, absolute, relative, err)
			}
			l.Close()
		}
	}
}
