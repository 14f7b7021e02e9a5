package fuseoverlay

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Overlay is a root of layers: an image's, or one folder that is not written to. Between them and the
// upper lies a layer of the sandbox's own, in memory: the files it generates, and all mount points.
// Since it is the topmost of the lower ones, what an image has at these places, links that lead
// elsewhere above all, is not there for the mounts to follow.
type Overlay struct {
	// Folder holds the layers; Layers are paths below it, the topmost first. "." is the folder itself.
	Folder string   `json:"folder"`
	Layers []string `json:"layers"`
	// Upper is the folder with the sandbox's own changes: in it are "upper" and "work".
	Upper string `json:"upper"`
	// OtherUser says that the payload is not user 0 inside, and that there is one: to it the root and what
	// is made on it belong.
	OtherUser bool `json:"other_user,omitempty"`
	// UID and GID are the payload's.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Fuse says that fuse-overlayfs, and not the kernel, lays the layers over each other.
	Fuse bool `json:"fuse,omitempty"`
	// SetUID says that set-user-ID programs of the layers, and their files' capabilities, have effect.
	SetUID bool `json:"set_uid,omitempty"`
	// Folders are made where the layers have none: the working folder, /tmp.
	Folders []Folder `json:"folders,omitempty"`
}

// Folder is one to be made, with those above it.
type Folder struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
}

// Slots and parts of the file system in memory below a root of layers.
const (
	layersSlot userns.Slot = "layers"
	upperSlot  userns.Slot = "upper"
	baseSlot   userns.Slot = "base"

	initFolder = "init" // the layer of the sandbox's own
	baseFolder = "root" // where the overlay is mounted
	heldFolder = "held" // folders in memory that are laid over the root
)

// Numbers under which mount(2) is shown folders, by /proc/self/fd: options and paths are then short,
// and mean what was opened, whatever happens to the names meanwhile.
const (
	memoryFD = 50
	upperFD  = 51
	baseFD   = 52
)

// imageBuilder is what building a root of layers has to remember.
type imageBuilder struct {
	// scratch are the folders in memory behind targets.
	scratch map[string]string
}

// overlaySteps build a root of layers and enter it. The first make what every such root begins with.
func (r *Root) overlaySteps() (first, rest []userns.Step) {
	b := r.newBuilder()
	b.steps = make([]userns.Step, 0, stepsPerEntry*(len(r.Entries)+8))
	b.begin()
	n := len(b.steps)
	if r.Resize > 0 {
		b.add(userns.ReconfigureFilesystem("limiting what is in memory", rootSlot, userns.MountOption{Key: "size", Value: decimal(r.Resize)})...)
	}
	b.prepareLayer()
	b.mountOverlay()
	for i := range r.Entries {
		b.entry(&r.Entries[i])
	}
	b.enterOverlay()
	return b.steps[:n:n], b.steps[n:]
}

// prepareLayer makes the sandbox's own layer, and the folders in memory: all that has to be there before
// the overlay is mounted, since its layers must not change under it.
func (b *builder) prepareLayer() {
	const do = "making the sandbox's own layer"
	o := b.root.Overlay
	if o.OtherUser {
		b.add(userns.SetFilesystemIDs(do, 0, 0)...)
	}
	for _, name := range []string{initFolder, baseFolder, heldFolder} {
		b.add(userns.Mkdir(do, rootSlot, name, 0o755))
		b.made["/"+name] = true
	}
	if o.Fuse {
		b.layerOnDisk()
	}
	places := placing{scratch: map[string]string{}, binds: map[string]bool{}}
	for i := range b.root.Entries {
		b.prepare(&b.root.Entries[i], &places)
	}
	if o.OtherUser {
		// Back again the kernel takes capabilities over files away, which the mounts need (setfsuid(2)).
		b.add(userns.SetFilesystemIDs(do, o.UID, o.GID)...)
		b.add(userns.SetCapabilities(do, ^uint64(0), ^uint64(0)))
		// And shuts the process to its own user (prctl(2), PR_SET_DUMPABLE), for whom slirp4netns and pasta still enter its
		// network. Nothing foreign runs yet.
		b.add(userns.Prctl(do, unix.PR_SET_DUMPABLE, 1, "PR_SET_DUMPABLE"))
	}
	b.image = &imageBuilder{places.scratch}
}

