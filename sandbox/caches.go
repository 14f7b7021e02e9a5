package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// A cache is a folder of the host that tools of many projects share. A project sees it under changes of its
// own, which neither the host nor another project sees: what one puts there poisons nobody else. The changes
// lie in caches/PROJECT/FOLDER/0 below the data folder, and stay for the project's next run. An overlay's
// upper serves one mount at a time: who comes while it is in use has it as a layer below changes that pass, in
// the first free of the folders 1, 2 and so on.
//
// Where the host has no such folder the project's own lies in caches/PROJECT/FOLDER/alone. It is never an upper: the payload
// wrote to it without an overlay between, and so the books of one too (the attributes user.overlay.*), which count in an upper.

// Cache is one of a sandbox's caches.
type Cache struct {
	// Folder is the host's; empty where it has none.
	Folder string `json:"folder,omitempty"`
	Target string `json:"target"`
	// Own is the folder for the project's changes.
	Own string `json:"own"`
}

// caches lays out what [files] caches names. A folder that the host does not have is one of the project's alone.
func (l *layout) caches(s *Spec, r *Request, p *profiles.Profile) error {
	for _, item := range p.Files.Caches.Items {
		if err := l.cache(s, r, item, capturesByName(p.Files.Capture.Items, item.V)); err != nil {
			return err
		}
	}
	return nil
}

// cache lays one out. Captured says that [files] capture names it too: of a folder that the host has, that is done.
func (l *layout) cache(s *Spec, r *Request, item profiles.Val[string], captured bool) error {
	if r.Project.Dir == "" {
		return &UsageError{"the changes to a cache belong to a project, and there is none here", "start from a project's folder"}
	}
	folder, there := existing(item.V)
	if there {
		real, err := l.source(s, item.V, item.From)
		if err != nil {
			return err
		}
		folder = real
	} else if err := l.refuseOwn(folder); err != nil {
		return err
	}
	c := Cache{Target: l.throughLinks(l.atHome(folder, r.Account.Home)), Own: cacheFolder(r, folder)}
	if err := l.checkTarget(c.Target, true); err != nil {
		return err
	}
	if slices.ContainsFunc(l.entries[l.base:], func(e fuseoverlay.Entry) bool { return e.Target == c.Target }) {
		return nil // it is captured, or something is mounted there by name: that says more than that it is a cache
	}
	e := fuseoverlay.Entry{Kind: fuseoverlay.Kept, Source: filepath.Join(c.Own, aloneName, upperName), Target: c.Target, Mode: 0o700}
	if s.Image != nil {
		e.Kind, e.Writable, e.Mode = fuseoverlay.Bind, true, unix.S_IFDIR
	}
	if there {
		only, err := onlyToRead(folder, dataFolder(r.Account.Home))
		if err != nil {
			return err
		}
		if only != "" {
			s.Level.Warnings = append(s.Level.Warnings, folder+" is shown read-only, for nothing can be laid over it: "+only)
			l.replace(c.Target)
			return l.bind(folder, c.Target, false)
		}
		c.Folder = folder
		e = fuseoverlay.Entry{Kind: fuseoverlay.Cache, Source: folder, Target: c.Target, Mode: unix.S_IFDIR, Upper: filepath.Join(c.Own, keptName)}
	}
	l.replace(c.Target)
	if captured && !there {
		l.captureCache(s, r, &c, folder)
	} else {
		l.add(e)
	}
	s.Caches = append(s.Caches, c)
	return nil
}

// shownBy tells whether an entry is the one that shows the cache.
func (c *Cache) shownBy(e *fuseoverlay.Entry) bool {
	return e.Target == c.Target && (e.Upper == filepath.Join(c.Own, keptName) || e.Source == filepath.Join(c.Own, aloneName, upperName))
}

// atHome is where a folder below the caller's home lies below the home inside, which root and users of images
// have elsewhere: tools look for it there.
func (l *layout) atHome(folder, home string) string {
	if rest, below := strings.CutPrefix(folder, home+"/"); below && l.home != "" {
		return filepath.Join(l.home, rest)
	}
	return folder
}

// cacheFolder is where a project keeps what it changes in a folder.
func cacheFolder(r *Request, folder string) string {
	return filepath.Join(dataFolder(r.Account.Home), "caches", nameOf(r.Project.Dir), nameOf(folder))
}

// nameOf is a file name that stands for a path.
func nameOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}

// onlyToRead says why a folder cannot have changes laid over it; empty where it can.
func onlyToRead(folder, data string) (string, error) {
	info, err := os.Lstat(folder)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", &UsageError{folder + " is no folder, and so no cache", "show a file by [files] read"}
	}
	if !host.MountSetattr.OK() {
		return "this kernel has no overlays for users", nil
	}
	mounts, err := host.Mounts()
	if err != nil {
		return "", err
	}
	if below := visibleBelow(mounts, folder); len(below) > 0 {
		return below[0] + " is mounted below it", nil
	}
	if real, _ := existing(data); host.Within(real, folder) {
		return "sbx keeps what projects change in it", nil
	}
	return "", nil
}

