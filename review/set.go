package review

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// Set is all that one sandbox holds back, open.
type Set struct {
	// Dir is the folder with the captures.
	Dir string
	// Live says that the sandbox may still run: what is read may change while it is.
	Live bool
	// Unfolded has each file of a renamed folder told by itself, as deleted and created.
	Unfolded bool
	// Foreign starts the process that answers for files of sub-ids below a folder (Serve), and returns the
	// socket to it. Without it such files are errors.
	Foreign func(folder string) (*os.File, error)
	// Path are the folders of the caller's PATH, in which what can be executed runs later.
	Path []string

	captures []*held
}

// held is one capture, open on both sides.
type held struct {
	*Capture
	set         *Set
	upper, host *tree
	dev         uint64   // of the folder on the host
	made        *listing // of a copy
	bases       byPath[base]
	agreed      byPath[agreement]
	ask         sync.Mutex
	peer        *peer
	places      map[string]string // what the configuration of git names, by path
	looked      map[string]bool   // the repositories whose configuration has been read
}

// Open opens what a sandbox holds back: the captures in the folder dir.
func Open(dir string) (*Set, error) {
	list, err := Captures(dir)
	if err != nil {
		return nil, err
	}
	s := &Set{Dir: dir}
	for _, c := range list {
		h := &held{Capture: c, set: s}
		if err := h.open(); err != nil {
			s.Close()
			return nil, err
		}
		s.captures = append(s.captures, h)
	}
	return s, nil
}

func (h *held) open() (err error) {
	if h.upper, err = openTree(filepath.Join(h.Dir, UpperName)); err != nil {
		return err
	}
	h.upper.ask = h.asked
	if h.Shown != "" { // sbx's own, which its user may have removed: what is held is new then
		if err := os.MkdirAll(h.Folder, 0o755); err != nil {
			h.upper.close()
			return err
		}
	}
	if h.host, err = openTree(h.Folder); err != nil {
		h.upper.close()
		return err
	}
	n, err := h.host.stat("")
	h.dev = n.Dev
	return err
}

// asked starts the process in the user namespace when it is first needed.
func (h *held) asked() (*peer, error) {
	h.ask.Lock()
	defer h.ask.Unlock()
	if h.peer != nil {
		return h.peer, nil
	}
	if h.set.Foreign == nil {
		return nil, errors.New("only the sandbox's own user may read it")
	}
	socket, err := h.set.Foreign(filepath.Join(h.Dir, UpperName))
	if err != nil {
		return nil, err
	}
	h.peer = &peer{socket: socket}
	return h.peer, nil
}

// Close closes all, and ends the process in the user namespace.
func (s *Set) Close() {
	for _, h := range s.captures {
		h.upper.close()
		h.host.close()
		if h.peer != nil {
			h.peer.socket.Close()
		}
	}
}

// Folders are the folders of the host that are held back, the outermost first.
func (s *Set) Folders() []string {
	var list []string
	for _, h := range s.captures {
		list = append(list, h.Folder)
	}
	return list
}

// base is how a file of the host was when a run ended.
type base struct {
	Node   node   `json:"node"`
	Digest string `json:"digest,omitempty"`
	// Changed says that the host had changed it while the sandbox ran: what the sandbox began with is lost.
	Changed bool `json:"changed,omitempty"`
	// Copy is the file, in the folder base, that has its content.
	Copy string `json:"copy,omitempty"`
}

// agreement is how a file of the host is since something was applied there, or taken back: as its user wants
// it. nil is nothing.
type agreement struct {
	Now *node `json:"now"`
	// Merged is the sandbox's file that went into it: it is no change any more.
	Merged *node `json:"merged,omitempty"`
}

func (a agreement) holds(n *node) bool {
	return a.Now == nil && n == nil || a.Now != nil && n != nil && a.Now.same(n)
}

const (
	agreedFile = "agreed.json"
	shownFile  = "shown.json"
	// maxText is the largest file that is compared line by line, and kept for a three-way merge, in bytes.
	maxText = 1 << 20
)

// load reads what was noted beside a capture.
func (h *held) load() error {
	if h.Driver == Copy && h.made == nil {
		l, err := readList(h.Dir)
		if err != nil {
			return err
		}
		h.made = l
	}
	h.bases, h.agreed = nil, nil
	for name, v := range map[string]any{baseFile: &h.bases, agreedFile: &h.agreed} {
		if err := readJSON(h.Dir, name, v); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading %s: %w", filepath.Join(h.Dir, name), err)
		}
	}
	return nil
}

// hostChanged tells whether a file of the host is another one than the sandbox began with, and how it is
// known. n is what is there now, or nil.
func (h *held) hostChanged(rel string, n *node) string {
	if was, ok := h.agreed[raw(rel)]; ok {
		if was.holds(n) {
			return ""
		}
		return "the host changed it since it was applied"
	}
	if h.Driver == Empty {
		return h.thereAlready(n)
	}
	b, noted := h.bases[raw(rel)]
	switch {
	case n == nil && noted:
		return "the host deleted it"
	case n == nil:
		return ""
	case noted && b.Changed:
		return "the host changed it while the sandbox ran"
	case n.Ctime <= h.Began.UnixNano() || noted && b.Node.same(n):
		return ""
	case n.folder():
		// Its ctime is that of the last name that came or went in it.
		return ""
	case noted && b.Digest != "" && b.Node.Mode == n.Mode && h.digestIs(rel, b.Digest):
		return ""
	}
	return "the host changed it since the sandbox began"
}

func (h *held) digestIs(rel, want string) bool {
	f, n, err := h.host.open(rel)
	if err != nil {
		return false
	}
	defer f.Close()
	got, err := digest(f, n.Size)
	return err == nil && got == want
}

// Where is the path of the host that a change is about.
func (c *Change) Where() string { return path.Join(c.held.Folder, c.Path) }
