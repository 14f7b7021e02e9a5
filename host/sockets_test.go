package host

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	want := []string{"/run/user/1000/bus", "/tmp/with space/and\nnewline: here/s"}
	if got := parseSockets(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseSockets(""); len(got) != 0 {
		t.Errorf("no text gave %q", got)
	}
}

func TestSocketsFindsOneJustBound(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"plain", "with space", "with\nnewline", "caf\xe9"} {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Sockets()
		if err != nil || !slices.Contains(got, path) {
			t.Errorf("%q is not among %q (%v)", path, got, err)
		}
		l.Close()
	}
}
