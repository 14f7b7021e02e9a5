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
)

// changesSlot holds the folder for what changes in a captured one.
const changesSlot userns.Slot = "changes"

// Capturing begins what the steps that capture a folder are for; its path follows.
const Capturing = "holding back what changes in "

// capture shows a folder of the host that the payload changes only in appearance: by an overlay over it, or as
// a copy. Renaming folders that lie in the overlay's lower layer is EXDEV; a copy is a folder as any other.
func (b *builder) capture(e *Entry) {
	do := Capturing + e.Source
	folder := userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}
	b.mountPoint(e.Target, do, true)
	attr := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if e.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	b.shown[e.Target] = true
	if e.Copied {
		b.add(userns.Open(do, e.Upper+"/upper", folder).To(sourceSlot), userns.CloneTree(do, sourceSlot, false).To(treeSlot))
		b.lay(do, e.Target, false, attr, e.Mounts)
		b.close(do, sourceSlot, treeSlot)
		return
	}
	b.add(userns.Open(do, e.Source, folder).To(sourceSlot), userns.Open(do, e.Upper, folder).To(changesSlot),
		userns.DupTo(do, sourceSlot, lowerFD), userns.DupTo(do, changesSlot, changesFD))
	b.add(userns.NewFilesystem(do, "overlay", treeSlot, attr,
		userns.MountOption{Key: "userxattr"},
		userns.MountOption{Key: "xino", Value: "off"}, // with it, numbers of files would not be those that git has noted
		userns.MountOption{Key: "lowerdir", Value: "/proc/self/fd/" + decimal(lowerFD)},
		userns.MountOption{Key: "upperdir", Value: "/proc/self/fd/" + decimal(changesFD) + "/upper"},
		userns.MountOption{Key: "workdir", Value: "/proc/self/fd/" + decimal(changesFD) + "/work"})...)
	b.attach(do, e.Target)
	b.close(do, sourceSlot, changesSlot, treeSlot)
	b.add(userns.CloseNumber(do, lowerFD), userns.CloseNumber(do, changesFD))
}
