// Package fuseoverlay assembles root file systems.
//
// A Root is a list of entries, in the order in which they are laid; Steps turns it into the part
// of a plan that builds it in memory, makes it the root and lets the old one go. Today the entries
// are the host's own folders, files made in memory, and the kernel's file systems; layers of
// images come here as well. The package decides nothing about what is shown: that is the spec's.
package fuseoverlay

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Kind says what an entry of a root file system is.
type Kind string

// The kinds of entry.
const (
	Bind     Kind = "bind"      // a host path, with all that is mounted below it
	Scratch  Kind = "scratch"   // an empty folder in memory that the payload may write to
	Kept     Kind = "kept"      // a folder of the sandbox's own on disk, in place of one in memory
	Capture  Kind = "capture"   // a folder of the host, changed only in appearance
	Cache    Kind = "cache"     // a folder of the host, under changes that are kept for one project
	Symlink  Kind = "symlink"   // a symbolic link
	File     Kind = "file"      // a file with this content, read-only
	Device   Kind = "device"    // a device node of the host
	HideFile Kind = "hide-file" // an empty file laid over one that is not to be seen
	HideDir  Kind = "hide-dir"  // an empty folder laid over one that is not to be seen
	Lock     Kind = "lock"      // what is there by now, read-only
	Proc     Kind = "proc"      // a proc of the sandbox's own PID namespace
	Pts      Kind = "devpts"    // a devpts of the sandbox's own
	Cgroup   Kind = "cgroup2"   // the cgroups of the sandbox's own cgroup namespace, read-only
)

// Entry is one part of a root file system.
type Entry struct {
	Kind Kind `json:"kind"`
	// Target is where it lies inside: absolute, clean, free of symlinks.
	Target string `json:"target"`
	// Source is the host path of a bind or a device: absolute, clean, free of symlinks. The walk
	// opens it that way, so one that has become a symlink since ends the run.
	Source string `json:"source,omitempty"`
	// Writable leaves a bind as writable as the host's mount is.
	Writable bool `json:"writable,omitempty"`
	// Content is that of a file, or what a symlink points to.
	Content string `json:"content,omitempty"`
	// Mode is the permission bits of what is made in memory; of a bind, the type bits of its source.
	Mode uint32 `json:"mode,omitempty"`
	// Mounts are the mounts at and below the source of a bind, which Steps needs where the kernel
	// has no mount_setattr(2).
	Mounts []Submount `json:"mounts,omitempty"`
	// Upper is the folder for what changes in a captured folder, which is Source: with "upper" and "work" in
	// it for an overlay, or, if it is Copied, with the copy as "upper". It is known when the sandbox has a folder.
	Upper  string `json:"upper,omitempty"`
	Copied bool   `json:"copied,omitempty"`
	// Between is a further layer of a cache, between the host's folder and Upper.
	Between string `json:"between,omitempty"`
	// NoExec keeps noexec on a captured folder that has it.
	NoExec bool `json:"noexec,omitempty"`
	// Own says that a captured folder is the sandbox's own, not one of the host's: what other entries are laid over
	// is made in it where it is missing, as in a Kept one.
	Own bool `json:"own,omitempty"`
}

// Shows tells whether the entry shows a folder or file of the host as it is there.
func (e *Entry) Shows() bool { return e.Kind == Bind || e.Kind == Capture && !e.Own || e.Kind == Cache }

// Folder tells whether it is laid over a folder, not a file or a link.
func (e *Entry) Folder() bool {
	switch e.Kind {
	case Symlink, File, Device, HideFile:
		return false
	case Bind:
		return e.Mode&unix.S_IFMT == unix.S_IFDIR
	}
	return true
}

// Submount is a mount at or below the source of a bind.
type Submount struct {
	Path string `json:"path"` // below the source; "." for the source itself
	// Flags are the mount(2) flags that are locked in a user namespace.
	Flags uintptr `json:"flags"`
}

