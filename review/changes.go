package review

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind says what a change does to a path of the host.
type Kind string

const (
	Created  Kind = "created"
	Changed  Kind = "changed"
	Deleted  Kind = "deleted"
	Renamed  Kind = "renamed"
	Mode     Kind = "mode"
	Replaced Kind = "replaced" // by another kind of file: a folder where a file was, a link where a folder was
)

// Change is one difference between what a sandbox sees and what the host has. What is on the host just so
// already is none.
type Change struct {
	// Path is relative to the captured folder: bytes that the sandbox chose.
	Path string
	Kind Kind
	// From is where a renamed file lay, or a folder with all that is in it.
	From string
	// Later says why the host would run it, or obey it, by itself; empty where it would not. Place is the
	// path that makes it so: itself, or a folder above it.
	Later, Place string
	// Conflict says how the host has changed it as well.
	Conflict string
	// Refused says why it can never be applied.
	Refused string
	// Target and OldTarget are those of symlinks.
	Target, OldTarget string
	// Files and Bytes are how much is deleted with a folder, or renamed.
	Files int
	Bytes int64
	// Inner says that it is a folder made for what is created in it, which is told by itself.
	Inner bool

	inside []*Change // of a renamed folder: what is created in it
	held   *held
	new    *node // nil where it is deleted
	old    *node // nil where the host has nothing
	digest string
	// text stands in for the content of the upper: what was merged, or agreed to in part.
	text *[]byte
	part bool
}

// Type is what it is, or was where it is deleted: file, folder, symlink, fifo, socket, device.
func (c *Change) Type() string {
	n := c.new
	if n == nil {
		n = c.old
	}
	return typeOf(n)
}

// OldType is what the host has.
func (c *Change) OldType() string { return typeOf(c.old) }

