package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/review"
	"sbx/state"
)

// copiedTree is what is copied where a folder cannot be overlaid.
var copiedTree = bounds{entries: 500_000, bytes: 8 << 30}

// CapturesFolder is the folder of captures in the folder upper of a sandbox.
func CapturesFolder(upper string) string { return filepath.Join(upper, "captures") }

// MakeCaptures makes the folders for what a sandbox changes in captured folders, below its folder upper, or
// takes those of its last run. Each is an overlay or a copy from then on. say hears what has to be said.
func MakeCaptures(s *Spec, upper string, say func(string)) error {
	if len(s.Captured) == 0 {
		return nil
	}
	all := CapturesFolder(upper)
	if err := os.MkdirAll(all, 0o700); err != nil {
		return fmt.Errorf("making the folder for changes that are held: %w", err)
	}
	known, err := review.Captures(all)
	if err != nil {
		return err
	}
	next := 0
	for _, k := range known {
		n, _ := strconv.Atoi(filepath.Base(k.Dir))
		next = max(next, n+1)
	}
	m := &maker{spec: s, all: all, known: known, next: next, say: say, attributes: carriesAttributes(all)}
	for i := range s.Captured {
		if err := m.make(&s.Captured[i]); err != nil {
			return fmt.Errorf("holding back what changes in %s: %w", s.Captured[i].Folder, err)
		}
	}
	return nil
}

// maker makes captures.
type maker struct {
	spec       *Spec
	all        string
	known      []*review.Capture
	next       int
	say        func(string)
	attributes bool // an upper can be there
}

func (m *maker) make(c *Captured) error {
	if c.Own {
		if err := m.spec.makeOwn(c); err != nil {
			return err
		}
	}
	for _, k := range m.known {
		if k.Folder == c.Folder {
			return m.again(c, k)
		}
	}
	dir := filepath.Join(m.all, strconv.Itoa(m.next))
	m.next++
	if err := makeFolder(dir, 0o700); err != nil {
		return err
	}
	return m.fill(c, dir)
}

// again takes a capture of the last run. One in which nothing was changed begins anew, so that it shows the
// folder as it is now.
func (m *maker) again(c *Captured, k *review.Capture) error {
	if c.Empty != (k.Driver == review.Empty) {
		return &UsageError{"its changes have been held in another way since the last run", "apply or discard what is held first"}
	}
	if c.Empty {
		return m.useEmpty(c, k)
	}
	if k.Driver == review.Overlay && !hasEntries(filepath.Join(k.Dir, review.UpperName)) {
		return m.anew(c, k.Dir)
	}
	if k.Driver == review.Overlay && len(c.Mounts) > 0 {
		return &UsageError{"something was mounted below it since its changes are held by an overlay", "unmount it, or apply and discard what is held first"}
	}
	if err := m.hide(k); err != nil {
		return err
	}
	return m.use(c, k.Dir, k.Driver)
}

// hide notes what is hidden by now, and empties the files of a copy that has some of it.
func (m *maker) hide(k *review.Capture) error {
	hidden := m.spec.hiddenIn(k.Folder)
	if k.Hides(hidden) {
		return nil
	}
	if k.Driver == review.Copy {
		if err := review.Blank(k.Dir, hidden); err != nil {
			return err
		}
	}
	k.Hide(hidden)
	return review.Begin(k.Dir, *k)
}

// hiddenIn are the paths, relative to a captured folder, that are covered there, or would be if they came.
func (s *Spec) hiddenIn(folder string) (paths []string) {
	add := func(path string) {
		inner := func(c Captured) bool {
			return c.Folder != folder && host.Within(c.Folder, folder) && host.Within(path, c.Folder)
		}
		if path == folder || !host.Within(path, folder) || slices.ContainsFunc(s.Captured, inner) {
			return
		}
		if rel, err := filepath.Rel(folder, path); err == nil && !slices.Contains(paths, rel) {
			paths = append(paths, rel)
		}
	}
	for _, e := range s.Root.Entries {
		if e.Kind == fuseoverlay.HideFile || e.Kind == fuseoverlay.HideDir {
			add(e.Target) // a captured folder is shown at its own path
		}
	}
	for _, place := range s.Project.Hidden {
		add(place.Path)
	}
	return paths
}

func hasEntries(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return true
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) > 0
}

// anew empties the folder of a capture and fills it.
func (m *maker) anew(c *Captured, dir string) error {
	if err := removeFolder(dir); err != nil {
		return err
	}
	if err := makeFolder(dir, 0o700); err != nil {
		return err
	}
	return m.fill(c, dir)
}

// fill decides how a folder is captured, and makes what that takes.
func (m *maker) fill(c *Captured, dir string) error {
	from, err := openFolder(c.Folder)
	if err != nil {
		return err
	}
	defer from.Close()
	upper := filepath.Join(dir, review.UpperName)
	if err := makeFolder(upper, 0o700); err != nil {
		return err
	}
	to, err := openFolder(upper)
	if err != nil {
		return err
	}
	defer to.Close()
	began := time.Now()
	driver, err := m.driver(c, from)
	if err != nil {
		return err
	}
	hidden := m.spec.hiddenIn(c.Folder)
	switch driver {
	case review.Copy:
		err = copyTree(from, to, hidden...)
	case review.Empty:
		err = to.Chmod(0o755)
	default:
		err = m.overlay(from, to, dir)
	}
	if err != nil {
		return err
	}
	made := review.Capture{Folder: c.Folder, Driver: driver, Began: began, User: m.user(), Project: m.spec.Project.Dir, Shown: c.Shown, Label: c.Label}
	made.Hide(hidden)
	if c.Empty {
		made.Dir = dir
		return m.useEmpty(c, &made)
	}
	if err := review.Begin(dir, made); err != nil {
		return err
	}
	if driver == review.Copy {
		if err := review.WriteList(dir); err != nil {
			return err
		}
	}
	return m.use(c, dir, driver)
}

