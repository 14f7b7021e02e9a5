package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// watch renews covers on single files. A mount on a file ends when the host replaces the file by
// rename, as editors and git do; the payload would then see, or could write, what it must not. It
// also notices that git is used.
//
// It uses directory notification (fcntl(2), F_NOTIFY) and not inotify: closing an inotify descriptor,
// which the end of this process does at the latest, takes the kernel 10 to 20 ms (it waits for a
// grace period and a delayed work; seen on 6.18), longer than all else in a short run.
type watch struct {
	files   []watched
	folders []*os.File
	events  chan os.Signal
	notify  func(string)
	process *userns.Process
	inside  map[userns.Slot]*os.File // the sandbox's user and mount namespaces
	gitUsed bool
	failed  error
	ended   chan struct{}
	done    chan struct{}
}

// Events of F_NOTIFY: fcntl(2), linux/fcntl.h.
const (
	dnAccess    = 0x1
	dnCreate    = 0x4
	dnRename    = 0x10
	dnMultishot = 0x80000000
)

// The signals of the watch: that of a change among covered files, and that of a read in .git.
const (
	fileSignal = unix.SIGIO
	gitSignal  = unix.Signal(42) // a real-time signal that neither the Go runtime nor the C library uses
)

// watched is a covered file.
type watched struct {
	path    string
	hidden  bool // else it is read-only
	inode   fileID
	renewed bool
}

// fileID tells one file from another that has taken its name; zero when there is none.
type fileID struct{ device, inode uint64 }

func identify(path string) fileID {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return fileID{}
	}
	return fileID{st.Dev, st.Ino}
}

// newWatch watches from before the start, so that nothing falls between. It is nil where there is
// nothing to watch.
func newWatch(s *Spec, notify func(string)) *watch {
	w := &watch{notify: notify, inside: map[userns.Slot]*os.File{}, ended: make(chan struct{})}
	for _, place := range s.Project.Protected {
		if !place.Dir {
			w.files = append(w.files, watched{path: place.Path, inode: identify(place.Path)})
		}
	}
	for _, path := range s.Project.Hidden {
		w.files = append(w.files, watched{path: path, hidden: true, inode: identify(path)})
	}
	if len(w.files) == 0 && !s.Project.GitReadOnly {
		return nil
	}
	// The default action of both is to end the process, so they must be caught first.
	w.events = make(chan os.Signal, 2)
	signal.Notify(w.events, fileSignal, gitSignal)
	w.failed = w.open(s)
	return w
}

func (w *watch) open(s *Spec) error {
	seen := map[string]bool{}
	for _, f := range w.files {
		dir := filepath.Dir(f.path)
		if seen[dir] || !exists(dir) {
			continue
		}
		seen[dir] = true
		if err := w.folder(dir, fileSignal, dnCreate|dnRename|dnMultishot); err != nil {
			return err
		}
	}
	if s.Project.GitReadOnly {
		// A worktree's .git is a file; what git reads then is elsewhere, and is not watched.
		w.folder(filepath.Join(s.Project.Dir, ".git"), gitSignal, dnAccess)
	}
	return nil
}

// folder asks for a signal at events in a folder.
func (w *watch) folder(dir string, sig unix.Signal, events int) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		w.folders = append(w.folders, os.NewFile(uintptr(fd), dir))
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETSIG, int(sig))
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_NOTIFY, events)
	}
	if err != nil {
		return fmt.Errorf("watching %s for protected files: %w", dir, err)
	}
	return nil
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
	if w == nil {
		return
	}
	w.process, w.done = p, make(chan struct{})
	go w.listen()
}

func (w *watch) listen() {
	defer close(w.done)
	for {
		select {
		case sig := <-w.events:
			if sig == gitSignal {
				w.gitUsed = true
			} else {
				w.look()
			}
		case <-w.ended:
			return
		}
	}
}

// look finds out what has happened: a signal only says that something has.
func (w *watch) look() {
	for i := range w.files {
		f := &w.files[i]
		if now := identify(f.path); now != f.inode && now != (fileID{}) {
			f.inode = now
			w.cover(f)
		}
	}
}

// cover covers a file anew, in the sandbox's own namespaces. Where that fails the sandbox ends.
func (w *watch) cover(f *watched) {
	if w.failed != nil {
		return
	}
	err := userns.Run(&userns.Plan{Init: coverSteps(f.path, f.hidden)}, w.inside)
	if errors.Is(err, unix.ENOENT) {
		return // replaced once more; that is an event of its own
	}
	if err != nil {
		w.failed = fmt.Errorf("covering %s again, which was replaced: %w", f.path, err)
		w.process.Kill()
		return
	}
	f.renewed = true
	w.notify(f.path + " was replaced while the sandbox runs; it is covered again")
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

// renewed tells whether the file was covered again, and so replaced by the host and not by the run.
func (w *watch) renewed(path string) bool {
	return w != nil && slices.ContainsFunc(w.files, func(f watched) bool { return f.path == path && f.renewed })
}

// stop ends the watch and tells what it saw.
func (w *watch) stop() (gitUsed bool, failed error) {
	if w == nil {
		return false, nil
	}
	signal.Stop(w.events)
	for _, f := range w.folders {
		f.Close()
	}
	close(w.ended)
	if w.done != nil {
		<-w.done
	}
	for _, f := range w.inside {
		f.Close()
	}
	return w.gitUsed, w.failed
}