func typeOf(n *node) string {
	if n == nil {
		return ""
	}
	switch n.kind() {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "folder"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// Size and OldSize are in bytes, of regular files; OldMode and NewMode are permission bits.
func (c *Change) Size() int64 { return sizeOf(c.new) }
func (c *Change) OldSize() int64 {
	if c.Kind == Deleted || c.Files > 0 {
		return c.Bytes
	}
	return sizeOf(c.old)
}

func sizeOf(n *node) int64 {
	if n == nil || !n.regular() {
		return 0
	}
	return n.Size
}

func (c *Change) NewMode() uint32 { return permOf(c.new) }
func (c *Change) OldMode() uint32 { return permOf(c.old) }

func permOf(n *node) uint32 {
	if n == nil {
		return 0
	}
	return n.perm()
}

// Shown is its path as people are told it: as it is listed, or whole where it lies outside of the project, so that what
// comes there is not taken for the project's.
func (c *Change) Shown() string { return c.held.shown(c.Path) }

// ShownFrom is From as people are told it.
func (c *Change) ShownFrom() string { return c.held.shown(c.From) }

// Listed is its path as scripts are told it, beside its folder: from the top of that, or below the label of one that is
// sbx's own, as in ~/.bashrc.
func (c *Change) Listed() string { return c.held.listed(c.Path) }

// ListedFrom is From as scripts are told it.
func (c *Change) ListedFrom() string { return c.held.listed(c.From) }

// Labelled tells whether people name it below a label.
func (c *Change) Labelled() bool { return c.held.Label != "" }

func (c *Capture) shown(rel string) string {
	if rel != "" && c.Label == "" && c.Project != "" && !within(c.Folder, c.Project) {
		return filepath.Join(c.Folder, rel)
	}
	return c.listed(rel)
}

func (c *Capture) listed(rel string) string {
	switch {
	case rel == "":
		return ""
	case c.Label != "":
		return c.Label + "/" + rel
	case strings.HasPrefix(rel, "~"):
		return "./" + rel // not the home
	}
	return rel
}

// top is the folder by which people name what is in it.
func (c *Capture) top() string { return cmp.Or(c.Shown, c.Folder) }

// Folder is the captured folder that it lies in.
func (c *Change) Folder() string { return c.held.Folder }

// Changes lists what differs, by folder and path. It costs by what changed: with the driver Overlay nothing
// else is looked at.
func (s *Set) Changes() ([]*Change, error) {
	var all []*Change
	for _, h := range s.captures {
		if err := h.noteBases(); err != nil {
			return nil, err
		}
		list, err := h.changes()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Any tells whether there are changes: for less than it takes to tell which of them are renames, and run later.
func (s *Set) Any() (bool, error) {
	for _, h := range s.captures {
		if err := h.noteBases(); err != nil {
			return false, err
		}
		list, err := h.walk()
		if err != nil {
			return false, fmt.Errorf("reading what was changed in %s: %w", h.Folder, err)
		}
		if len(list) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// changes lists those of one capture, with reasons.
func (h *held) changes() ([]*Change, error) {
	list, err := h.walk()
	if err != nil {
		return nil, fmt.Errorf("reading what was changed in %s: %w", h.Folder, err)
	}
	h.places, h.looked = map[string]string{}, map[string]bool{}
	if !h.set.Unfolded {
		if list, err = h.fold(list); err != nil {
			return nil, err
		}
	}
	if list, err = h.renames(list); err != nil {
		return nil, err
	}
	markInner(list)
	for _, c := range list {
		h.judge(c)
	}
	h.heldSources(list)
	return list, nil
}

// judge finds out whether a change runs later, is in conflict with the host's, or cannot be applied.
func (h *held) judge(c *Change) {
	c.Later, c.Place = h.later(c)
	if c.new != nil && !c.new.plainFile() && !c.new.folder() {
		c.Refused = "a " + typeOf(c.new) + " is never applied"
	}
	if why := h.hidden(c); why != "" {
		c.Refused = why
	}
	if c.Conflict == "" {
		c.Conflict = h.hostChanged(c.Path, c.old)
	}
	if c.Conflict == "" && c.From != "" {
		n, err := h.host.lookup(c.From)
		if err == nil {
			c.Conflict = h.hostChanged(c.From, n)
		}
	}
}

// markInner finds the folders that are told by what is in them.
func markInner(list []*Change) {
	inhabited := map[string]bool{}
	for _, c := range list {
		for dir := path.Dir(c.Path); dir != "." && !inhabited[dir]; dir = path.Dir(dir) {
			inhabited[dir] = true
		}
	}
	for _, c := range list {
		c.Inner = c.Kind == Created && c.new.folder() && inhabited[c.Path]
	}
}

// maxPath is the longest path that a system call takes, in bytes.
const maxPath = unix.PathMax - 1

// walker collects changes.
type walker struct {
	*held
	list []*Change
	// lost says that the host may have deleted something in the folder that is walked, or one above it,
	// since the sandbox began.
	lost bool
	// replacing keeps only changes of what the host has: new files may be any number.
	replacing bool
	// apart says that what is walked lies in another subvolume of btrfs than the captured folder: no rename leads
	// there (EXDEV), and what lies ready takes its place by nothing else.
	apart bool
}

func (h *held) walk() ([]*Change, error) { return h.walkOf(false) }

func (h *held) walkOf(replacing bool) ([]*Change, error) {
	if err := h.load(); err != nil {
		return nil, err
	}
	w := &walker{held: h, replacing: replacing}
	switch h.Driver {
	case Copy:
		err := w.copied("", true)
		return w.list, err
	case Empty:
		err := w.begunEmpty("", true)
		return w.list, err
	}
	opaque, err := h.upper.opaque("")
	if err != nil {
		return nil, err
	}
	err = w.overlaid("", opaque, true)
	return w.list, err
}

func (w *walker) add(c *Change) *Change {
	c.held = w.held
	if w.apart {
		c.Refused = "it lies in a subvolume of its own: capture that folder"
	}
	if c.old != nil || !w.replacing {
		w.list = append(w.list, c)
	}
	return c
}

// overlaid compares a folder of an upper with the host's. hidden says that nothing of the host's is seen in
// it, onHost that the host has the folder.
func (w *walker) overlaid(rel string, hidden, onHost bool) error {
	defer func(lost bool) { w.lost = lost }(w.lost)
	entries, err := w.upper.list(rel)
	if missing(err) {
		return nil // it went while we walked
	}
	if err != nil {
		return err
	}
	olds, err := w.olds(rel, entries, hidden && onHost, onHost)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(rel, string(e.Name))
		old := olds[string(e.Name)]
		delete(olds, string(e.Name))
		if e.Node.kind() == unix.S_IFCHR && e.Node.Rdev == 0 { // overlayfs's mark of what was deleted
			err = w.deleted(name, old)
		} else {
			err = w.compared(name, e.Node, old, hidden)
		}
		if err != nil {
			return err
		}
	}
	if !hidden {
		return nil
	}
	return w.leftOut(rel, olds)
}

// leftOut notes what the host has in a folder and the sandbox has no more.
func (w *walker) leftOut(rel string, olds map[string]*node) error {
	var names []string
	for name := range olds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.deleted(path.Join(rel, name), olds[name]); err != nil {
			return err
		}
	}
	return nil
}

// olds are the host's files beside the entries of an upper's folder, or all of them.
func (w *walker) olds(rel string, entries []entry, all, onHost bool) (map[string]*node, error) {
	olds := map[string]*node{}
	if !onHost {
		return olds, nil
	}
	if n, err := w.host.lookup(rel); err == nil && n != nil {
		w.lost = n.Ctime > w.Began.UnixNano()
	}
	if all {
		list, err := w.host.list(rel)
		if missing(err) {
			return olds, nil
		}
		for _, e := range list {
			olds[string(e.Name)] = &e.Node
		}
		return olds, err
	}
	dir, err := w.host.openOwn(rel, unix.O_PATH|unix.O_DIRECTORY, 0)
	if missing(err) {
		return olds, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for _, e := range entries {
		var st unix.Stat_t
		switch err := unix.Fstatat(int(dir.Fd()), string(e.Name), &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err == nil:
			n := nodeOf(&st)
			olds[string(e.Name)] = &n
		case !missing(err):
			return nil, fmt.Errorf("looking at %s of the host: %w", path.Join(w.Folder, rel, string(e.Name)), err)
		}
	}
	return olds, nil
}

// compared compares what the sandbox has at a path with what the host has there.
func (w *walker) compared(rel string, n node, old *node, hidden bool) error {
	switch {
	case len(rel) > maxPath-len(w.Folder)-2:
		w.add(&Change{Path: rel, Kind: Created, new: &n, Refused: "its path is longer than the kernel takes"})
		return nil
	case n.folder():
		return w.folder(rel, n, old, hidden)
	case old == nil:
		c := w.add(&Change{Path: rel, Kind: Created, new: &n})
		if w.Driver == Overlay && w.lost && n.regular() && w.upper.copiedUp(rel) {
			c.Conflict = "the host deleted it since the sandbox began"
		}
		return w.target(c)
	case old.kind() != n.kind():
		return w.replaced(rel, n, old)
	}
	return w.sameKind(rel, n, old)
}

// folder goes on in a folder that the sandbox has.
func (w *walker) folder(rel string, n node, old *node, hidden bool) error {
	onHost := old != nil && old.folder()
	if onHost && old.Dev != w.dev && w.host.mountedOn(rel) {
		if w.Driver == Empty {
			w.add(&Change{Path: rel, Kind: Mode, new: &n, old: old, Refused: "the host has another file system mounted there"})
		}
		return nil // which this capture is not about; a subvolume of btrfs is, though its st_dev is another
	}
	if w.Driver == Overlay && !hidden && onHost {
		var err error
		if hidden, err = w.upper.opaque(rel); err != nil && !missing(err) {
			return err
		}
	}
	switch {
	case old == nil && w.holdsPoint(rel):
	case old == nil:
		w.add(&Change{Path: rel, Kind: Created, new: &n})
	case !onHost:
		if err := w.replaced(rel, n, old); err != nil {
			return err
		}
	case old.shown() != n.shown() && w.Driver != Empty:
		w.add(&Change{Path: rel, Kind: Mode, new: &n, old: old})
	}
	defer func(apart bool) { w.apart = apart }(w.apart)
	w.apart = w.apart || onHost && old.Dev != w.dev
	switch w.Driver {
	case Copy:
		return w.copied(rel, onHost)
	case Empty:
		return w.begunEmpty(rel, onHost)
	}
	return w.overlaid(rel, hidden, onHost)
}

// replaced notes a file of one kind in the place of one of another.
func (w *walker) replaced(rel string, n node, old *node) error {
	c := w.add(&Change{Path: rel, Kind: Replaced, new: &n, old: old})
	if old.folder() {
		if err := w.count(c); err != nil {
			return err
		}
	}
	return w.target(c)
}

// target reads where links lead.
func (w *walker) target(c *Change) (err error) {
	if c.new != nil && c.new.link() {
		if c.Target, err = w.upper.readlink(c.Path); missing(err) {
			err = nil
		}
	}
	if err == nil && c.old != nil && c.old.link() {
		c.OldTarget, err = w.host.readlink(c.Path)
	}
	return err
}

// sameKind compares two files of one kind.
func (w *walker) sameKind(rel string, n node, old *node) error {
	c := &Change{Path: rel, Kind: Changed, new: &n, old: old}
	switch {
	case n.link():
		c.held = w.held
		if err := w.target(c); err != nil {
			return err
		}
		if c.Target == c.OldTarget {
			return nil
		}
	case n.regular() && w.merged(rel, n, old):
		return nil
	case n.regular():
		same, err := w.equal(rel, n, old)
		if err != nil {
			return err
		}
		if same && n.perm() == old.perm() {
			return nil
		}
		if same {
			c.Kind = Mode
		}
	case n.Rdev == old.Rdev && n.perm() == old.perm():
		return nil
	}
	w.add(c)
	return nil
}

// merged tells whether the host's file is what was made of just this file of the sandbox.
func (w *walker) merged(rel string, n node, old *node) bool {
	a, ok := w.agreed[raw(rel)]
	return ok && a.Merged != nil && a.Merged.same(&n) && a.holds(old)
}

// equal tells whether the sandbox's file has the content of the host's.
func (w *walker) equal(rel string, n node, old *node) (bool, error) {
	if n.Size != old.Size {
		return false, nil
	}
	a, _, err := w.upper.open(rel)
	if missing(err) || errors.Is(err, ErrChanged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, _, err := w.host.open(rel)
	if missing(err) {
		return false, nil
	}
	if refused(err) {
		return false, nil // it is the host's own, and shut to its user: it cannot be the same
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameContent(a, b, n.Size)
}

// deleted notes what the host has and the sandbox has no more.
func (w *walker) deleted(rel string, old *node) error {
	if old == nil {
		return nil
	}
	c := w.add(&Change{Path: rel, Kind: Deleted, old: old, Files: 1, Bytes: sizeOf(old)})
	if old.folder() {
		return w.count(c)
	}
	return w.target(c)
}

// count finds how much the host has in a folder that goes, and whether the host has changed any of it.
func (w *walker) count(c *Change) error {
	c.Files, c.Bytes = 0, 0
	err := w.each(c.Path, func(rel string, n *node) error {
		if n.folder() {
			return nil
		}
		c.Files++
		c.Bytes += sizeOf(n)
		if n.Nlink > 1 && n.Mtime <= w.Began.UnixNano() {
			return nil // its ctime may tell of another of its names: those of stores of packages do
		}
		if why := w.hostChanged(rel, n); why != "" && c.Conflict == "" {
			c.Conflict = why + ": " + rel
		}
		return nil
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		c.Refused = "the host has another file system mounted in it"
	case refused(err):
		c.Refused = "the host has folders in it that cannot be read"
	default:
		return err
	}
	return nil
}

// each walks a folder of the host, a folder after what is in it.
func (h *held) each(rel string, do func(rel string, n *node) error) error {
	list, err := h.host.list(rel)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(rel, string(e.Name))
		if e.Node.folder() {
			if err := h.each(name, do); err != nil {
				return err
			}
		}
		if err := do(name, &e.Node); err != nil {
			return err
		}
	}
	return nil
}

// maxRenames bounds how many deleted files are held against new ones.
const maxRenames = 2000

// maxCompared bounds how many pairs are compared.
const maxCompared = 4 * maxRenames

// renames finds deleted files that lie elsewhere now, with the same content and mode. An upper does not tell
// what was renamed and what was copied and then deleted, and for whoever reads it there is no difference.
func (h *held) renames(list []*Change) ([]*Change, error) {
	bySize := map[int64][]*Change{}
	n := 0
	for _, c := range list {
		if c.Kind == Deleted && c.old.regular() && c.old.Size > 0 {
			bySize[c.old.Size] = append(bySize[c.old.Size], c)
			n++
		}
	}
	if n == 0 || n > maxRenames {
		return list, nil
	}
	gone, left := map[*Change]bool{}, maxCompared
	for _, c := range list {
		if c.Kind != Created || !c.new.regular() || c.Refused != "" {
			continue
		}
		for _, d := range bySize[c.new.Size] {
			if gone[d] || d.old.perm() != c.new.perm() {
				continue
			}
			if left--; left < 0 {
				break // a sandbox can make any number of files of one size
			}
			same, err := h.moved(d.Path, c)
			if err != nil {
				return nil, err
			}
			if same {
				c.Kind, c.From, gone[d] = Renamed, d.Path, true
				c.Conflict = d.Conflict // that the host has none at the new path is no conflict
				break
			}
		}
	}
	return slices.DeleteFunc(list, func(c *Change) bool { return gone[c] }), nil
}

func (h *held) moved(from string, c *Change) (bool, error) {
	a, _, err := h.upper.open(c.Path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer a.Close()
	b, _, err := h.host.open(from)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer b.Close()
	return sameContent(a, b, c.new.Size)
}

func ignoreMissing(err error) error {
	if missing(err) || refused(err) {
		return nil
	}
	return err
}

// Matches tells whether a change lies at or below one of some paths, or matches one as a pattern
// (path.Match). Paths are absolute, or relative to the folder base.
func (c *Change) Matches(base string, paths []string) bool {
	if len(paths) == 0 {
		return true
	}
	return slices.ContainsFunc(paths, func(p string) bool { return c.matches(c.relative(base, p)) })
}

func (c *Change) relative(base, p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(base, p)
	}
	p = filepath.Clean(p)
	top := c.held.top()
	if strings.HasPrefix(p+"/", c.held.Folder+"/") {
		top = c.held.Folder
	}
	rel, err := filepath.Rel(top, p)
	if err != nil {
		return ".."
	}
	return rel
}

func (c *Change) matches(pattern string) bool {
	if pattern == "." || above(pattern) {
		return true // the captured folder, or one above it
	}
	for _, p := range []string{c.Path, c.From} {
		for dir := p; dir != "." && dir != ""; dir = path.Dir(dir) {
			if ok, _ := path.Match(pattern, dir); ok || dir == pattern {
				return true
			}
		}
	}
	return false
}

// Named tells whether one of the paths names this change itself, or the place that makes it run later: not
// as a pattern, and not as a folder that holds more than such places.
func (c *Change) Named(base string, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		rel := c.relative(base, p)
		return rel == c.Path || c.Place != "" && (rel == c.Place || strings.HasPrefix(rel, c.Place+"/") && strings.HasPrefix(c.Path, rel+"/"))
	})
}

// above tells that a relative path is nothing but steps upwards.
func above(rel string) bool {
	return !slices.ContainsFunc(strings.Split(rel, "/"), func(step string) bool { return step != ".." })
}
