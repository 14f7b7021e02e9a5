package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/userns"
)

// watch renews covers. A mount on a file or a folder ends when the host replaces that by another, as
// editors do by rename and git does by removing and making anew; the payload would then see, or
// could write, what it must not. Between that and the new cover lies a moment in which it can: the
// notice says so, and what changed after is found at the end. The watch also notices that git is used.
//
// It uses directory notification (fcntl(2), F_NOTIFY) and not inotify: closing an inotify descriptor,
// which the end of this process does at the latest, takes the kernel 10 to 20 ms (it waits for a
// grace period and a delayed work; seen on 6.18), longer than all else in a short run. Where a kernel
// has none, it looks ten times a second.
type watch struct {
	places  []*watched
	project string
	folders map[fileID]*os.File
	events  chan os.Signal
	poll    <-chan time.Time
	notify  func(string)
	before  snapshot
	old     bool // no mount_setattr(2)
	process *userns.Process
	inside  map[userns.Slot]*os.File // the sandbox's user and mount namespaces
	gitUsed bool
	gitNew  bool // the project's .git was replaced
	failed  error
	ended   chan struct{}
	done    chan struct{}
}

// watched is a covered place.
type watched struct {
	Place
	hidden bool // else it is read-only
	anew   bool // it was covered again
	id     fileID
	held   *os.File // keeps the inode, so that its number is not used again
}

// fileID tells one file from another that has taken its name; zero when there is none.
type fileID struct{ device, inode uint64 }

// identify opens what is at a path now, without following a link, and tells which file it is.
func identify(path string) (fileID, *os.File) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fileID{}, nil
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		f.Close()
		return fileID{}, nil
	}
	return fileID{st.Dev, st.Ino}, f
}

// newWatch watches from before the start, so that nothing falls between. It is nil where there is
// nothing to watch.
func newWatch(s *Spec, before snapshot, notify func(string)) *watch {
	w := &watch{
		project: s.Project.Dir, notify: notify, before: before, old: s.Root.OldKernel,
		inside: map[userns.Slot]*os.File{}, folders: map[fileID]*os.File{}, ended: make(chan struct{}),
	}
	for _, place := range s.Project.Protected {
		w.add(place, false)
	}
	for _, place := range s.Project.Hidden {
		w.add(place, true)
	}
	if len(w.places) == 0 {
		return nil
	}
	// Before a signal is asked for, it has to be caught: one that comes too early is lost.
	w.events = make(chan os.Signal, 2)
	signal.Notify(w.events, fileSignal, gitSignal)
	w.arm()
	if s.Project.GitReadOnly {
		// A worktree's .git is a file; what git reads then is elsewhere, and is not watched.
		w.folder(filepath.Join(s.Project.Dir, ".git"), gitSignal, dnAccess)
	}
	return w
}

func (w *watch) add(place Place, hidden bool) {
	id, held := identify(place.Path)
	w.places = append(w.places, &watched{Place: place, hidden: hidden, id: id, held: held})
}

// arm watches the folder that each place lies in, or, where that is missing, the nearest above it.
func (w *watch) arm() {
	for _, p := range w.places {
		dir := filepath.Dir(p.Path)
		for !exists(dir) && dir != w.project && dir != "/" {
			dir = filepath.Dir(dir)
		}
		w.folder(dir, fileSignal, dnCreate|dnRename|dnMultishot)
	}
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

// folder asks for a signal at events in a folder, once for each folder.
func (w *watch) folder(dir string, sig unix.Signal, events int) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		w.poll = pollTicks(w.poll)
		return
	}
	f := os.NewFile(uintptr(fd), dir)
	var st unix.Stat_t
	unix.Fstat(fd, &st)
	id := fileID{st.Dev, st.Ino}
	if w.folders[id] != nil {
		f.Close()
		return
	}
	w.folders[id] = f
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETSIG, int(sig))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_NOTIFY, events)
	}
	if err != nil && sig == fileSignal {
		w.poll = pollTicks(w.poll)
	}
}

// pollTicks are for what cannot be watched: a folder that may not be read, a kernel without
// notification.
func pollTicks(running <-chan time.Time) <-chan time.Time {
	if running != nil {
		return running
	}
	return time.Tick(100 * time.Millisecond)
}

