package userns

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cwd is AT_FDCWD as an argument.
func cwd() Arg {
	at := unix.AT_FDCWD
	return Num(uintptr(at), "AT_FDCWD")
}

func step(do string, nr uintptr, args ...Arg) Step {
	return Step{Do: do, call: call(nr), args: args}
}

// Barrier waits until the supervisor opens the next barrier; the supervisor's end ends the walk.
func Barrier(do string) Step { return Step{Do: do, call: opBarrier} }

// Send hands the descriptor in slot to the supervisor, which finds it in Process.Files.
func Send(do string, slot Slot) Step {
	return Step{Do: do, call: opSend, args: []Arg{FromSlot(slot)}}
}

// RaiseSocket moves the walk's own socket to the supervisor above the low numbers, so that a payload can have
// these. Failures are told over it still.
func RaiseSocket(do string) Step { return Step{Do: do, call: opRaiseSocket} }

// How names what Open opens and how: openat2(2).
type How struct {
	Flags   int
	Mode    uint32
	Resolve uint64
}

func (h How) arg() Arg {
	mode := Num(0)
	if h.Mode != 0 {
		mode = Num(uintptr(h.Mode), octal(h.Mode))
	}
	return Words(flags(uintptr(h.Flags|unix.O_CLOEXEC), openFlags), mode, flags(uintptr(h.Resolve), resolveFlags))
}

const (
	sizeofHow       = 24 // struct open_how, openat2(2)
	sizeofMountAttr = 32 // struct mount_attr, mount_setattr(2)
)

// Open opens an absolute path of the mount namespace that the walk is in.
func Open(do, path string, how How) Step {
	return step(do, unix.SYS_OPENAT2, cwd(), Str(path), how.arg(), Num(sizeofHow))
}

// OpenAt opens path below the descriptor in dir.
func OpenAt(do string, dir Slot, path string, how How) Step {
	return step(do, unix.SYS_OPENAT2, FromSlot(dir), Str(path), how.arg(), Num(sizeofHow))
}

// CloneTree makes a detached copy of the mounts at the descriptor in slot: open_tree(2).
func CloneTree(do string, slot Slot, recursive bool) Step {
	bits := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		bits |= unix.AT_RECURSIVE
	}
	return step(do, unix.SYS_OPEN_TREE, FromSlot(slot), Str(""), flags(bits, treeFlags))
}

// SetMountAttr sets MOUNT_ATTR_* bits on the mount at the descriptor in slot: mount_setattr(2).
func SetMountAttr(do string, slot Slot, recursive bool, set uint64) Step {
	bits := uintptr(unix.AT_EMPTY_PATH)
	if recursive {
		bits |= unix.AT_RECURSIVE
	}
	attr := Words(flags(uintptr(set), mountAttrFlags), Num(0), Num(0), Num(0))
	return step(do, unix.SYS_MOUNT_SETATTR, FromSlot(slot), Str(""), flags(bits, treeFlags), attr,
		Num(sizeofMountAttr))
}

// MoveMount attaches the detached mount in tree on top of what target holds: move_mount(2).
func MoveMount(do string, tree, target Slot) Step {
	return step(do, unix.SYS_MOVE_MOUNT, FromSlot(tree), Str(""), FromSlot(target), Str(""),
		Num(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH, "F_EMPTY_PATH|T_EMPTY_PATH"))
}

// MoveMountTo attaches the detached mount in tree at an absolute path.
func MoveMountTo(do string, tree Slot, path string) Step {
	return step(do, unix.SYS_MOVE_MOUNT, FromSlot(tree), Str(""), cwd(), Str(path),
		Num(unix.MOVE_MOUNT_F_EMPTY_PATH, "F_EMPTY_PATH"))
}

// MountOption is one key of fsconfig(2); an empty value is a flag.
type MountOption struct{ Key, Value string }

