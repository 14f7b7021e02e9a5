package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// watch renews covers on single files. A mount on a file ends when the host replaces the file by
// rename, as editors and git do; the payload would then see, or could write, what it must not. It
// also notices that git is used.
type watch struct {
	inotify  *os.File
	folders  map[int32]string
	files    map[string]bool // covered file -> hidden (else read-only)
	git      int32
	notify   func(string)
	process  *userns.Process
	inside   map[userns.Slot]*os.File // the sandbox's user and mount namespaces
	gitUsed  bool
	failed   error
	finished chan struct{}
}

// newWatch watches from before the start, so that nothing falls between. It is nil where there is
// nothing to watch.
func newWatch(s *Spec, notify func(string)) *watch {
	w := &watch{folders: map[int32]string{}, files: map[string]bool{}, git: -1, notify: notify, inside: map[userns.Slot]*os.File{}}
	for _, place := range s.Project.Protected {
		if !place.Dir {
			w.files[place.Path] = false
		}
	}
	for _, path := range s.Project.Hidden {
		w.files[path] = true
	}
	if len(w.files) == 0 && !s.Project.GitReadOnly {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		w.failed = fmt.Errorf("watching the project's protected files: %w", err)
		return w
	}
	w.inotify = os.NewFile(uintptr(fd), "inotify")
	w.addWatches(s, fd)
	return w
}

func (w *watch) addWatches(s *Spec, fd int) {
	for path := range w.files {
		dir := filepath.Dir(path)
		wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MASK_ADD)
		if err == nil {
			w.folders[int32(wd)] = dir
		}
	}
	if s.Project.GitReadOnly {
		git := filepath.Join(s.Project.Dir, ".git")
		if wd, err := unix.InotifyAddWatch(fd, git, unix.IN_OPEN|unix.IN_MASK_ADD); err == nil {
			w.git = int32(wd)
		}
	}
}

// atBarrier opens the namespaces while PID 1 still shows them.
func (w *watch) atBarrier() func(pid int) error {
	if w == nil || len(w.files) == 0 {
		return nil
	}
	return func(pid int) error {
		if w.failed != nil {
			return w.failed
		}
		for _, kind := range []userns.Slot{"user", "mnt"} {
			f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			if err != nil {
				return fmt.Errorf("opening the sandbox's namespaces: %w", err)
			}
			w.inside[kind] = f
		}
		return nil
	}
}

// begin starts to listen.
func (w *watch) begin(p *userns.Process) {
	if w == nil || w.inotify == nil {
		return
	}
	w.process, w.finished = p, make(chan struct{})
	go w.listen()
}

func (w *watch) listen() {
	defer close(w.finished)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.inotify.Read(buf)
		if err != nil {
			return
		}
		for _, event := range parseEvents(buf[:n]) {
			w.handle(event)
		}
	}
}

type event struct {
	wd   int32
	mask uint32
	name string
}

// parseEvents reads struct inotify_event: inotify(7).
func parseEvents(buf []byte) []event {
	var list []event
	for len(buf) >= unix.SizeofInotifyEvent {
		raw := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(raw.Len)
		if end > len(buf) {
			break
		}
		name := strings.TrimRight(string(buf[unix.SizeofInotifyEvent:end]), "\x00")
		list = append(list, event{raw.Wd, raw.Mask, name})
		buf = buf[end:]
	}
	return list
}

// gitReads are the files of a git folder that every use of git opens first.
var gitReads = []string{"HEAD", "config", "index"}

func (w *watch) handle(e event) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		for path := range w.files {
			w.cover(path)
		}
		return
	}
	if e.wd == w.git && e.mask&unix.IN_OPEN != 0 && slices.Contains(gitReads, e.name) {
		w.gitUsed = true
	}
	path := filepath.Join(w.folders[e.wd], e.name)
	if _, covered := w.files[path]; covered && e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
		w.cover(path)
	}
}

// cover covers a file anew, in the sandbox's own namespaces. Where that fails the sandbox ends.
func (w *watch) cover(path string) {
	if w.failed != nil {
		return
	}
	err := userns.Run(&userns.Plan{Init: coverSteps(path, w.files[path])}, w.inside)
	if errors.Is(err, unix.ENOENT) {
		return // replaced once more; that is an event of its own
	}
	if err != nil {
		w.failed = fmt.Errorf("covering %s again, which the host has replaced: %w", path, err)
		w.process.Kill()
		return
	}
	w.notify(path + " was replaced on the host while the sandbox runs; it is covered again")
}

// coverSteps lay a file read-only over itself, or the null device over it.
func coverSteps(path string, hidden bool) []userns.Step {
	do := "covering " + path
	how := userns.How{Flags: unix.O_PATH | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS}
	source := path
	if hidden {
		source = "/dev/null"
	}
	steps := []userns.Step{
		userns.SetNS("entering the sandbox", "user", unix.CLONE_NEWUSER),
		userns.SetNS("entering the sandbox", "mnt", unix.CLONE_NEWNS),
		userns.Open(do, path, how).To("target"),
		userns.Open(do, source, how).To("source"),
		userns.CloneTree(do, "source", false).To("tree"),
	}
	if !hidden {
		steps = append(steps, userns.SetMountAttr(do, "tree", false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID))
	}
	return append(steps, userns.MoveMount(do, "tree", "target"))
}

// stop ends the watch and tells what it saw.
func (w *watch) stop() (gitUsed bool, failed error) {
	if w == nil {
		return false, nil
	}
	if w.inotify != nil {
		w.inotify.Close()
	}
	if w.finished != nil {
		<-w.finished
	}
	for _, f := range w.inside {
		f.Close()
	}
	return w.gitUsed, w.failed
}
