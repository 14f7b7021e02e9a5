package e2e

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	commands["registry"] = cmdRegistry
	commands["image"] = cmdImage
}

// registry: starts Debian's docker-registry on loopback, $REGISTRY, and configures sbx so that it stands for Docker
// Hub. With a file of htpasswd(1) as its argument it asks for a password. `registry memory` is a small one in this
// process, for images of so many layers that the real one takes minutes to write them to the disk.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 0 && args[0] == "memory" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		go http.Serve(l, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		configure(ts, l.Addr().String())
		return
	}
	port := freePort(ts)
	address := "127.0.0.1:" + strconv.Itoa(port)
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp: {addr: %q}\n",
		ts.MkAbs("../registry"), address)
	if len(args) > 0 {
		config += fmt.Sprintf("auth:\n  htpasswd: {realm: test, path: %s}\n", ts.MkAbs(args[0]))
	}
	file := ts.MkAbs("../registry.yml")
	ts.Check(os.WriteFile(file, []byte(config), 0o644))
	cmd := exec.Command("docker-registry", "serve", file)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ts.Check(cmd.Start())
	ts.Defer(func() { cmd.Process.Kill(); cmd.Wait() })
	answers := waitUntil(func() bool {
		r, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	})
	if !answers {
		ts.Fatalf("docker-registry does not answer: %s", said.String())
	}
	configure(ts, address)
}

func configure(ts *testscript.TestScript, address string) {
	ts.Setenv("REGISTRY", address)
	home := filepath.Join(ts.Getenv("HOME"), ".config/sbx")
	ts.Check(os.MkdirAll(home, 0o755))
	// `make test` runs the scripts about images once for each driver.
	driver := cmp.Or(os.Getenv("SBX_TEST_DRIVER"), "auto")
	ts.Check(os.WriteFile(filepath.Join(home, "config.toml"), fmt.Appendf(nil,
		"[registries.\"docker.io\"]\nmirrors = [%q]\n[registries.%q]\ninsecure = true\n[storage]\ndriver = %q\n", address, address, driver), 0o644))
}

func freePort(ts *testscript.TestScript) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// image REF [config=FILE] LAYER...: makes an image of layers that files describe, line by line, and pushes it to the
// registry. `@N` in the place of a layer is N layers with one small file each.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: image ref [config=file] layer...")
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var config []byte
	for _, arg := range args[1:] {
		if file, ok := strings.CutPrefix(arg, "config="); ok {
			config = []byte(ts.ReadFile(file))
			continue
		}
		if n, ok := strings.CutPrefix(arg, "@"); ok {
			count, err := strconv.Atoi(n)
			ts.Check(err)
			for i := range count {
				img = withLayer(ts, img, fmt.Sprintf("file /many/%d %d\n", i, i))
			}
			continue
		}
		img = withLayer(ts, img, ts.ReadFile(arg))
	}
	pushImage(ts, args[0], withConfig(ts, img, config))
}

func withConfig(ts *testscript.TestScript, img v1.Image, config []byte) v1.Image {
	file, err := img.ConfigFile()
	ts.Check(err)
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	if config != nil {
		ts.Check(json.Unmarshal(config, &file.Config))
	}
	img, err = mutate.ConfigFile(img, file)
	ts.Check(err)
	return img
}

func pushImage(ts *testscript.TestScript, repo string, img v1.Image) {
	ref, err := name.ParseReference(ts.Getenv("REGISTRY")+"/"+repo, name.Insecure)
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}

func withLayer(ts *testscript.TestScript, img v1.Image, spec string) v1.Image {
	data := layerTar(ts, spec)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer))
	ts.Check(err)
	img, err = mutate.AppendLayers(img, layer)
	ts.Check(err)
	return img
}

// layerTar makes the tar of a layer from lines: `dir PATH [MODE [UID GID]]`, `file PATH CONTENT...`, `mode PATH MODE UID GID
// CONTENT...` for a file, `link PATH TARGET`, `hard PATH TARGET`, `char PATH MAJOR MINOR`, `fifo PATH`, `host PATH [MODE
// [CAPABILITIES]]` for a program of this machine with its libraries, its own mode and security.capability in hex, `many DIR N` for N empty files.
func layerTar(ts *testscript.TestScript, spec string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for line := range strings.Lines(spec) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if f[0] == "host" {
			addHost(ts, w, f[1:])
			continue
		}
		if f[0] == "many" {
			addMany(ts, w, f[1], f[2])
			continue
		}
		h, content := header(ts, f)
		ts.Check(w.WriteHeader(h))
		_, err := w.Write(content)
		ts.Check(err)
	}
	ts.Check(w.Close())
	return b.Bytes()
}

func header(ts *testscript.TestScript, f []string) (*tar.Header, []byte) {
	number := func(i, base int) int64 {
		n, err := strconv.ParseInt(f[i], base, 64)
		ts.Check(err)
		return n
	}
	h := &tar.Header{Name: strings.TrimPrefix(f[1], "/"), Mode: 0o644, ModTime: time.Unix(1700000000, 0)}
	var content []byte
	switch f[0] {
	case "dir":
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
		if len(f) > 2 {
			h.Mode = number(2, 8)
		}
		if len(f) > 4 {
			h.Uid, h.Gid = int(number(3, 10)), int(number(4, 10))
		}
	case "file":
		content = []byte(strings.ReplaceAll(strings.Join(f[2:], " "), `\n`, "\n") + "\n")
	case "mode":
		h.Mode, h.Uid, h.Gid = number(2, 8), int(number(3, 10)), int(number(4, 10))
		content = []byte(strings.ReplaceAll(strings.Join(f[5:], " "), `\n`, "\n") + "\n")
	case "link":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f[2]
	case "hard":
		h.Typeflag, h.Linkname = tar.TypeLink, strings.TrimPrefix(f[2], "/")
	case "char":
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, number(2, 10), number(3, 10)
	case "fifo":
		h.Typeflag = tar.TypeFifo
	default:
		ts.Fatalf("no such line of a layer: %q", f)
	}
	h.Size = int64(len(content))
	return h, content
}

// addMany adds empty files, a thousand to a folder.
func addMany(ts *testscript.TestScript, w *tar.Writer, dir, count string) {
	n, err := strconv.Atoi(count)
	ts.Check(err)
	for i := range n {
		name := fmt.Sprintf("%s/%d/%d", dir[1:], i/1000, i)
		ts.Check(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(1700000000, 0)}))
	}
}

// addHost adds a program of this machine and the libraries that ldd(1) names.
func addHost(ts *testscript.TestScript, w *tar.Writer, f []string) {
	program, mode, pax := f[0], int64(0o755), map[string]string(nil)
	if len(f) > 1 {
		n, err := strconv.ParseInt(f[1], 8, 64)
		ts.Check(err)
		mode = n
	}
	if len(f) > 2 {
		value, err := hex.DecodeString(f[2])
		ts.Check(err)
		pax = map[string]string{"SCHILY.xattr.security.capability": string(value)}
	}
	paths := []string{program}
	out, err := exec.Command("ldd", program).Output()
	if err == nil { // else it needs none
		for line := range strings.Lines(string(out)) {
			for _, word := range strings.Fields(line) {
				if strings.HasPrefix(word, "/") {
					paths = append(paths, word)
				}
			}
		}
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(w.WriteHeader(&tar.Header{Name: path[1:], Mode: mode, Size: int64(len(data)), ModTime: time.Unix(1700000000, 0), PAXRecords: pax}))
		mode, pax = 0o755, nil // of the libraries
		_, err = w.Write(data)
		ts.Check(err)
	}
}