// NewFilesystem makes a detached mount of a new file system of the kind fstype and leaves it in
// slot, by fsopen(2), fsconfig(2) and fsmount(2).
func NewFilesystem(do, fstype string, slot Slot, attr uint64, options ...MountOption) []Step {
	context := slot + ".fs"
	steps := []Step{step(do, unix.SYS_FSOPEN, Str(fstype), Num(unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC")).To(context)}
	for _, o := range options {
		steps = append(steps, fsOption(do, context, o))
	}
	return append(steps,
		step(do, unix.SYS_FSCONFIG, FromSlot(context), Num(unix.FSCONFIG_CMD_CREATE, "CMD_CREATE"), Num(0, "NULL"), Num(0, "NULL"), Num(0)),
		step(do, unix.SYS_FSMOUNT, FromSlot(context), Num(unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"), flags(uintptr(attr), mountAttrFlags)).To(slot),
		Close(do, context))
}

// ReconfigureFilesystem changes options of the file system whose mount is in slot: fspick(2), fsconfig(2).
func ReconfigureFilesystem(do string, slot Slot, options ...MountOption) []Step {
	context := slot + ".fs"
	steps := []Step{step(do, unix.SYS_FSPICK, FromSlot(slot), Str(""),
		Num(unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC, "FSPICK_EMPTY_PATH|FSPICK_CLOEXEC")).To(context)}
	for _, o := range options {
		steps = append(steps, fsOption(do, context, o))
	}
	return append(steps,
		step(do, unix.SYS_FSCONFIG, FromSlot(context), Num(unix.FSCONFIG_CMD_RECONFIGURE, "CMD_RECONFIGURE"), Num(0, "NULL"), Num(0, "NULL"), Num(0)),
		Close(do, context))
}

func fsOption(do string, context Slot, o MountOption) Step {
	if o.Value == "" {
		return step(do, unix.SYS_FSCONFIG, FromSlot(context), Num(unix.FSCONFIG_SET_FLAG, "SET_FLAG"),
			Str(o.Key), Num(0, "NULL"), Num(0))
	}
	return step(do, unix.SYS_FSCONFIG, FromSlot(context), Num(unix.FSCONFIG_SET_STRING, "SET_STRING"),
		Str(o.Key), Str(o.Value), Num(0))
}

// Mount is the old mount(2), needed for propagation and, where mount_setattr(2) is missing, for
// remounts. An empty source or fstype is NULL.
func Mount(do, source, target, fstype string, bits uintptr) Step {
	return step(do, unix.SYS_MOUNT, orNull(source), Str(target), orNull(fstype), flags(bits, mountFlags), Num(0, "NULL"))
}

func orNull(s string) Arg {
	if s == "" {
		return Num(0, "NULL")
	}
	return Str(s)
}

// Mkdir makes a folder below the descriptor in dir; one that exists is no error.
func Mkdir(do string, dir Slot, path string, mode uint32) Step {
	return step(do, unix.SYS_MKDIRAT, FromSlot(dir), Str(path), Num(uintptr(mode), octal(mode))).Tolerate(unix.EEXIST)
}

// CreateFile makes a new file below the descriptor in dir and leaves it, open for writing, in slot.
func CreateFile(do string, dir Slot, path string, mode uint32, slot Slot) Step {
	return OpenAt(do, dir, path, How{
		Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_NOFOLLOW, Mode: mode,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}).To(slot)
}

// Write writes data to the descriptor in slot. Files in memory take it whole or fail.
func Write(do string, slot Slot, data string) Step {
	return step(do, unix.SYS_WRITE, FromSlot(slot), Bytes([]byte(data), quoteShort(data)), Num(uintptr(len(data))))
}

// Symlink makes a symbolic link below the descriptor in dir.
func Symlink(do, target string, dir Slot, path string) Step {
	return step(do, unix.SYS_SYMLINKAT, Str(target), FromSlot(dir), Str(path))
}

// Rmdir removes an empty folder below the descriptor in dir.
func Rmdir(do string, dir Slot, path string) Step {
	return step(do, unix.SYS_UNLINKAT, FromSlot(dir), Str(path), Num(unix.AT_REMOVEDIR, "AT_REMOVEDIR"))
}

// Move leaves a copy of the descriptor in from in the slot to, so that a fallback can take the place
// of what it stands in for.
func Move(from, to Slot) Step {
	return step("taking the fallback", unix.SYS_FCNTL, FromSlot(from), Num(unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"), Num(0)).To(to)
}

// Close closes the descriptor in slot.
func Close(do string, slot Slot) Step { return step(do, unix.SYS_CLOSE, FromSlot(slot)) }

// Chdir changes the working folder.
func Chdir(do, path string) Step { return step(do, unix.SYS_CHDIR, Str(path)) }

// MountFuse mounts a file system that is served through the descriptor fd, which must have been opened in
// this user namespace: fuse(4). bits are MS_* flags.
func MountFuse(do, target string, fd uint64, uid, gid uint32, bits uintptr) Step {
	options := fmt.Sprintf("fd=%d,rootmode=40755,user_id=%d,group_id=%d,default_permissions,allow_other", fd, uid, gid)
	return step(do, unix.SYS_MOUNT, Str("fuse-overlayfs"), Str(target), Str("fuse.fuse-overlayfs"), flags(bits, mountFlags), Str(options))
}

// CloseNumber closes a descriptor that DupTo made.
func CloseNumber(do string, fd uint64) Step { return step(do, unix.SYS_CLOSE, Num(uintptr(fd))) }

// MkdirAll makes an absolute path with all folders above it; what exists, whatever it is, is no error.
// It follows links: it is for a walk that has entered its own root.
func MkdirAll(do, path string, mode uint32) []Step {
	var steps []Step
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		m := uint32(0o755)
		if i == len(path) {
			m = mode
		}
		steps = append(steps, step(do, unix.SYS_MKDIRAT, cwd(), Str(path[:i]), Num(uintptr(m), octal(m))).
			Tolerate(unix.EEXIST, unix.ENOTDIR, unix.ELOOP, unix.ENOENT))
	}
	return steps
}

// Fchdir changes the working folder to the descriptor in slot.
func Fchdir(do string, slot Slot) Step { return step(do, unix.SYS_FCHDIR, FromSlot(slot)) }

// PivotRoot makes the working folder the root and stacks the old root on it: pivot_root(2), "NOTES".
func PivotRoot(do string) Step { return step(do, unix.SYS_PIVOT_ROOT, Str("."), Str(".")) }

// Detach unmounts path with all below it, lazily: umount2(2), MNT_DETACH.
func Detach(do, path string) Step {
	return step(do, unix.SYS_UMOUNT2, Str(path), Num(unix.MNT_DETACH, "MNT_DETACH"))
}

// Umask sets the file mode creation mask.
func Umask(do string, mask uint32) Step {
	return step(do, unix.SYS_UMASK, Num(uintptr(mask), octal(mask)))
}

// Unshare leaves the namespaces named by CLONE_NEW* bits for new ones.
func Unshare(do string, bits uintptr) Step {
	return step(do, unix.SYS_UNSHARE, flags(bits, cloneFlags))
}

// SetNS enters the namespace in slot, which has to be of this kind.
func SetNS(do string, slot Slot, kind uintptr) Step {
	return step(do, unix.SYS_SETNS, FromSlot(slot), flags(kind, cloneFlags))
}

// SetGroups replaces the supplementary groups by none.
func SetGroups(do string) Step {
	return step(do, unix.SYS_SETGROUPS, Num(0), Num(0, "NULL"))
}

// SetHostname sets the host name of the UTS namespace.
func SetHostname(do, name string) Step {
	return step(do, unix.SYS_SETHOSTNAME, Str(name), Num(uintptr(len(name))))
}

// SetDomainname sets the NIS domain name of the UTS namespace.
func SetDomainname(do, name string) Step {
	return step(do, unix.SYS_SETDOMAINNAME, Str(name), Num(uintptr(len(name))))
}

// SetIDs changes all ids of the process: setresgid(2), setresuid(2). A process that becomes another
// user than 0 loses its capabilities.
func SetIDs(do string, uid, gid uint32) []Step {
	u, g := Num(uintptr(uid)), Num(uintptr(gid))
	return []Step{step(do, unix.SYS_SETRESGID, g, g, g), step(do, unix.SYS_SETRESUID, u, u, u)}
}

// SetFilesystemIDs says to whom what the process makes in file systems belongs: setfsuid(2),
// setfsgid(2).
func SetFilesystemIDs(do string, uid, gid uint32) []Step {
	return []Step{step(do, unix.SYS_SETFSGID, Num(uintptr(gid))), step(do, unix.SYS_SETFSUID, Num(uintptr(uid)))}
}

// Chown gives what the descriptor in slot is of to another owner: fchownat(2).
func Chown(do string, slot Slot, uid, gid uint32) Step {
	return step(do, unix.SYS_FCHOWNAT, FromSlot(slot), Str(""), Num(uintptr(uid)), Num(uintptr(gid)), flags(unix.AT_EMPTY_PATH, treeFlags))
}

// MountOverlay mounts with options as text, by mount(2): for file systems whose options are longer than
// fsconfig(2) takes (255 bytes each). The kernel takes one page of them. bits are MS_* flags.
func MountOverlay(do, target, options string, bits uintptr) Step {
	return step(do, unix.SYS_MOUNT, Str("overlay"), Str(target), Str("overlay"), flags(bits, mountFlags), Str(options))
}

// Socket makes a socket of a family and a kind, non-blocking, and leaves it in slot: socket(2).
func Socket(do string, family, kind int, slot Slot) Step {
	flags := uintptr(kind | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK)
	return step(do, unix.SYS_SOCKET, Num(uintptr(family), socketFamilies[family]), Num(flags, socketKinds[kind]+"|SOCK_CLOEXEC|SOCK_NONBLOCK"), Num(0)).To(slot)
}

var (
	socketFamilies = map[int]string{unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6"}
	socketKinds    = map[int]string{unix.SOCK_STREAM: "SOCK_STREAM", unix.SOCK_DGRAM: "SOCK_DGRAM"}
)

// LoopbackUp brings the interface lo up.
func LoopbackUp(do string) []Step { return interfaceUp(do, "lo") }

// Prctl is prctl(2) with one argument; text is how operation and argument print.
func Prctl(do string, operation, argument uintptr, text string) Step {
	return step(do, unix.SYS_PRCTL, Num(operation, text), Num(argument), Num(0), Num(0), Num(0))
}

// RaiseAmbient adds a capability, which the process has and passes on, to the ambient set: what is executed then
// keeps it without being root's: prctl(2), PR_CAP_AMBIENT.
func RaiseAmbient(do string, capability uintptr) Step {
	return step(do, unix.SYS_PRCTL, Num(unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"), Num(unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"),
		Num(capability), Num(0), Num(0))
}

// NewSessionKeyring joins a fresh anonymous session keyring: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING.
func NewSessionKeyring(do string) Step {
	return step(do, unix.SYS_KEYCTL, Num(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), Num(0, "NULL"))
}

// SetCapabilities sets the effective and permitted sets to the bits of keep, and the inheritable one to its own: capset(2).
func SetCapabilities(do string, keep, inheritable uint64) Step {
	header := make([]byte, 8)
	binary.NativeEndian.PutUint32(header, unix.LINUX_CAPABILITY_VERSION_3)
	data := make([]byte, 24)
	for half := range 2 {
		for set, bits := range []uint64{keep, keep, inheritable} {
			binary.NativeEndian.PutUint32(data[half*12+set*4:], uint32(bits>>(32*half)))
		}
	}
	return step(do, unix.SYS_CAPSET, Bytes(header, "{_LINUX_CAPABILITY_VERSION_3, 0}"), Bytes(data, capText(keep, inheritable)))
}

// Seccomp installs a filter: seccomp(2), SECCOMP_SET_MODE_FILTER.
func Seccomp(do string, filter []unix.SockFilter) Step {
	return seccomp(do, filter, Num(0))
}

// SeccompListener installs a filter, of which the slot that takes the result has the listener
// (seccomp_unotify(2)). There can be one in a tree of processes: else EBUSY.
func SeccompListener(do string, filter []unix.SockFilter) Step {
	return seccomp(do, filter, Num(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"))
}

func seccomp(do string, filter []unix.SockFilter, flags Arg) Step {
	code := make([]byte, 0, len(filter)*unix.SizeofSockFilter)
	for _, f := range filter {
		code = binary.NativeEndian.AppendUint16(code, f.Code)
		code = append(code, f.Jt, f.Jf)
		code = binary.NativeEndian.AppendUint32(code, f.K)
	}
	program := Words(Num(uintptr(len(filter))), Bytes(code, "filter"))
	return step(do, unix.SYS_SECCOMP, Num(unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"), flags, program)
}

// landlockPathBeneath is LANDLOCK_RULE_PATH_BENEATH of landlock_add_rule(2).
const landlockPathBeneath = 1

// LandlockRules makes a ruleset that handles these rights to files and these scopes, and leaves it
// in slot: landlock_create_ruleset(2), struct landlock_ruleset_attr. Kernels before ABI 6 know no
// scopes and take the shorter struct.
func LandlockRules(do string, files, scopes uint64, slot Slot) Step {
	words := []Arg{Num(uintptr(files))}
	if scopes != 0 {
		words = append(words, Num(0), Num(uintptr(scopes)))
	}
	return step(do, unix.SYS_LANDLOCK_CREATE_RULESET, Words(words...), Num(uintptr(len(words)*wordSize)), Num(0)).To(slot)
}

// LandlockAllow adds a rule: these rights to the file of descriptor fd, or to all beneath it.
func LandlockAllow(do string, rules Slot, rights uint64, fd int) Step {
	rule := binary.NativeEndian.AppendUint64(nil, rights) // struct landlock_path_beneath_attr, packed
	rule = binary.NativeEndian.AppendUint32(rule, uint32(fd))
	return step(do, unix.SYS_LANDLOCK_ADD_RULE, FromSlot(rules), Num(landlockPathBeneath, "LANDLOCK_RULE_PATH_BENEATH"),
		Bytes(rule, fmt.Sprintf("{%#x, %d}", rights, fd)), Num(0))
}

// LandlockEnforce puts the process, and all that it starts, under the rules: landlock_restrict_self(2).
func LandlockEnforce(do string, rules Slot) Step {
	return step(do, unix.SYS_LANDLOCK_RESTRICT_SELF, FromSlot(rules), Num(0))
}

// SetLimit sets a resource limit: prlimit(2). soft and hard are in the unit of the resource.
func SetLimit(do string, resource int, name string, soft, hard uint64) Step {
	return step(do, unix.SYS_PRLIMIT64, Num(0), Num(uintptr(resource), name),
		Words(Num(uintptr(soft)), Num(uintptr(hard))), Num(0, "NULL"))
}

// OpenTerminal opens a new pseudo terminal of the devpts at the descriptor in pts, sets its window
// size, and leaves its two ends in master and slave: pty(7), ioctl_tty(2).
func OpenTerminal(do string, pts, master, slave Slot, size unix.Winsize) []Step {
	window := make([]byte, 8)
	for i, v := range []uint16{size.Row, size.Col, size.Xpixel, size.Ypixel} {
		binary.NativeEndian.PutUint16(window[2*i:], v)
	}
	peer := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	return []Step{
		OpenAt(do, pts, "ptmx", How{Flags: unix.O_RDWR | unix.O_NOCTTY, Resolve: unix.RESOLVE_NO_SYMLINKS}).To(master),
		step(do, unix.SYS_IOCTL, FromSlot(master), Num(unix.TIOCSPTLCK, "TIOCSPTLCK"), Bytes(make([]byte, 4), "[0]")),
		step(do, unix.SYS_IOCTL, FromSlot(master), Num(unix.TIOCGPTPEER, "TIOCGPTPEER"), flags(peer, openFlags)).To(slave),
		step(do, unix.SYS_IOCTL, FromSlot(master), Num(unix.TIOCSWINSZ, "TIOCSWINSZ"), Bytes(window, "&winsize")),
	}
}

// SetSession makes the process the leader of a new session: setsid(2).
func SetSession(do string) Step { return step(do, unix.SYS_SETSID) }

// ControllingTerminal makes the terminal in slot the session's own: ioctl_tty(2), TIOCSCTTY.
func ControllingTerminal(do string, slot Slot) Step {
	return step(do, unix.SYS_IOCTL, FromSlot(slot), Num(unix.TIOCSCTTY, "TIOCSCTTY"), Num(0))
}

// Dup makes the descriptor fd a copy of the one in slot, without close-on-exec: dup2(2).
func Dup(do string, slot Slot, fd int) Step {
	return step(do, unix.SYS_DUP3, FromSlot(slot), Num(uintptr(fd)), Num(0))
}

// DupTo makes fd a copy of the descriptor in slot, closed on exec: for what needs a number that is
// known before the walk.
func DupTo(do string, slot Slot, fd int) Step {
	return step(do, unix.SYS_DUP3, FromSlot(slot), Num(uintptr(fd)), Num(unix.O_CLOEXEC, "O_CLOEXEC"))
}

// CloseOnExec marks every descriptor from first on close-on-exec: close_range(2).
func CloseOnExec(do string, first int) Step {
	return step(do, unix.SYS_CLOSE_RANGE, Num(uintptr(first)), Num(^uintptr(0)&0xffffffff, "~0U"),
		Num(unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC")).
		Tolerate(unix.EINVAL) // before 5.11; all that the walk opens is close-on-exec anyway
}

// variables is an environment. It prints as names alone: values may be secrets.
func variables(envp []string) Arg {
	a := Vector(envp)
	a.more.render = func(kv string) string {
		name, _, _ := strings.Cut(kv, "=")
		return strconv.QuoteToASCII(name)
	}
	return a
}

// notFound are the errors of an execve attempt after which the next folder of PATH is tried, as
// execvpe(3) does.
var notFound = []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES}

// Exec executes the first of paths that can be executed, with argv and envp; a file without a
// known format is given to /bin/sh, as execvp(3) does. The steps end the walk either way: with
// EACCES where a file was found that may not be executed, else with ENOENT.
func Exec(do string, paths, argv, envp []string) []Step {
	var steps []Step
	args, env := Vector(argv), variables(envp)
	for i, path := range paths {
		slot := Slot("exec" + strconv.Itoa(i))
		steps = append(steps, step(do, unix.SYS_EXECVE, Str(path), args, env).
			Tolerate(append(notFound, unix.ENOEXEC)...).To(slot))
		script := Vector(append([]string{"/bin/sh", path}, argv[1:]...))
		steps = append(steps, step(do, unix.SYS_EXECVE, Str("/bin/sh"), script, env).If(slot, unix.ENOEXEC))
	}
	return append(steps, Step{Do: do, call: opFail})
}
