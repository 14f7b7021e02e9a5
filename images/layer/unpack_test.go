package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"sbx/images"
)

// alone is how a user without sub-ids unpacks: what the tests of this package can do without a user
// namespace. Owners are tested end to end.
var alone = Options{MaxBytes: 1 << 30, MaxEntries: 1 << 20, SingleID: true}

// layerOf writes a tar of these headers; a regular file's content is its name.
func layerOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(h.Name))
		}
	}
	w.Close()
	return b.Bytes()
}

func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func sym(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// unpackIn unpacks into a folder whose surroundings are watched.
func unpackIn(t *testing.T, data []byte) (root string, meta *images.Meta, err error) {
	t.Helper()
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "victim"), []byte("untouched"), 0o644)
	os.Mkdir(filepath.Join(outside, "folder"), 0o755)
	root = filepath.Join(outside, "tree")
	os.Mkdir(root, 0o755)
	meta, err = Unpack(bytes.NewReader(data), root, alone)
	names, _ := os.ReadDir(outside)
	var list []string
	for _, n := range names {
		list = append(list, n.Name())
	}
	content, _ := os.ReadFile(filepath.Join(outside, "victim"))
	var st unix.Stat_t
	unix.Lstat(filepath.Join(outside, "victim"), &st)
	if !slices.Equal(list, []string{"folder", "tree", "victim"}) || string(content) != "untouched" || st.Mode&0o777 != 0o644 || st.Nlink != 1 {
		t.Errorf("something outside of the tree changed: %v, %q, mode %o, %d links", list, content, st.Mode, st.Nlink)
	}
	return root, meta, err
}

// tree lists a tree: name, kind and content or target; "opaque" where a folder is.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			name += " -> " + to
		case d.Type()&fs.ModeCharDevice != 0:
			name += " whiteout"
		case d.IsDir():
			name += "/"
			if n, _ := unix.Lgetxattr(path, opaqueXattr, make([]byte, 8)); n > 0 {
				name += " opaque"
			}
		}
		list = append(list, name)
		return nil
	})
	return list
}

