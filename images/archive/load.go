package archive

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/images"
)

// Loaded is an image of an archive, in the store, but not yet named or unpacked.
type Loaded struct {
	Image *images.Image
	// Name is the name that the archive has for it, if it has one.
	Name string
}

// refName is the annotation that names an image in a layout.
const refName = "org.opencontainers.image.ref.name"

// files are those of an archive, by name.
type files interface {
	// open finds a file; the error is fs.ErrNotExist where there is none.
	open(name string) (io.ReadCloser, error)
}

// Load takes an image from a file or a folder into the store. tag chooses one of several.
func Load(s *images.Store, source, tag string, limit int64) (*Loaded, error) {
	t, err := newIntake(s, limit)
	if err != nil {
		return nil, err
	}
	defer t.end()
	info, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	var f files
	if info.IsDir() {
		f, err = openFolder(source)
	} else {
		f, err = extract(t, source)
	}
	if err != nil {
		return nil, err
	}
	r, err := f.open("index.json")
	if err == nil {
		defer r.Close()
		return t.layout(f, r, tag)
	}
	if r, err = f.open("manifest.json"); err != nil {
		return nil, &images.DamagedError{What: source, Why: "it has neither an index.json nor a manifest.json: no image"}
	}
	defer r.Close()
	return t.dockerArchive(f, r, tag)
}

// folder are the files of a layout that is a folder. No link in it leads out.
type folder struct{ fd int }

func openFolder(dir string) (*folder, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return &folder{fd}, err
}

func (f *folder) open(name string) (io.ReadCloser, error) {
	fd, err := unix.Openat2(f.fd, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: errors.New("no regular file")}
	}
	return file, nil
}

// extracted are the files of a tar.
type extracted struct {
	blobs map[string]*blob
	links map[string]string
}

// maxFiles bounds the files of an archive.
const maxFiles = 10000

// extract reads a tar: its files go into the store's tmp, whatever they are called.
func extract(t *intake, source string) (*extracted, error) {
	file, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := Decompressed(file)
	if err != nil {
		return nil, err
	}
	x := &extracted{map[string]*blob{}, map[string]string{}}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return x, nil
		}
		if err != nil {
			return nil, &images.DamagedError{What: source, Why: "reading it as a tar: " + err.Error()}
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			if x.blobs[name], err = t.take(tr, ""); err != nil {
				return nil, err
			}
		case tar.TypeSymlink, tar.TypeLink: // docker's, for layers that are there twice
			to := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				to = path.Join("/", path.Dir(name), to)
			}
			x.links[name] = path.Clean("/" + to)[1:]
		}
		if len(x.blobs)+len(x.links) > maxFiles {
			return nil, &images.DamagedError{What: source, Why: fmt.Sprintf("it has more than %d files", maxFiles)}
		}
	}
}

