package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// packed are the names and the contents of the layer that a tree makes.
func packed(t *testing.T, root string, o PackOptions) (names []string, contents map[string]string, left []string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	left, err := Pack(&b, root, o)
	if err != nil {
		t.Fatal(err)
	}
	contents = map[string]string{}
	for r := tar.NewReader(bytes.NewReader(b.Bytes())); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, contents, left, b.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r)
		names, contents[h.Name] = append(names, h.Name), string(text)
	}
}

func TestPackLeavesOut(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"etc", "proc/1", "dev"} {
		os.MkdirAll(filepath.Join(root, name), 0o755)
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nnew:x:1001:1001:::\n",
		"etc/hosts":  "x", "proc/1/x": "x", "kept": "x", ".wh.kept": "", "etc/.wh..wh..opq": "",
	} {
		os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	l, err := net.Listen("unix", filepath.Join(root, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := PackOptions{
		Upper: true, Exclude: []string{"dev", "proc", "etc/hosts"},
		Without: map[string]string{"etc/passwd": "ann:x:1000:1000::/home/ann:/bin/sh\n"},
	}
	names, contents, left, _ := packed(t, root, o)
	if want := []string{"etc/", "etc/passwd", "kept"}; !slices.Equal(names, want) {
		t.Errorf("packed %q, want %q", names, want)
	}
	if got := contents["etc/passwd"]; got != "root:x:0:0::/root:/bin/sh\nnew:x:1001:1001:::\n" {
		t.Errorf("passwd is %q", got)
	}
	if want := []string{".wh.kept", "etc/.wh..wh..opq", "sock"}; !slices.Equal(left, want) {
		t.Errorf("left out %q, want %q", left, want)
	}
	o.Fuse = true // there these are its books
	names, _, _, _ = packed(t, root, o)
	if want := []string{".wh.kept", "etc/", "etc/.wh..wh..opq", "etc/passwd", "kept"}; !slices.Equal(names, want) {
		t.Errorf("packed %q of fuse-overlayfs, want %q", names, want)
	}
}

// What is packed is unpacked as the same tree: whiteouts, opaque folders, links, odd names.
func TestPackThenUnpack(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat(strings.Repeat("n", 255)+"/", 15) + strings.Repeat("n", 200)
	makeDeep(t, root, long)
	if err := os.WriteFile(filepath.Join(root, "odd \xff\xfe\n"), []byte("odd"), 0o640); err != nil {
		t.Fatal(err)
	}
	os.Link(filepath.Join(root, "odd \xff\xfe\n"), filepath.Join(root, "z"))
	os.Mkdir(filepath.Join(root, "opaque"), 0o755)
	if err := unix.Setxattr(filepath.Join(root, "opaque"), opaqueXattr, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(root, "gone"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	os.Symlink("../out", filepath.Join(root, "link"))
	_, _, _, data := packed(t, root, PackOptions{Upper: true})
	again, _, err := unpackIn(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := tree(t, root), tree(t, again); !slices.Equal(before, after) {
		t.Errorf("the tree was\n%q\nand became\n%q", before, after)
	}
	var one, two unix.Stat_t
	unix.Lstat(filepath.Join(again, "z"), &one)
	unix.Lstat(filepath.Join(again, "odd \xff\xfe\n"), &two)
	if one.Ino != two.Ino || one.Mode&0o7777 != 0o640 {
		t.Errorf("inodes %d and %d, mode %o", one.Ino, two.Ino, one.Mode)
	}
	_, _, _, same := packed(t, again, PackOptions{Upper: true})
	if !bytes.Equal(data, same) {
		t.Error("packed again, the layer is another one")
	}
}

// makeDeep makes a folder whose path is longer than one call takes.
func makeDeep(t *testing.T, root, name string) {
	t.Helper()
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	for part := range strings.SplitSeq(name, "/") {
		if err == nil {
			err = unix.Mkdirat(fd, part, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		next, failed := unix.Openat(fd, part, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		unix.Close(fd)
		fd, err = next, failed
	}
	unix.Close(fd)
}