// Root is a root file system.
type Root struct {
	Entries []Entry `json:"entries"`
	// First is how many of the entries every sandbox of this user has. Their steps come first.
	First int `json:"-"`
	// Size in bytes and Inodes bound all that is in memory, together.
	Size   uint64 `json:"size"`
	Inodes uint64 `json:"inodes"`
	// Resize, if not 0, takes the place of Size once the first entries are laid: those are the same whatever the
	// sandbox may use.
	Resize uint64 `json:"resize,omitempty"`
	// TTYGroup says that group 5, tty, is in the id map, so that devpts can use it.
	TTYGroup bool `json:"tty_group"`
	// OuterProc lets the outer /proc serve where the kernel refuses a fresh one.
	OuterProc bool `json:"outer_proc"`
	// OldKernel says that mount_setattr(2) is missing.
	OldKernel bool `json:"old_kernel,omitempty"`
	// Overlay, if there is one, is what all else is laid on: the layers of an image, or a folder.
	Overlay *Overlay `json:"overlay,omitempty"`
}

// Slots of the plan.
const (
	rootSlot   userns.Slot = "root"
	sourceSlot userns.Slot = "source"
	treeSlot   userns.Slot = "tree"
	targetSlot userns.Slot = "target"
	procSlot   userns.Slot = "proc"
	cgroupSlot userns.Slot = "cgroup"
	parentSlot userns.Slot = "parent"
	// PtsSlot holds the sandbox's own devpts.
	PtsSlot userns.Slot = "pts"
)

// passingDir is made for a moment in the new root, to be laid over something.
const passingDir = ".sbx-dir"

// shutDir holds the folders and files in memory that are laid over those of the host.
const shutDir = "/.sbx"

// insideRoot resolves a path of the new root without following anything that could lead out of it.
const insideRoot = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// builder collects the steps of a root.
type builder struct {
	root  *Root
	steps []userns.Step
	// made are the folders of the new root that lie in memory and exist.
	made map[string]bool
	// shown are the targets below which nothing may be made: they belong to the host.
	shown map[string]bool
	// kept are the targets of folders on disk that the payload has written to: what lies below them
	// is its own doing, links included.
	kept map[string]bool
	// hidden counts the folders in shutDir.
	hidden uint64
	// on is the root in which targets are found.
	on userns.Slot
	// image is what only a root of layers needs.
	image *imageBuilder
}

// Steps are the parts of a plan that build the root and enter it: first lays the first entries, rest the
// others. Before them the plan must have written its id maps; between them absolute paths still lead to
// the old root; after them the working folder is the new one.
func (r *Root) Steps() (first, rest []userns.Step) {
	if r.Overlay != nil {
		return r.overlaySteps()
	}
	b := r.newBuilder()
	b.steps = make([]userns.Step, 0, stepsPerEntry*(len(r.Entries)+4))
	b.begin()
	for i := range r.Entries[:r.First] {
		b.entry(&r.Entries[i])
	}
	n := len(b.steps)
	if r.Resize > 0 {
		b.add(userns.ReconfigureFilesystem("limiting what is in memory", rootSlot, userns.MountOption{Key: "size", Value: decimal(r.Resize)})...)
	}
	for i := range r.Entries[r.First:] {
		b.entry(&r.Entries[r.First+i])
	}
	b.enter()
	return b.steps[:n:n], b.steps[n:]
}

func (r *Root) newBuilder() *builder {
	return &builder{root: r, made: map[string]bool{"/": true}, shown: map[string]bool{}, kept: map[string]bool{}, on: rootSlot}
}

// stepsPerEntry is about as many as most entries take: memory that is not grown bit by bit.
const stepsPerEntry = 9

func (b *builder) add(steps ...userns.Step) { b.steps = append(b.steps, steps...) }