func TestUnpack(t *testing.T) {
	char := tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}
	forged := tar.Header{Typeflag: tar.TypeChar, Name: "forged"}
	xattr := dir("d")
	xattr.PAXRecords = map[string]string{"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.mine": "1"}
	for _, c := range []struct {
		name string
		in   []tar.Header
		want []string
		fail string // part of the error
	}{
		{"plain", []tar.Header{dir("a"), reg("a/b"), sym("c", "a/b"), hard("d", "a/b")}, []string{"a/", "a/b", "c -> a/b", "d"}, ""},
		{"implied folders", []tar.Header{reg("a/b/c")}, []string{"a/", "a/b/", "a/b/c"}, ""},
		{"absolute name", []tar.Header{reg("/a")}, []string{"a"}, ""},
		{"dots", []tar.Header{reg("./a/./b")}, []string{"a/", "a/b"}, ""},
		{"up", []tar.Header{reg("../victim")}, nil, `".."`},
		{"up inside", []tar.Header{dir("a"), reg("a/../../victim")}, nil, `".."`},
		{"link out, write through", []tar.Header{sym("a", "../folder"), reg("a/x")}, nil, ""},
		{"absolute link, write through", []tar.Header{sym("a", "/etc"), dir("etc"), reg("a/x")}, []string{"a -> /etc", "etc/", "etc/x"}, ""},
		{"file over link out", []tar.Header{sym("a", "../victim"), reg("a")}, []string{"a"}, ""},
		{"hard link out", []tar.Header{hard("a", "../victim")}, nil, "no name"},
		{"hard link through link", []tar.Header{sym("up", ".."), hard("a", "up/victim")}, nil, "not in this layer"},
		{"hard link to nothing", []tar.Header{hard("a", "b")}, nil, "not in this layer"},
		{"hard link to a link out, then write", []tar.Header{sym("l", "../victim"), hard("a", "l"), reg("a")}, []string{"a", "l -> ../victim"}, ""},
		{"hard link to itself", []tar.Header{reg("a"), hard("a", "a")}, []string{"a"}, ""},
		{"folder becomes link", []tar.Header{dir("d"), reg("d/x"), sym("d", "../folder"), reg("d/y")}, nil, ""},
		{"link becomes folder", []tar.Header{sym("d", "../folder"), dir("d"), reg("d/y")}, []string{"d/", "d/y"}, ""},
		{"file becomes folder", []tar.Header{reg("d"), dir("d"), reg("d/y")}, []string{"d/", "d/y"}, ""},
		{"file below file", []tar.Header{reg("d"), reg("d/y")}, nil, "making its folder"},
		{"whiteout", []tar.Header{reg(".wh.a"), reg("d/.wh.b")}, []string{"a whiteout", "d/", "d/b whiteout"}, ""},
		{"whiteout then file", []tar.Header{reg(".wh.a"), reg("a")}, []string{"a"}, ""},
		{"file then whiteout", []tar.Header{reg("a"), reg(".wh.a")}, []string{"a"}, ""},
		{"whiteout then folder", []tar.Header{reg(".wh.a"), reg("a/b")}, []string{"a/ opaque", "a/b"}, ""},
		{"folder then whiteout", []tar.Header{reg("a/b"), reg(".wh.a")}, []string{"a/ opaque", "a/b"}, ""},
		{"opaque first", []tar.Header{dir("a"), reg("a/.wh..wh..opq"), reg("a/b")}, []string{"a/ opaque", "a/b"}, ""},
		{"opaque last", []tar.Header{dir("a"), reg("a/b"), reg("a/.wh..wh..opq")}, []string{"a/ opaque", "a/b"}, ""},
		{"whiteout of nothing", []tar.Header{reg(".wh.")}, nil, "hides no name"},
		{"whiteout of dot", []tar.Header{reg(".wh..")}, nil, "hides no name"},
		{"whiteout of the parent", []tar.Header{reg(".wh...")}, nil, "hides no name"},
		{"whiteout through a link", []tar.Header{sym("a", ".."), reg("a/.wh.victim")}, nil, ""},
		{"aufs", []tar.Header{dir(".wh..wh.plnk"), reg(".wh..wh.aufs")}, nil, ""},
		{"name of 4096 bytes", []tar.Header{reg(strings.Repeat("n", 4096))}, nil, "name too long"},
		{"longer than a path can be", []tar.Header{reg(strings.Repeat(strings.Repeat("n", 255)+"/", 17) + "nn")}, nil, "name too long"},
		{"not UTF-8", []tar.Header{reg("odd \xff\xfe")}, []string{"odd \xff\xfe"}, ""},
		{"devices", []tar.Header{char, forged}, nil, ""},
		{"forged opaque", []tar.Header{xattr}, []string{"d/"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, _, err := unpackIn(t, layerOf(t, c.in...))
			if c.fail != "" {
				var entry *EntryError
				if !errors.As(err, &entry) || !strings.Contains(err.Error(), c.fail) {
					t.Fatalf("the error is %v, wanted one of an entry with %q", err, c.fail)
				}
				return
			}
			if c.want != nil && err != nil {
				t.Fatal(err)
			}
			if got := tree(t, root); c.want != nil && !slices.Equal(got, c.want) {
				t.Errorf("the tree is\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func TestUnpackNotesWhatItLeavesOut(t *testing.T) {
	h := reg("f")
	h.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}
	_, meta, err := unpackIn(t, layerOf(t, tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda", Devmajor: 8}, h))
	if err != nil || !slices.Equal(meta.Devices, []string{"dev/sda"}) || len(meta.Attributes) != 1 {
		t.Errorf("devices %q, attributes %q, error %v", meta.Devices, meta.Attributes, err)
	}
}

func TestUnpackKeepsModesAndOwners(t *testing.T) {
	h := reg("su")
	h.Mode, h.Uid, h.Gid = 0o4755, 7, 8
	root, _, err := unpackIn(t, layerOf(t, h))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	unix.Lstat(filepath.Join(root, "su"), &st)
	note := make([]byte, 64)
	n, _ := unix.Lgetxattr(filepath.Join(root, "su"), ownerXattr, note)
	if st.Mode&0o7777 != 0o4755 || string(note[:max(n, 0)]) != "7:8:04755" {
		t.Errorf("mode %o, owner noted as %q", st.Mode, note[:max(n, 0)])
	}
}

func TestUnpackKeepsAccounts(t *testing.T) {
	_, meta, err := unpackIn(t, layerOf(t, reg("etc/passwd"), sym("bin", "usr/bin"), dir("usr"), reg(".wh.opt")))
	if err != nil || meta.Passwd == nil || *meta.Passwd != "etc/passwd" || meta.Links["bin"] != "usr/bin" ||
		!slices.Contains(meta.Folders, "usr") || !slices.Contains(meta.Gone, "opt") {
		t.Errorf("%+v, %v", meta, err)
	}
	_, meta, _ = unpackIn(t, layerOf(t, reg("etc/passwd"), sym("etc/passwd", "/dev/zero")))
	if meta.Passwd != nil || !slices.Contains(meta.Gone, "etc/passwd") {
		t.Errorf("a link in the place of passwd: %+v", meta)
	}
}

func TestUnpackLimits(t *testing.T) {
	many := make([]tar.Header, 100)
	for i := range many {
		many[i] = reg(fmt.Sprint("f", i))
	}
	data := layerOf(t, many...)
	var limit *LimitError
	for _, o := range []Options{{MaxBytes: 1 << 20, MaxEntries: 50, SingleID: true}, {MaxBytes: 10000, MaxEntries: 1000, SingleID: true}} {
		if _, err := Unpack(bytes.NewReader(data), t.TempDir(), o); !errors.As(err, &limit) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// A truncated stream is an error, not a layer that ends early.
func TestAheadTruncated(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(bytes.Repeat([]byte("abcdefgh"), 100000))
	w.Close()
	for _, cut := range []int{b.Len() - 1, b.Len() - 8, b.Len() / 2} {
		r, err := Open(bytes.NewReader(b.Bytes()[:cut]))
		if err != nil {
			t.Fatal(err)
		}
		a := NewAhead(r)
		buf := make([]byte, 4096)
		for err == nil {
			_, err = a.Read(buf)
		}
		if err.Error() == "EOF" {
			t.Errorf("cut at %d of %d: read to the end", cut, b.Len())
		}
		a.Close()
	}
}

// The layers of other projects' tests of this kind, where they lie beside the checkout.
func TestNastyLayers(t *testing.T) {
	dir := os.Getenv("NASTY_LAYERS")
	files, _ := filepath.Glob(filepath.Join(dir, "*/*.tar"))
	if dir == "" || len(files) == 0 {
		t.Skip("the layers of other projects' tests are not part of this repository, and NASTY_LAYERS names no folder with them")
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".base.tar") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, part := range []string{strings.TrimSuffix(file, ".tar") + ".base.tar", file} {
				data, err := os.ReadFile(part)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				root, _, err := unpackIn(t, data)
				t.Logf("%s: error %v, tree %q", filepath.Base(part), err, tree(t, root))
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	deep := reg(strings.Repeat("d/", 1000) + "f")
	long := reg(strings.Repeat("n", 4096))
	odd := reg("odd \xff\xfe")
	odd.PAXRecords = map[string]string{"SCHILY.xattr.user.mine": "1", "SCHILY.xattr.user.overlay.opaque": "y"}
	for _, headers := range [][]tar.Header{
		{dir("a"), reg("a/b"), sym("c", "a/b"), hard("d", "a/b"), {Typeflag: tar.TypeFifo, Name: "p"}},
		{sym("a", "../folder"), reg("a/x"), dir("a"), reg("../victim"), hard("h", "../victim")},
		{reg("a/b"), reg(".wh.a"), reg("a/.wh..wh..opq"), reg("d/.wh.b"), dir("d/b")},
		{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeChar, Name: "forged"}, odd, long, deep},
	} {
		data := layerOf(f, headers...)
		f.Add(data)
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(data)
		w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Open(bytes.NewReader(data))
		if err != nil {
			return
		}
		data, _ = io.ReadAll(io.LimitReader(r, 1<<20))
		unpackIn(t, data)
	})
}
