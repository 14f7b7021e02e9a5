package fuseoverlay

import (
	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Numbers under which fsconfig(2) is shown folders, by /proc/self/fd: its options are short, and so mean what
// was opened, whatever happens to the names meanwhile.
const (
	lowerFD   = 54
	changesFD = 55
	betweenFD = 56
)

const (
	// changesSlot holds the folder for what changes in a captured one.
	changesSlot userns.Slot = "changes"
	betweenSlot userns.Slot = "between"
)

// onlyFolder opens a folder of the host, through no link.
var onlyFolder = userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}

// Capturing begins what the steps that capture a folder are for; its path follows.
const Capturing = "holding back what changes in "

// capture shows a folder of the host that the payload changes only in appearance: by an overlay over it, or as
// a copy. Renaming folders that lie in the overlay's lower layer is EXDEV; a copy is a folder as any other.
func (b *builder) capture(e *Entry) {
	do := Capturing + e.Source
	b.mountPoint(e.Target, do, true)
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if e.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	if e.Own {
		b.kept[e.Target] = true
	} else {
		b.shown[e.Target] = true
	}
	if e.Copied {
		b.add(userns.Open(do, e.Upper+"/upper", onlyFolder).To(sourceSlot), userns.CloneTree(do, sourceSlot, false).To(treeSlot))
		b.lay(do, e.Target, false, attr, e.Mounts)
		b.close(do, sourceSlot, treeSlot)
		return
	}
	b.add(userns.Open(do, e.Source, onlyFolder).To(sourceSlot), userns.DupTo(do, sourceSlot, lowerFD))
	b.overlay(do, e, attr, "/proc/self/fd/"+decimal(lowerFD))
	b.close(do, sourceSlot)
	b.add(userns.CloseNumber(do, lowerFD))
}

// overlay lays changes over layers, the topmost first, with colons between them.
func (b *builder) overlay(do string, e *Entry, attr uint64, layers string) {
	b.add(userns.Open(do, e.Upper, onlyFolder).To(changesSlot), userns.DupTo(do, changesSlot, changesFD))
	b.add(userns.NewFilesystem(do, "overlay", treeSlot, attr,
		userns.MountOption{Key: "userxattr"},
		userns.MountOption{Key: "xino", Value: "off"}, // with it, numbers of files would not be those that git has noted
		userns.MountOption{Key: "lowerdir", Value: layers},
		userns.MountOption{Key: "upperdir", Value: "/proc/self/fd/" + decimal(changesFD) + "/upper"},
		userns.MountOption{Key: "workdir", Value: "/proc/self/fd/" + decimal(changesFD) + "/work"})...)
	b.attach(do, e.Target)
	b.close(do, changesSlot, treeSlot)
	b.add(userns.CloseNumber(do, changesFD))
}

// Caching begins what the steps that lay out a cache are for; its path follows.
const Caching = "showing the cache "

// cache shows a folder of the host under changes that other projects and the host do not see.
func (b *builder) cache(e *Entry) {
	do := Caching + e.Target
	b.mountPoint(e.Target, do, true)
	b.shown[e.Target] = true
	b.add(userns.Open(do, e.Source, onlyFolder).To(sourceSlot), userns.DupTo(do, sourceSlot, lowerFD))
	layers := "/proc/self/fd/" + decimal(lowerFD)
	if e.Between != "" {
		b.add(userns.Open(do, e.Between, onlyFolder).To(betweenSlot), userns.DupTo(do, betweenSlot, betweenFD))
		layers = "/proc/self/fd/" + decimal(betweenFD) + ":" + layers
	}
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if e.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	b.overlay(do, e, attr, layers)
	b.close(do, sourceSlot)
	b.add(userns.CloseNumber(do, lowerFD))
	if e.Between != "" {
		b.close(do, betweenSlot)
		b.add(userns.CloseNumber(do, betweenFD))
	}
}