// begin makes the file system in memory on which all lies. It is attached over the old root, since
// mounts move only onto a mount of this namespace; absolute paths go on leading to the old root.
func (b *builder) begin() {
	const do = "making the root file system"
	b.add(userns.Mount("cutting mount propagation", "", "/", "", unix.MS_REC|unix.MS_PRIVATE))
	b.add(userns.Umask(do, 0))
	b.add(userns.NewFilesystem(do, "tmpfs", rootSlot, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV,
		userns.MountOption{Key: "mode", Value: "0755"},
		userns.MountOption{Key: "size", Value: decimal(b.root.Size)},
		userns.MountOption{Key: "nr_inodes", Value: decimal(b.root.Inodes)})...)
	b.add(userns.MoveMountTo(do, rootSlot, "/"))
}

// enter makes the new root read-only and the root, and lets the old one go.
func (b *builder) enter() {
	const do = "entering the root file system"
	b.add(userns.Fchdir(do, rootSlot))
	if b.root.OldKernel {
		b.add(userns.Mount(do, "", ".", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV))
	} else {
		b.add(userns.SetMountAttr(do, rootSlot, false, unix.MOUNT_ATTR_RDONLY))
	}
	b.add(userns.PivotRoot(do))
	b.add(userns.Detach("detaching the old root", "."))
	b.add(userns.Chdir(do, "/"))
}

func (b *builder) entry(e *Entry) {
	switch e.Kind {
	case Bind:
		b.bind(e)
	case Scratch:
		b.scratch(e)
	case Kept:
		b.keep(e)
	case Capture:
		b.capture(e)
	case Cache:
		b.cache(e)
	case Symlink:
		if b.image != nil {
			return // made already
		}
		b.parents(e.Target)
		b.link(e)
	case File:
		b.file(e)
	case Device:
		b.device(e)
	case HideFile:
		b.hideFile(e)
	case HideDir:
		b.hideDir(e)
	case Lock:
		b.lock(e)
	case Proc:
		b.proc(e)
	case Pts:
		b.pts(e)
	case Cgroup:
		b.cgroup(e)
	}
}

var pathOnly = userns.How{Flags: unix.O_PATH, Resolve: unix.RESOLVE_NO_SYMLINKS}

// bind shows a host path.
func (b *builder) bind(e *Entry) {
	do := "showing " + e.Source
	b.mountPoint(e.Target, do, e.Mode&unix.S_IFMT == unix.S_IFDIR)
	b.add(userns.Open(do, e.Source, pathOnly).To(sourceSlot),
		userns.CloneTree(do, sourceSlot, true).To(treeSlot))
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if !e.Writable {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	b.lay(do, e.Target, true, attr, e.Mounts)
	b.close(do, sourceSlot, treeSlot)
	b.shown[e.Target] = true
}

// own are the flags of mounts of the root's own file system in memory.
var own = []Submount{{Path: ".", Flags: unix.MS_NODEV}}

// lay attaches the detached mount in treeSlot over a path that exists in the new root, with these
// attributes. mounts are those that the tree consists of.
func (b *builder) lay(do, target string, recursive bool, attr uint64, mounts []Submount) {
	if !b.root.OldKernel {
		b.add(userns.SetMountAttr(do, treeSlot, recursive, attr))
	}
	b.attach(do, target)
	if b.root.OldKernel {
		b.remount(do, attr, mounts)
	}
}

// attach attaches the detached mount in treeSlot.
func (b *builder) attach(do, target string) { b.attachFrom(do, treeSlot, target) }

func (b *builder) attachFrom(do string, tree userns.Slot, target string) {
	b.add(userns.OpenAt(do, b.on, relative(target), userns.How{Flags: unix.O_PATH | unix.O_NOFOLLOW, Resolve: insideRoot}).To(targetSlot),
		userns.MoveMount(do, tree, targetSlot),
		userns.Close(do, targetSlot))
}

// close closes descriptors that are not needed any more: a plan has more mounts than some users may
// have files open.
func (b *builder) close(do string, slots ...userns.Slot) {
	for _, s := range slots {
		b.add(userns.Close(do, s))
	}
}

// mountFD is the number under which the old mount(2) is shown a mount, by /proc/self/fd.
const mountFD = 40

// remount sets attributes mount by mount, by mount(2): the way before mount_setattr(2). The flags
// that a mount has must be said again, since the kernel locks them in a user namespace.
func (b *builder) remount(do string, attr uint64, mounts []Submount) {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID)
	if attr&unix.MOUNT_ATTR_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	if attr&unix.MOUNT_ATTR_NODEV != 0 {
		flags |= unix.MS_NODEV
	}
	for _, m := range mounts {
		slot := treeSlot
		if m.Path != "." {
			slot = "submount"
			b.add(userns.OpenAt(do, treeSlot, m.Path, userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(slot))
		}
		b.add(userns.DupTo(do, slot, mountFD),
			userns.Mount(do, "", "/proc/self/fd/"+decimal(mountFD), "", flags|m.Flags))
		if m.Path != "." {
			b.close(do, slot)
		}
	}
}

// mountPoint makes what a mount is laid over, where that lies in memory. In a folder of the host
// nothing is made: what is not there cannot be mounted over.
func (b *builder) mountPoint(target, do string, dir bool) {
	if b.image != nil || b.onHost(target) {
		return
	}
	if dir {
		b.folder(target, 0o755)
		return
	}
	b.parents(target)
	b.inParent(target, do, func(dir userns.Slot, name string) {
		create := userns.CreateFile(do, dir, name, 0o644, sourceSlot)
		if dir == parentSlot { // what is there already may be a FIFO, which nobody writes to
			create = userns.OpenAt(do, dir, name, userns.How{Flags: unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK, Mode: 0o644, Resolve: insideRoot}).To(sourceSlot)
		}
		b.add(create, userns.Close(do, sourceSlot))
	})
}

// inParent calls make with the folder that a path lies in and its name there. Below a kept folder that is
// opened first, without following what an earlier payload may have put in its place.
func (b *builder) inParent(target, do string, make func(dir userns.Slot, name string)) {
	if !b.belowKept(target) {
		make(rootSlot, relative(target))
		return
	}
	b.add(userns.OpenAt(do, rootSlot, relative(path.Dir(target)), userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: insideRoot}).To(parentSlot))
	make(parentSlot, path.Base(target))
	b.close(do, parentSlot)
}