// layerOnDisk lays a folder beside the upper where the sandbox's own layer is made: fuse-overlayfs, outside,
// sees no memory of the sandbox.
func (b *builder) layerOnDisk() {
	const do = "making the sandbox's own layer"
	b.add(userns.Open(do, b.root.Overlay.Upper+"/"+initFolder, userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}).To(sourceSlot),
		userns.CloneTree(do, sourceSlot, false).To(treeSlot),
		userns.OpenAt(do, rootSlot, initFolder, userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(targetSlot),
		userns.MoveMount(do, treeSlot, targetSlot))
	b.close(do, sourceSlot, treeSlot, targetSlot)
}

// placing finds where in memory something of the new root is to be made.
type placing struct {
	scratch map[string]string // target of a folder in memory: where it lies
	binds   map[string]bool   // targets of the host's folders, in which nothing is made
}

// of is the place of a target in memory; "" where it lies on the host.
func (p *placing) of(target string) string {
	for at := target; at != "/"; at = path.Dir(at) {
		if p.binds[at] {
			return ""
		}
		if held, ok := p.scratch[at]; ok {
			return held + strings.TrimPrefix(target, at)
		}
	}
	return "/" + initFolder + target
}

// prepare makes what an entry needs in memory.
func (b *builder) prepare(e *Entry, p *placing) {
	place := p.of(e.Target)
	do := "making " + e.Target
	switch {
	case e.Kind == HideFile, e.Kind == HideDir, e.Kind == Lock:
	case e.Kind == Scratch:
		if place != "" {
			b.folder(place, 0o755)
		}
		b.hidden++
		held := "/" + heldFolder + "/" + decimal(b.hidden)
		b.scratchFolder(e, do, held)
		p.scratch[e.Target] = held
	case place == "":
	case e.Kind == Symlink:
		b.parents(place)
		b.add(userns.Symlink(do, e.Content, rootSlot, relative(place)))
	case e.Kind == File:
		b.parents(place)
		b.write("writing "+e.Target, relative(place), e)
	case e.Kind == Device, e.Kind == Bind && e.Mode&unix.S_IFMT != unix.S_IFDIR:
		b.parents(place)
		b.add(userns.CreateFile(do, rootSlot, relative(place), 0o644, sourceSlot), userns.Close(do, sourceSlot))
	default:
		b.folder(place, 0o755)
	}
	if e.Shows() || e.Kind == Device {
		p.binds[e.Target] = true
	}
}

// scratchFolder makes a folder in memory that belongs to the payload.
func (b *builder) scratchFolder(e *Entry, do, held string) {
	b.folder(held, e.Mode)
	if o := b.root.Overlay; o.OtherUser {
		b.add(userns.OpenAt(do, rootSlot, relative(held), userns.How{Flags: unix.O_PATH, Resolve: insideRoot}).To(targetSlot),
			userns.Chown(do, targetSlot, o.UID, o.GID), userns.Close(do, targetSlot))
	}
}

// MountingLayers is what the steps that mount an overlay are for.
const MountingLayers = "mounting the layers"

// onePage is what mount(2) takes of options, in bytes, on machines with the smallest pages.
const onePage = 4096

// mountOverlay lays the upper over the layers.
func (b *builder) mountOverlay() {
	const do = MountingLayers
	o := b.root.Overlay
	folder := userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}
	b.add(userns.Open("opening the layers in "+o.Folder, o.Folder, folder).To(layersSlot),
		userns.Open("opening "+o.Upper, o.Upper, folder).To(upperSlot))
	if o.OtherUser {
		b.add(userns.OpenAt(do, upperSlot, "upper", folder).To(targetSlot),
			userns.Chown(do, targetSlot, 0, 0), userns.Close(do, targetSlot))
	}
	b.add(userns.OpenAt(do, rootSlot, baseFolder, folder).To(targetSlot),
		userns.DupTo(do, rootSlot, memoryFD), userns.DupTo(do, upperSlot, upperFD), userns.DupTo(do, targetSlot, baseFD),
		userns.Close(do, targetSlot), userns.Fchdir(do, layersSlot))
	if o.Fuse {
		b.mountFuse()
	} else if options := o.options(); len(options) < onePage {
		b.add(userns.MountOverlay(do, "/proc/self/fd/"+decimal(baseFD), options, o.mountFlags()))
	} else {
		// The attributes that fsmount(2) takes have the numbers of these flags (include/uapi/linux/mount.h).
		b.add(userns.NewFilesystem(do, "overlay", treeSlot, uint64(o.mountFlags()), o.manyOptions()...)...)
		b.add(userns.OpenAt(do, rootSlot, baseFolder, folder).To(targetSlot), userns.MoveMount(do, treeSlot, targetSlot), userns.Close(do, targetSlot), userns.Close(do, treeSlot))
	}
	b.add(userns.OpenAt(do, rootSlot, baseFolder, folder).To(baseSlot))
	b.close(do, layersSlot, upperSlot)
	b.on = baseSlot
}