// atBarrier opens the namespaces while PID 1 still shows them.
func (w *watch) atBarrier() func(pid int) error {
	if w == nil {
		return nil
	}
	return func(pid int) error {
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

// pause is the least time between two looks: a payload that makes files in a loop must not keep the
// supervisor busy.
const pause = 5 * time.Millisecond

func (w *watch) listen() {
	defer close(w.done)
	for {
		select {
		case sig := <-w.events:
			if sig == gitSignal {
				w.gitUsed = true
				continue
			}
		case <-w.poll:
		case <-w.ended:
			return
		}
		w.look()
		time.Sleep(pause)
	}
}

// look finds out what has happened: a signal only says that something has.
func (w *watch) look() {
	for _, p := range w.places {
		id, held := identify(p.Path)
		if held == nil {
			continue
		}
		if id == p.id {
			held.Close()
			continue
		}
		p.held.Close()
		p.id, p.held = id, held
		w.cover(p)
	}
	w.arm()
}

// cover covers a place anew, in the sandbox's own namespaces. Where that fails the sandbox ends.
func (w *watch) cover(p *watched) {
	var st unix.Stat_t
	if w.failed != nil || unix.Fstat(int(p.held.Fd()), &st) != nil {
		return
	}
	for _, target := range p.Targets {
		steps := w.coverSteps(target, p.hidden, st.Mode&unix.S_IFMT == unix.S_IFDIR)
		err := userns.Run(&userns.Plan{Init: steps}, w.inside)
		if errors.Is(err, unix.ENOENT) {
			continue // replaced once more; that is an event of its own
		}
		if err != nil {
			w.failed = fmt.Errorf("%w; it was replaced while the sandbox ran, which has been ended", err)
			w.process.Kill()
			return
		}
	}
	w.tell(p)
}

func (w *watch) tell(p *watched) {
	if p.hidden {
		w.notify(p.Path + " came while the sandbox runs; it is hidden now, and may have been read before")
		return
	}
	p.anew = true
	w.gitNew = w.gitNew || filepath.Base(p.Path) == ".git"
	if w.before != nil {
		w.before.rebase(p.Path)
	}
	w.notify(p.Path + " was replaced while the sandbox runs; it is read-only again, and may have been written before")
}

// coverSteps lay a path read-only over itself, or something empty over it.
func (w *watch) coverSteps(target string, hidden, dir bool) []userns.Step {
	do := "covering " + target + " again"
	how := userns.How{Flags: unix.O_PATH | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS}
	steps := []userns.Step{
		userns.SetNS("entering the sandbox", "user", unix.CLONE_NEWUSER),
		userns.SetNS("entering the sandbox", "mnt", unix.CLONE_NEWNS),
		userns.Open(do, target, how).To("target"),
	}
	switch {
	case hidden && dir:
		steps = append(steps, userns.NewFilesystem(do, "tmpfs", "tree", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID,
			userns.MountOption{Key: "mode", Value: "0555"})...)
	case hidden:
		steps = append(steps, userns.Open(do, "/dev/null", how).To("source"), userns.CloneTree(do, "source", false).To("tree"))
	default:
		steps = append(steps, userns.Open(do, target, how).To("source"), userns.CloneTree(do, "source", true).To("tree"))
	}
	if !hidden && !w.old {
		steps = append(steps, userns.SetMountAttr(do, "tree", true, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV))
	}
	steps = append(steps, userns.MoveMount(do, "tree", "target"))
	if !hidden && w.old {
		steps = append(steps, userns.Mount(do, "", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV))
	}
	return steps
}

// replaced tells whether a path lies in a place that was covered again. What differs there at the end
// is the host's doing, or was written in the moment before the cover.
func (w *watch) replaced(path string) bool {
	return w != nil && slices.ContainsFunc(w.places, func(p *watched) bool { return p.anew && host.Within(path, p.Path) })
}

// stop ends the watch and tells what it saw.
func (w *watch) stop() (gitUsed bool, failed error) {
	if w == nil {
		return false, nil
	}
	close(w.ended)
	if w.done != nil {
		<-w.done
	}
	signal.Stop(w.events)
	for _, f := range w.folders {
		f.Close()
	}
	for _, f := range w.inside {
		f.Close()
	}
	for _, p := range w.places {
		p.held.Close()
	}
	return w.gitUsed, w.failed
}