// belowKept tells whether a path lies in a kept folder.
func (b *builder) belowKept(target string) bool {
	for p := path.Dir(target); p != "/"; p = path.Dir(p) {
		if b.kept[p] {
			return true
		}
	}
	return false
}

// link makes a symbolic link. In a kept folder one may be there from the last time, or what the payload
// has put in its place.
func (b *builder) link(e *Entry) {
	do := "linking " + e.Target
	b.inParent(e.Target, do, func(dir userns.Slot, name string) {
		step := userns.Symlink(do, e.Content, dir, name)
		if dir == parentSlot {
			step = step.Tolerate(unix.EEXIST)
		}
		b.add(step)
	})
}

// keep shows a folder of the sandbox's own on disk.
func (b *builder) keep(e *Entry) {
	do := "showing what is kept of " + e.Target
	b.folder(e.Target, 0o755)
	b.add(userns.Open(do, e.Source, pathOnly).To(sourceSlot), userns.CloneTree(do, sourceSlot, false).To(treeSlot))
	b.lay(do, e.Target, false, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, e.Mounts)
	b.close(do, sourceSlot, treeSlot)
	b.kept[e.Target] = true
}

// onHost tells whether a path lies in a folder that a bind shows.
func (b *builder) onHost(target string) bool {
	for p := target; p != "/" && !b.kept[p]; p = path.Dir(p) {
		if b.shown[p] {
			return true
		}
	}
	return false
}

func (b *builder) parents(target string) { b.folder(path.Dir(target), 0o755) }

// folder makes a folder in memory, with those above it.
func (b *builder) folder(target string, mode uint32) {
	if b.image != nil || b.made[target] || b.onHost(target) {
		return
	}
	b.parents(target)
	b.made[target] = true
	do := "making " + target
	b.inParent(target, do, func(dir userns.Slot, name string) { b.add(userns.Mkdir(do, dir, name, mode)) })
}