// user names the layout of ids.
func (m *maker) user() string {
	return fmt.Sprintf("%d:%d", m.spec.IDs.UID, m.spec.IDs.GID)
}

func openFolder(path string) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// overlay makes an upper that shows as the folder itself.
func (m *maker) overlay(from, to *os.File, dir string) error {
	if err := makeFolder(filepath.Join(dir, review.WorkName), 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	return like(to, &st)
}

// driver decides between an overlay and a copy.
func (m *maker) driver(c *Captured, from *os.File) (string, error) {
	if c.Empty {
		return review.Empty, nil
	}
	needed := ""
	switch {
	case len(c.Mounts) > 0:
		needed = c.Mounts[0] + " is mounted below it"
	case m.spec.Root.OldKernel:
		needed = "this kernel has no overlays for users"
	case !m.attributes:
		needed = "the file system of " + m.all + " has no user attributes"
	case c.Refused:
		needed = "the kernel refuses an overlay over it"
	case m.spec.CaptureBy == captureCopy:
		needed = "storage.capture says so"
	}
	if needed == "" {
		return review.Overlay, nil
	}
	left := copiedTree
	if err := surveyAnew(from, &left, m.uid()); err != nil {
		return "", &UsageError{fmt.Sprintf("it can be neither overlaid (%s) nor copied (%v)", needed, err), "capture a smaller folder, or use --project read"}
	}
	if m.spec.CaptureBy != captureCopy {
		m.say(fmt.Sprintf("%s is captured by a copy, since %s", c.Folder, needed))
	}
	return review.Copy, nil
}

func (m *maker) uid() uint32 { return uint32(os.Getuid()) }

// surveyAnew is survey with a folder that was or will be read by others.
func surveyAnew(from *os.File, left *bounds, uid uint32) error {
	again, err := unix.Openat(int(from.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(again), from.Name())
	defer f.Close()
	return survey(f, left, uid)
}

// use has the spec show a capture.
func (m *maker) use(c *Captured, dir, driver string) error {
	c.Dir, c.Driver = dir, driver
	for i := range m.spec.Root.Entries {
		e := &m.spec.Root.Entries[i]
		if e.Kind != fuseoverlay.Capture || e.Source != c.Folder {
			continue
		}
		e.Upper, e.Copied = dir, driver == review.Copy
		mounts, err := m.locked(dir)
		if err != nil {
			return err
		}
		e.Mounts = mounts
	}
	return nil
}

// locked are the mounts at and below a folder, which only old kernels have to be told.
func (m *maker) locked(dir string) ([]fuseoverlay.Submount, error) {
	if !m.spec.Root.OldKernel {
		return nil, nil
	}
	mounts, err := host.Mounts()
	if err != nil {
		return nil, err
	}
	return submounts(mounts, dir), nil
}

// recapture copies a folder that the kernel has refused to overlay, before anything was changed in it.
func (s *Spec) recapture(folder string, say func(string)) error {
	i := slices.IndexFunc(s.Captured, func(c Captured) bool { return c.Folder == folder })
	if i < 0 {
		return fmt.Errorf("capturing %s: it is not among the captured folders", folder)
	}
	c := &s.Captured[i]
	c.Refused = true
	return MakeCaptures(s, filepath.Dir(filepath.Dir(c.Dir)), say)
}

// Writers are the sandboxes that run and may write to some folders of the host, or to what lies in or above them.
func Writers(store *state.Store, folders []string) (names []string) {
	list, _, _ := store.List()
	for _, r := range list {
		if r.Status() == state.Exited {
			continue
		}
		spec, err := readSpec(filepath.Join(store.Folder(r.Name), specFile))
		if err == nil && spec.writesTo(folders) {
			names = append(names, r.Name)
		}
	}
	return names
}

func (s *Spec) writesTo(folders []string) bool {
	return slices.ContainsFunc(s.Root.Entries, func(e fuseoverlay.Entry) bool {
		writes := e.Kind == fuseoverlay.Bind && e.Writable || e.Kind == fuseoverlay.Kept
		return writes && slices.ContainsFunc(folders, func(dir string) bool {
			return host.Within(e.Source, dir) || host.Within(dir, e.Source)
		})
	})
}

// HoldsSome tells at one look that a sandbox with this folder upper holds changes back. Where it does not, only
// reading them tells.
func HoldsSome(upper string) bool {
	captures, err := review.Captures(CapturesFolder(upper))
	return err == nil && slices.ContainsFunc(captures, func(c *review.Capture) bool {
		return c.Driver == review.Overlay && hasEntries(filepath.Join(c.Dir, review.UpperName))
	})
}