func (x *extracted) open(name string) (io.ReadCloser, error) {
	name = path.Clean("/" + name)[1:]
	for range 8 {
		if b, ok := x.blobs[name]; ok {
			return os.Open(b.path)
		}
		to, ok := x.links[name]
		if !ok {
			break
		}
		name = to
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}

// document takes a small file, proves its digest and returns it.
func (t *intake) document(f files, digest string) ([]byte, error) {
	if images.IsDigest(digest) && t.store.HasBlob(digest) {
		return t.store.Document(digest)
	}
	b, err := t.blob(f, digest)
	if err != nil {
		return nil, err
	}
	if err := t.keep(b); err != nil {
		return nil, err
	}
	return t.store.Document(digest)
}

// blob takes a file of a layout.
func (t *intake) blob(f files, digest string) (*blob, error) {
	if !images.IsDigest(digest) {
		return nil, &images.DamagedError{What: "the archive", Why: fmt.Sprintf("%q is no sha256 digest", digest)}
	}
	r, err := f.open(path.Join("blobs/sha256", strings.TrimPrefix(digest, "sha256:")))
	if err != nil {
		return nil, fmt.Errorf("finding %s in the archive: %w", digest, err)
	}
	defer r.Close()
	return t.take(r, digest)
}

// layout takes an image of an OCI image layout.
func (t *intake) layout(f files, index io.Reader, tag string) (*Loaded, error) {
	data, err := io.ReadAll(io.LimitReader(index, images.MaxJSON))
	if err != nil {
		return nil, err
	}
	x, err := images.ParseIndex(data)
	if err != nil {
		return nil, err
	}
	d, err := pick(x, tag)
	if err != nil {
		return nil, err
	}
	rec := images.Record{Digest: d.Digest}
	raw, err := t.document(f, d.Digest)
	for depth := 0; err == nil && depth < 4; depth++ {
		var isIndex bool
		if isIndex, err = images.IsIndex(raw); err != nil || !isIndex {
			break
		}
		var inner *images.Index
		if inner, err = images.ParseIndex(raw); err == nil {
			var m images.Descriptor
			if m, err = forHere(inner); err == nil {
				raw, err = t.document(f, m.Digest)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	rec.Manifest = images.Sum(raw)
	return t.image(f, rec, raw, d.Annotations[refName])
}

// image takes what a manifest names.
func (t *intake) image(f files, rec images.Record, raw []byte, name string) (*Loaded, error) {
	m, err := images.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	config, err := t.document(f, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	img, err := images.NewImage(rec, raw, config)
	if err != nil {
		return nil, err
	}
	for _, l := range img.Layers {
		if t.store.HasBlob(l.Digest) {
			continue
		}
		b, err := t.blob(f, l.Digest)
		if err == nil {
			err = t.keep(b)
		}
		if err != nil {
			return nil, err
		}
	}
	return &Loaded{img, name}, nil
}

// pick finds the image of a tag, or the only one.
func pick(x *images.Index, tag string) (images.Descriptor, error) {
	var names []string
	for _, d := range x.Manifests {
		name := d.Annotations[refName]
		names = append(names, name)
		if tag != "" && (name == tag || strings.HasSuffix(name, ":"+tag)) {
			return d, nil
		}
	}
	if tag == "" && len(x.Manifests) == 1 {
		return x.Manifests[0], nil
	}
	if tag == "" {
		if d, err := forHere(x); err == nil && slices.Compact(slices.Clone(names))[0] == "" {
			return d, nil
		}
	}
	return images.Descriptor{}, &ChoiceError{Tag: tag, Has: names}
}

// ChoiceError is an archive of several images, of which none or no one in particular was meant.
type ChoiceError struct {
	Tag string
	Has []string
}

func (e *ChoiceError) Error() string {
	if e.Tag == "" {
		return "the archive has several images: " + strings.Join(e.Has, ", ")
	}
	return fmt.Sprintf("the archive has no image %q; it has %s", e.Tag, strings.Join(e.Has, ", "))
}

// forHere is the entry of an index for this machine.
func forHere(x *images.Index) (images.Descriptor, error) {
	for _, d := range x.Manifests {
		if p := d.Platform; p == nil || p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return d, nil
		}
	}
	return images.Descriptor{}, &images.DamagedError{What: "the archive", Why: "it has no image for linux/" + runtime.GOARCH}
}

// dockerArchive takes an image of the form that `docker save` writes. Its layers are tars, and become
// blobs as they are.
func (t *intake) dockerArchive(f files, list io.Reader, tag string) (*Loaded, error) {
	data, err := io.ReadAll(io.LimitReader(list, images.MaxJSON))
	if err != nil {
		return nil, err
	}
	var all []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, &images.DamagedError{What: "manifest.json", Why: err.Error()}
	}
	var names []string
	for _, one := range all {
		names = append(names, one.RepoTags...)
		named := slices.ContainsFunc(one.RepoTags, func(n string) bool { return n == tag || strings.HasSuffix(n, ":"+tag) })
		if tag != "" && !named || tag == "" && len(all) > 1 {
			continue
		}
		m := images.Manifest{SchemaVersion: 2, MediaType: images.TypeOCIManifest}
		if m.Config, err = t.member(f, one.Config, images.TypeOCIConfig); err != nil {
			return nil, err
		}
		for _, name := range one.Layers {
			d, err := t.member(f, name, images.TypeOCILayer)
			if err != nil {
				return nil, err
			}
			m.Layers = append(m.Layers, d)
		}
		raw, err := json.Marshal(m)
		if err == nil {
			err = t.store.Put(raw)
		}
		if err != nil {
			return nil, err
		}
		digest, name := images.Sum(raw), ""
		if len(one.RepoTags) > 0 {
			name = one.RepoTags[0]
		}
		return t.image(f, images.Record{Digest: digest, Manifest: digest}, raw, name)
	}
	return nil, &ChoiceError{Tag: tag, Has: names}
}

// member takes a file of a docker-archive.
func (t *intake) member(f files, name, mediaType string) (images.Descriptor, error) {
	r, err := f.open(filepath.Clean(name))
	if err != nil {
		return images.Descriptor{}, fmt.Errorf("finding %q in the archive: %w", name, err)
	}
	defer r.Close()
	b, err := t.take(r, "")
	if err == nil {
		err = t.keep(b)
	}
	if err != nil {
		return images.Descriptor{}, err
	}
	return images.Descriptor{MediaType: mediaType, Digest: b.digest, Size: b.size}, nil
}