// mountFlags are those of the mount of the layers. All else that the root consists of is nosuid always: the host's folders
// above all, whose files of sub-ids may be set-user-ID too.
func (o *Overlay) mountFlags() uintptr {
	if o.SetUID {
		return unix.MS_NODEV
	}
	return unix.MS_NOSUID | unix.MS_NODEV
}

// FuseSlot is what is handed out to whoever serves the layers by fuse: the connection.
const FuseSlot userns.Slot = "fuse"

const fuseFD = 53

// mountFuse mounts what fuse-overlayfs serves, hands the connection out, and waits until it is served. The
// server lives outside of the sandbox: it could else be seen from inside, and would keep its own mount.
func (b *builder) mountFuse() {
	const do = "mounting the layers by fuse-overlayfs"
	o := b.root.Overlay
	b.add(userns.Open("opening /dev/fuse", "/dev/fuse", userns.How{Flags: unix.O_RDWR, Resolve: unix.RESOLVE_NO_SYMLINKS}).To(FuseSlot),
		userns.DupTo(do, FuseSlot, fuseFD),
		userns.MountFuse(do, "/proc/self/fd/"+decimal(baseFD), fuseFD, o.UID, o.GID, o.mountFlags()),
		userns.Send(do, FuseSlot),
		userns.CloseNumber(do, fuseFD), userns.Close(do, FuseSlot),
		userns.Barrier("waiting for fuse-overlayfs"))
}

// serverFuse is the number under which the server finds the connection.
const serverFuse = 10

// ServeSteps end the plan of a process outside of the sandbox that becomes fuse-overlayfs, at path. It finds
// the connection in FuseSlot.
func (o *Overlay) ServeSteps(path string) []userns.Step {
	const do = "starting fuse-overlayfs"
	lower := []string{escapeOption(o.Upper + "/" + initFolder)}
	for _, l := range o.Layers {
		lower = append(lower, escapeOption(o.Folder+"/"+l))
	}
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + escapeOption(o.Upper+"/upper") + ",workdir=" + escapeOption(o.Upper+"/work")
	argv := []string{"sbx-fuse-overlayfs", "-f", "-o", options, "/dev/fd/" + decimal(serverFuse)}
	return append([]userns.Step{userns.CloseOnExec(do, 3), userns.Dup(do, FuseSlot, serverFuse)},
		userns.Exec(do, []string{path}, argv, []string{"PATH=/usr/bin:/bin"})...)
}

// escapeOption keeps what parts options and layers from parting a path.
func escapeOption(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

const (
	ownLayer = "/proc/self/fd/50/" + initFolder
	upperDir = "/proc/self/fd/51/upper"
	workDir  = "/proc/self/fd/51/work"
)

// options are those of mount(2). Layers are relative to the working folder.
func (o *Overlay) options() string {
	return "userxattr,lowerdir=" + ownLayer + ":" + strings.Join(o.Layers, ":") + ",upperdir=" + upperDir + ",workdir=" + workDir
}

// manyOptions give one layer each, which Linux 6.5 and newer take.
func (o *Overlay) manyOptions() []userns.MountOption {
	list := []userns.MountOption{{Key: "userxattr"}, {Key: "lowerdir+", Value: ownLayer}}
	for _, l := range o.Layers {
		list = append(list, userns.MountOption{Key: "lowerdir+", Value: l})
	}
	return append(list, userns.MountOption{Key: "upperdir", Value: upperDir}, userns.MountOption{Key: "workdir", Value: workDir})
}

// enterOverlay makes the root of layers the root, lets the old one go, and makes what folders are missing:
// now that nothing else can be reached, links of the image lead nowhere but into it.
func (b *builder) enterOverlay() {
	const do = "entering the root file system"
	// On the new root now lies the old one, and on that the file system in memory, which took its place.
	b.add(userns.Fchdir(do, baseSlot), userns.PivotRoot(do),
		userns.Detach("detaching the file system in memory", "."), userns.Detach("detaching the old root", "."),
		userns.Chdir(do, "/"))
	b.close(do, baseSlot, rootSlot)
	for _, f := range b.root.Overlay.Folders {
		b.add(userns.MkdirAll("making "+f.Path, f.Path, f.Mode)...)
	}
	for _, fd := range []uint64{memoryFD, upperFD, baseFD} {
		b.add(userns.CloseNumber(do, fd))
	}
}
