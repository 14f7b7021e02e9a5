package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/images"
	"sbx/profiles"
)

// Image is what a sandbox's root comes from, where that is not the host's own system.
type Image struct {
	// Ref and Digest name an image; a root that is a folder has neither.
	Ref    string `json:"ref,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Manifest is the digest of this platform's manifest, which a running sandbox keeps from being pruned.
	Manifest string `json:"manifest,omitempty"`
	// StopSignal is the one that the image wants to be ended by; 0: none.
	StopSignal unix.Signal `json:"stop_signal,omitempty"`
	// Volumes are the folders that the image declares to hold data, which no commit contains.
	Volumes []string `json:"volumes,omitempty"`

	// Store is the folder of the image store: a supervisor in the background has another environment.
	Store string `json:"store,omitempty"`
	// Driver is storage.driver of the configuration.
	Driver string `json:"driver"`
}

// base is an image, or a folder, as the root of a sandbox is made from it.
type base struct {
	spec   *Image
	name   string // what host name and prompt show
	config images.Config
	// folder and layers are those of fuseoverlay.Overlay.
	folder string
	layers []string
	// accounts and links are what of the files is known without looking at them.
	passwd, group string
	links         map[string]string
}

// Fetch brings an image, unpacked for sandboxes with this user inside, where that is not here yet.
type Fetch func(ref images.Ref, user profiles.User) error

// resolveBase finds the image or folder that a profile names, and the ids of its sandbox.
func resolveBase(s *Spec, r *Request, p *profiles.Profile) (*base, error) {
	switch {
	case p.Root.Image.Set && p.Root.Dir.Set && p.Root.Image.From.Layer == p.Root.Dir.From.Layer:
		return nil, &UsageError{"both an image and a folder are to be the root", "give one of them"}
	case p.Root.Dir.Set && (!p.Root.Image.Set || p.Root.Dir.From.Layer > p.Root.Image.From.Layer):
		return resolveFolder(s, r, p)
	}
	return resolveImage(s, r, p)
}

// resolveFolder takes an unpacked tree as the root. It is never written to.
func resolveFolder(s *Spec, r *Request, p *profiles.Profile) (*base, error) {
	dir, err := filepath.EvalSymlinks(p.Root.Dir.V)
	if err != nil {
		return nil, &UsageError{fmt.Sprintf("the root folder %s: %v", p.Root.Dir.V, plainError(err)), "name a folder that holds an unpacked tree"}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, &UsageError{fmt.Sprintf("the root %s is no folder", dir), "name a folder that holds an unpacked tree"}
	}
	if dir == "/" || host.Within(r.Account.Home, dir) || r.Project.Dir != "" && host.Within(r.Project.Dir, dir) {
		return nil, &UsageError{fmt.Sprintf("the root %s holds your home or the project", dir), "name a folder that holds nothing but the tree"}
	}
	user := p.Root.User.V
	if byDefault(p.Root.User.From) {
		user = profiles.User{Kind: profiles.UserRoot}
	}
	b := &base{spec: &Image{}, name: hostLabel(filepath.Base(dir)), folder: dir, layers: []string{"."}, links: map[string]string{}}
	b.readFolder(dir)
	return b, resolveIDs(s, r.Account, user, p.Root.Groups.V)
}

// byDefault tells whether a value is that of the built-in profile, which nobody chose.
func byDefault(o profiles.Origin) bool { return o.Layer == profiles.LayerDefault }

// resolveImage finds an image in the store, and has it brought where it is not there for these ids.
func resolveImage(s *Spec, r *Request, p *profiles.Profile) (*base, error) {
	ref, err := images.ParseRef(p.Root.Image.V, r.Loaded.Config.ImageAliases())
	if err != nil {
		return nil, err
	}
	if ref, err = pinned(r.Project.Dir, ref); err != nil {
		return nil, err
	}
	store := ImageStore(r.Account.Home)
	find := func() (*images.Image, error) { return store.Find(ref) }
	if made := madeOn(r.Upper); made != nil {
		// Layers that were changed must not lie over others, whatever the name stands for by now.
		if ref.Digest == "" {
			ref = ref.At(made.Manifest)
		}
		find = func() (*images.Image, error) {
			return store.Image(images.Record{Ref: made.Ref, Digest: made.Digest, Manifest: made.Manifest})
		}
	}
	img, err := find()
	if missing := new(images.NotFoundError); errors.As(err, &missing) && r.Fetch != nil {
		first := p.Root.User.V
		if byDefault(p.Root.User.From) {
			first = profiles.User{Kind: profiles.UserRoot}
		}
		if err = r.Fetch(ref, first); err == nil {
			img, err = find()
		}
	}
	if err != nil {
		return nil, err
	}
	user := p.Root.User.V
	if byDefault(p.Root.User.From) {
		if user, err = imageUser(store, img, r); err != nil {
			return nil, err
		}
	}
	if err := resolveIDs(s, r.Account, user, p.Root.Groups.V); err != nil {
		return nil, err
	}
	s.sayOneUser()
	b := &base{
		name: hostLabel(ref.Short()), config: img.Config.Config, folder: store.Layout(images.LayoutOf(s.IDs.Maps)),
		spec: &Image{Ref: img.Ref, Digest: img.Digest, Manifest: img.Record.Manifest, Store: store.Dir},
	}
	if err := b.readImage(img, store, r.Fetch, ref, user, images.LayoutOf(s.IDs.Maps)); err != nil {
		return nil, err
	}
	return b, b.readConfig()
}

// madeOn is the image that a kept sandbox, whose changes lie in upper, was made on; nil where it is new.
func madeOn(upper string) *Image {
	if upper == "" {
		return nil
	}
	spec, err := readSpec(filepath.Join(filepath.Dir(upper), specFile))
	if err != nil || spec.Image == nil || !images.IsDigest(spec.Image.Manifest) {
		return nil
	}
	return spec.Image
}

// readImage reads what the records of the layers tell, unpacking those that are not for this layout.
func (b *base) readImage(img *images.Image, store *images.Store, fetch Fetch, ref images.Ref, user profiles.User, layout string) error {
	metas, missing, err := unpacked(img, store, layout)
	if err == nil && missing && fetch != nil {
		if err = fetch(ref, user); err == nil {
			metas, missing, err = unpacked(img, store, layout)
		}
	}
	if err == nil && missing {
		err = &images.NotFoundError{Ref: img.Ref + " for this user"}
	}
	if err != nil {
		return err
	}
	for _, l := range slices.Backward(img.Layers) {
		b.layers = append(b.layers, images.LayerName(l.DiffID)+"/"+images.TreeName)
	}
	b.passwd, b.group = images.Account(metas, "etc/passwd"), images.Account(metas, "etc/group")
	b.links = images.TopLinks(metas)
	return nil
}

// unpacked are the records of an image's layers, the lowest first.
func unpacked(img *images.Image, store *images.Store, layout string) (metas []images.Meta, missing bool, err error) {
	for _, l := range img.Layers {
		meta, ok, err := store.Unpacked(layout, l.DiffID)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return nil, true, nil
		}
		metas = append(metas, meta)
	}
	return metas, false, nil
}

// readConfig checks what of the configuration is used.
func (b *base) readConfig() error {
	if name := b.config.StopSignal; name != "" {
		b.spec.StopSignal = SignalNamed(name)
		if b.spec.StopSignal == 0 {
			return &images.DamagedError{What: b.spec.Ref, Why: fmt.Sprintf("its stop signal %q is none", name)}
		}
	}
	if n := len(b.config.Volumes); n > maxVolumes {
		return &images.DamagedError{What: b.spec.Ref, Why: fmt.Sprintf("it declares %d volumes, and at most %d make sense", n, maxVolumes)}
	}
	for volume := range b.config.Volumes {
		if path := absoluteOr(volume, "/"); path != "/" {
			b.spec.Volumes = append(b.spec.Volumes, path)
		}
	}
	slices.Sort(b.spec.Volumes)
	return nil
}

// maxVolumes bounds what an image can declare.
const maxVolumes = 500

// SignalNamed reads a signal as people write it: TERM, SIGTERM or 15. It is 0 where there is none.
func SignalNamed(name string) unix.Signal {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return unix.Signal(n)
	}
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	return unix.SignalNum(name)
}

// imageUser is the user that an image's configuration names; root if none.
func imageUser(store *images.Store, img *images.Image, r *Request) (profiles.User, error) {
	text := img.Config.Config.User
	if text == "" || text == "root" || text == "0" || text == "0:0" || text == "root:root" {
		return profiles.User{Kind: profiles.UserRoot}, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	var passwd, groups string
	if !isNumber(name) || !hasGroup || !isNumber(group) {
		metas, err := anyRecords(store, img, r)
		if err != nil {
			return profiles.User{}, err
		}
		passwd, groups = images.Account(metas, "etc/passwd"), images.Account(metas, "etc/group")
	}
	uid, gid, ok := lookUp(passwd, name, 2, 3)
	if hasGroup {
		var found bool
		gid, _, found = lookUp(groups, group, 2, 2)
		ok = ok && found
	}
	if !ok {
		return profiles.User{}, &UsageError{
			fmt.Sprintf("the image's user %q is neither a number nor in its /etc/passwd", text), "choose one: -u root",
		}
	}
	return profiles.User{Kind: profiles.UserID, UID: uid, GID: gid, HasGID: true}, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}

// sayOneUser adds to the level what one user alone means on an image.
func (s *Spec) sayOneUser() {
	if n := len(s.Level.Why); s.singleID() && n > 0 {
		s.Level.Why[n-1] += "; apt-get, and what else of the image changes users or owners, fails, for that takes sub-ids: sbx doctor tells who can give them"
	}
}

// anyRecords are the records of an image's layers for whatever ids: those of root's layout, which a name
// is looked up in before its own layout is known.
func anyRecords(store *images.Store, img *images.Image, r *Request) ([]images.Meta, error) {
	root := profiles.User{Kind: profiles.UserRoot}
	maps, _, err := IDMaps(r.Account, root)
	if err != nil {
		return nil, err
	}
	metas, missing, err := unpacked(img, store, images.LayoutOf(maps))
	if err != nil || !missing || r.Fetch == nil {
		return metas, err
	}
	ref, err := images.ParseRef(img.Ref, nil)
	if err == nil {
		err = r.Fetch(ref, root)
	}
	if err != nil {
		return nil, err
	}
	metas, _, err = unpacked(img, store, images.LayoutOf(maps))
	return metas, err
}

// lookUp finds the line of a name, or of a number, in the text of passwd(5) or group(5), and two of its
// fields. A number that has no line is itself, with group 0.
func lookUp(text, name string, first, second int) (a, b uint32, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > max(first, second, 2) && (f[0] == name || f[2] == name) && isNumber(f[first]) && isNumber(f[second]) {
			x, _ := strconv.ParseUint(f[first], 10, 31)
			y, _ := strconv.ParseUint(f[second], 10, 31)
			return uint32(x), uint32(y), true
		}
	}
	n, err := strconv.ParseUint(name, 10, 31)
	return uint32(n), 0, err == nil
}

// hostLabel is a name as a host name takes it.
func hostLabel(name string) string {
	label := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, name)
	label = strings.Trim(label[:min(len(label), 40)], "-")
	if label == "" {
		return "sbx"
	}
	return label
}

// readFolder reads of a tree what the record of a layer would tell. The tree is the user's, but what is
// in it may come from anybody: only small regular files are read, and no link is followed.
func (b *base) readFolder(dir string) {
	b.passwd, b.group = readAccount(dir, "etc/passwd"), readAccount(dir, "etc/group")
	for _, pattern := range []string{"/*", "/var/*", "/home/*"} {
		names, _ := filepath.Glob(dir + pattern)
		for _, path := range names {
			if to, err := os.Readlink(path); err == nil {
				b.links[strings.TrimPrefix(path, dir)] = to
			}
		}
	}
}

func readAccount(dir, name string) string {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > 256<<10 {
		return ""
	}
	data := make([]byte, info.Size())
	n, _ := f.Read(data)
	return string(data[:n])
}

// pinned is an image as the project's lock file means it: the name at the digest that the file has for it.
func pinned(project string, ref images.Ref) (images.Ref, error) {
	if project == "" || ref.Digest != "" {
		return ref, nil
	}
	pins, err := profiles.ReadLock(project)
	if digest, ok := pins[ref.String()]; ok && err == nil {
		return ref.At(digest), nil
	}
	return ref, err
}