// Folders below a cache's own: what holds a project's changes, its folder where the host has none, and what lies in each.
const (
	keptName  = "0"
	aloneName = "alone"
	upperName = "upper"
)

// heldCaches are the caches of a running sandbox.
type heldCaches struct {
	locks   []*os.File
	passing []string // folders that go when the sandbox ends
}

// holdCaches makes the folders for what the sandbox changes in its caches, and keeps others from using them.
func holdCaches(s *Spec, notify func(string)) (*heldCaches, error) {
	held := &heldCaches{}
	for _, c := range s.Caches {
		i := slices.IndexFunc(s.Root.Entries, func(e fuseoverlay.Entry) bool { return c.shownBy(&e) })
		if i < 0 {
			continue // something else has been laid there
		}
		if err := held.hold(&c, &s.Root.Entries[i], notify); err != nil {
			held.end()
			return nil, fmt.Errorf("making the folder for what changes in the cache %s: %w", c.Target, err)
		}
	}
	return held, nil
}

// maxPassing bounds how many sandboxes of one project change a cache at once.
const maxPassing = 1000

func (h *heldCaches) hold(c *Cache, e *fuseoverlay.Entry, notify func(string)) error {
	if c.Folder == "" { // a folder as any other, for all of the project's sandboxes
		dir := filepath.Join(c.Own, aloneName)
		lock, err := makeLocked(dir, unix.LOCK_SH)
		if err != nil {
			return err
		}
		h.locks = append(h.locks, lock)
		return makeFolder(filepath.Join(dir, upperName), 0o700)
	}
	kept := filepath.Join(c.Own, keptName)
	lock, err := makeLocked(kept, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		h.locks = append(h.locks, lock)
		return fillCache(c, e, kept, notify)
	}
	for n := 1; n < maxPassing && errors.Is(err, unix.EWOULDBLOCK); n++ {
		dir := filepath.Join(c.Own, strconv.Itoa(n))
		if lock, err = makeLocked(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			h.locks, h.passing = append(h.locks, lock), append(h.passing, dir)
			return pass(c, e, kept, dir, notify)
		}
	}
	return err
}

// makeLocked makes a folder where it is missing, and locks it; with LOCK_NB unix.EWOULDBLOCK where another has it.
func makeLocked(dir string, how int) (lock *os.File, err error) {
	for err = fs.ErrNotExist; errors.Is(err, fs.ErrNotExist); { // while other commands remove it
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		lock, err = lockFolder(dir, how)
	}
	return lock, err
}

// pass has an entry show a cache under changes that nobody keeps.
func pass(c *Cache, e *fuseoverlay.Entry, kept, dir string, notify func(string)) error {
	for _, left := range []string{upperName, "work"} { // of a sandbox that was killed
		if err := removeFolder(filepath.Join(dir, left)); err != nil {
			return err
		}
	}
	*e = fuseoverlay.Entry{Kind: fuseoverlay.Cache, Source: c.Folder, Between: filepath.Join(kept, upperName), Target: c.Target, Mode: unix.S_IFDIR, Upper: dir}
	notify("another sandbox of this project has the cache " + c.Target + ": what this one adds there goes when it ends")
	return fillCache(c, e, dir, notify)
}

// fillCache makes what lies in the folder for changes. Where the file system carries no overlay's books the
// cache is shown read-only.
func fillCache(c *Cache, e *fuseoverlay.Entry, dir string, notify func(string)) error {
	for _, name := range []string{upperName, "work"} {
		if err := makeFolder(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if !carriesAttributes(filepath.Join(dir, upperName)) {
		readOnlyCache(e)
		notify(c.Target + " is shown read-only: the file system of " + dir + " has no user attributes")
	}
	return nil
}

// readOnlyCache shows the host's folder alone.
func readOnlyCache(e *fuseoverlay.Entry) {
	*e = fuseoverlay.Entry{Kind: fuseoverlay.Bind, Source: e.Source, Target: e.Target, Mode: unix.S_IFDIR}
}

// end lets go of the caches, once nobody writes to them any more.
func (h *heldCaches) end() error {
	if h == nil {
		return nil
	}
	var err error
	for _, dir := range h.passing {
		err = errors.Join(err, removeFolder(dir))
	}
	closeAll(h.locks)
	return err
}

// withoutCache shows a cache read-only that the kernel refuses to overlay, and tells whether that was why a start failed.
func (s *Spec) withoutCache(err error, notify func(string)) bool {
	var failed *userns.StepError
	if !errors.As(err, &failed) || failed.Step.Name() != "fsconfig" {
		return false
	}
	target, found := strings.CutPrefix(failed.Step.Do, fuseoverlay.Caching)
	i := slices.IndexFunc(s.Root.Entries, func(e fuseoverlay.Entry) bool { return e.Kind == fuseoverlay.Cache && e.Target == target })
	if !found || i < 0 {
		return false
	}
	readOnlyCache(&s.Root.Entries[i])
	notify(target + " is shown read-only: the kernel refuses an overlay over it")
	return true
}