// scratch is a folder of the root's file system laid over itself, since the root is read-only; or
// over a folder of the host, or one on disk, from a place that the payload cannot enter.
func (b *builder) scratch(e *Entry) {
	do := "making " + e.Target
	source := e.Target
	if b.image != nil {
		source = b.image.scratch[e.Target]
	} else if b.onHost(e.Target) || b.belowKept(e.Target) {
		b.mountPoint(e.Target, do, true)
		b.folder(shutDir, 0)
		b.hidden++
		source = shutDir + "/" + decimal(b.hidden)
	}
	b.folder(source, e.Mode)
	b.add(userns.OpenAt(do, rootSlot, relative(source), userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(sourceSlot),
		userns.CloneTree(do, sourceSlot, true).To(treeSlot))
	b.attach(do, e.Target)
	b.close(do, sourceSlot, treeSlot)
}

// file makes a file in memory, and lays it over the host's one where it is to replace that.
func (b *builder) file(e *Entry) {
	do := "writing " + e.Target
	if b.image != nil && !b.onHost(e.Target) {
		return // made already
	}
	if !b.onHost(e.Target) {
		b.parents(e.Target)
		b.write(do, relative(e.Target), e)
		return
	}
	// It keeps a name, where the payload cannot enter: over a file without one a sandbox inside could lay nothing.
	shut := "/" + heldFolder
	if b.image == nil {
		shut = shutDir
		b.folder(shutDir, 0)
	}
	b.hidden++
	name := relative(shut) + "/" + decimal(b.hidden)
	b.write(do, name, e)
	b.add(userns.OpenAt(do, rootSlot, name, userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(sourceSlot),
		userns.CloneTree(do, sourceSlot, false).To(treeSlot))
	b.lay(do, e.Target, false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID, own)
	b.close(do, sourceSlot, treeSlot)
}

func (b *builder) write(do, name string, e *Entry) {
	b.add(userns.CreateFile(do, rootSlot, name, e.Mode, sourceSlot),
		userns.Write(do, sourceSlot, e.Content),
		userns.Close(do, sourceSlot))
}

// device shows one device node. Its mount must keep devices working, so nodev is not set.
func (b *builder) device(e *Entry) {
	do := "showing " + e.Source
	b.mountPoint(e.Target, do, false)
	b.add(userns.Open(do, e.Source, pathOnly).To(sourceSlot), userns.CloneTree(do, sourceSlot, false).To(treeSlot))
	b.attach(do, e.Target)
	b.close(do, sourceSlot, treeSlot)
	b.shown[e.Target] = true
}

// hideFile lays the null device over a file: it reads as empty, and cannot be connected to. A file
// that has gone since the spec was made needs no cover.
func (b *builder) hideFile(e *Entry) {
	do := "hiding " + e.Target
	how := userns.How{Flags: unix.O_PATH | unix.O_NOFOLLOW, Resolve: insideRoot}
	b.add(userns.Open(do, "/dev/null", pathOnly).To(sourceSlot), userns.CloneTree(do, sourceSlot, false).To(treeSlot),
		userns.OpenAt(do, b.on, relative(e.Target), how).Tolerate(unix.ENOENT).To(targetSlot),
		userns.MoveMount(do, treeSlot, targetSlot).Unless(targetSlot, unix.ENOENT),
		userns.Close(do, targetSlot).Unless(targetSlot, unix.ENOENT))
	b.close(do, sourceSlot, treeSlot)
}

// hideDir lays an empty folder, whose own name is then removed, over a folder.
func (b *builder) hideDir(e *Entry) {
	do := "hiding " + e.Target
	b.add(userns.Mkdir(do, rootSlot, passingDir, 0o555),
		userns.OpenAt(do, rootSlot, passingDir, userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(sourceSlot),
		userns.CloneTree(do, sourceSlot, false).To(treeSlot))
	b.lay(do, e.Target, false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID, own)
	b.close(do, sourceSlot, treeSlot)
	b.add(userns.Rmdir(do, rootSlot, passingDir))
}

// proc mounts a fresh proc. The kernel refuses that where the outer one has mounts over parts of
// it (mount_too_revealing, fs/namespace.c); there the outer one serves, if the spec allows it.
func (b *builder) proc(e *Entry) {
	do := "mounting proc"
	b.folder(e.Target, 0o555)
	steps := userns.NewFilesystem(do, "proc", procSlot, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if b.root.OuterProc && !b.root.OldKernel {
		mount := &steps[len(steps)-2] // the last one closes the context
		*mount = mount.Tolerate(unix.EPERM).Notice()
		steps = append(steps, outerProc()...)
	}
	b.add(steps...)
	b.attachFrom(do, procSlot, e.Target)
	b.shown[e.Target] = true
}

// outerProc takes the outer proc where the kernel refused a fresh one, read-only: its files belong
// to processes outside.
func outerProc() []userns.Step {
	const do = "showing the outer proc"
	attr := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	return []userns.Step{
		userns.Open(do, "/proc", pathOnly).To(sourceSlot).If(procSlot, unix.EPERM),
		userns.CloneTree(do, sourceSlot, true).To("outer").If(procSlot, unix.EPERM),
		userns.SetMountAttr(do, "outer", true, attr).If(procSlot, unix.EPERM),
		userns.Move("outer", procSlot).If(procSlot, unix.EPERM),
	}
}

// lock lays what is at a place over itself, read-only. What is not there needs none.
func (b *builder) lock(e *Entry) {
	do := "locking " + e.Target
	how := userns.How{Flags: unix.O_PATH | unix.O_NOFOLLOW, Resolve: insideRoot}
	b.add(userns.OpenAt(do, b.on, relative(e.Target), how).Tolerate(unix.ENOENT).To(targetSlot),
		userns.CloneTree(do, targetSlot, true).To(treeSlot).Unless(targetSlot, unix.ENOENT))
	if b.root.OldKernel {
		b.add(userns.MoveMount(do, treeSlot, targetSlot).Unless(targetSlot, unix.ENOENT),
			userns.DupTo(do, treeSlot, mountFD).Unless(targetSlot, unix.ENOENT),
			userns.Mount(do, "", "/proc/self/fd/"+decimal(mountFD), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC).Unless(targetSlot, unix.ENOENT))
	} else {
		b.add(userns.SetMountAttr(do, treeSlot, true, unix.MOUNT_ATTR_RDONLY).Unless(targetSlot, unix.ENOENT),
			userns.MoveMount(do, treeSlot, targetSlot).Unless(targetSlot, unix.ENOENT))
	}
	b.add(userns.Close(do, treeSlot).Unless(targetSlot, unix.ENOENT), userns.Close(do, targetSlot).Unless(targetSlot, unix.ENOENT))
}

// pts mounts a devpts of the sandbox's own: devpts in Documentation/filesystems.
func (b *builder) pts(e *Entry) {
	do := "mounting devpts"
	b.folder(e.Target, 0o755)
	options := []userns.MountOption{{Key: "newinstance"}, {Key: "ptmxmode", Value: "0666"}, {Key: "mode", Value: "0620"}}
	if b.root.TTYGroup {
		options = append(options, userns.MountOption{Key: "gid", Value: "5"})
	}
	b.add(userns.NewFilesystem(do, "devpts", PtsSlot, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options...)...)
	b.attachFrom(do, PtsSlot, e.Target)
	b.shown[e.Target] = true
}

// cgroup mounts the tree of cgroups below the sandbox's own. It belongs only to a sandbox that has a cgroup of its own:
// else the tree would be that of the caller's session (cgroup_namespaces(7)). It is read-only, since what the caller may
// write there, the payload's user may too.
func (b *builder) cgroup(e *Entry) {
	do := "mounting cgroups"
	b.folder(e.Target, 0o755)
	attr := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	b.add(userns.NewFilesystem(do, "cgroup2", cgroupSlot, attr)...)
	b.attachFrom(do, cgroupSlot, e.Target)
	b.close(do, cgroupSlot)
	b.shown[e.Target] = true
}

func relative(target string) string { return strings.TrimPrefix(target, "/") }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
