package userns

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// call is a system call number, or one of the few operations below that need more than one call.
type call uintptr

// Operations of the walker that are no system calls of their own. They lie far above every system
// call number.
const (
	opBarrier     call = 1<<20 + iota // wait until the supervisor lets the walk go on
	opSend                            // hand a descriptor to the supervisor
	opFail                            // end the walk with the worst error of the execve attempts
	opRaiseSocket                     // move the socket to the supervisor out of the way of low numbers
)

// callNames name the system calls that plans hold. A plan with another call does not encode, so
// the table is complete by construction.
var callNames = map[call]string{
	opBarrier:                        "barrier",
	opSend:                           "send_to_supervisor",
	opFail:                           "fail",
	opRaiseSocket:                    "raise_socket",
	unix.SYS_CAPSET:                  "capset",
	unix.SYS_CHDIR:                   "chdir",
	unix.SYS_CLOSE:                   "close",
	unix.SYS_CLOSE_RANGE:             "close_range",
	unix.SYS_DUP3:                    "dup3",
	unix.SYS_EXECVE:                  "execve",
	unix.SYS_FCHDIR:                  "fchdir",
	unix.SYS_FCHOWNAT:                "fchownat",
	unix.SYS_FCNTL:                   "fcntl",
	unix.SYS_FSCONFIG:                "fsconfig",
	unix.SYS_FSMOUNT:                 "fsmount",
	unix.SYS_FSOPEN:                  "fsopen",
	unix.SYS_FSPICK:                  "fspick",
	unix.SYS_IOCTL:                   "ioctl",
	unix.SYS_KEYCTL:                  "keyctl",
	unix.SYS_LANDLOCK_ADD_RULE:       "landlock_add_rule",
	unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset",
	unix.SYS_LANDLOCK_RESTRICT_SELF:  "landlock_restrict_self",
	unix.SYS_MKDIRAT:                 "mkdirat",
	unix.SYS_MOUNT:                   "mount",
	unix.SYS_MOUNT_SETATTR:           "mount_setattr",
	unix.SYS_MOVE_MOUNT:              "move_mount",
	unix.SYS_OPENAT2:                 "openat2",
	unix.SYS_OPEN_TREE:               "open_tree",
	unix.SYS_PIVOT_ROOT:              "pivot_root",
	unix.SYS_PRCTL:                   "prctl",
	unix.SYS_PRLIMIT64:               "prlimit64",
	unix.SYS_SECCOMP:                 "seccomp",
	unix.SYS_SETDOMAINNAME:           "setdomainname",
	unix.SYS_SETFSGID:                "setfsgid",
	unix.SYS_SETFSUID:                "setfsuid",
	unix.SYS_SETGROUPS:               "setgroups",
	unix.SYS_SETHOSTNAME:             "sethostname",
	unix.SYS_SETNS:                   "setns",
	unix.SYS_SETRESGID:               "setresgid",
	unix.SYS_SETRESUID:               "setresuid",
	unix.SYS_SETSID:                  "setsid",
	unix.SYS_SOCKET:                  "socket",
	unix.SYS_SYMLINKAT:               "symlinkat",
	unix.SYS_UMASK:                   "umask",
	unix.SYS_UMOUNT2:                 "umount2",
	unix.SYS_UNLINKAT:                "unlinkat",
	unix.SYS_UNSHARE:                 "unshare",
	unix.SYS_WRITE:                   "write",
}

// String is the name of the call.
func (c call) String() string {
	if name, ok := callNames[c]; ok {
		return name
	}
	return fmt.Sprintf("syscall_%d", uintptr(c))
}

type flagName struct {
	bit  uintptr
	name string
}

var cloneFlags = &more{names: []flagName{
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	{unix.CLONE_NEWNS, "CLONE_NEWNS"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID"},
	{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
	{unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
	{unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
}}

var openFlags = &more{names: []flagName{
	{unix.O_PATH, "O_PATH"},
	{unix.O_WRONLY, "O_WRONLY"},
	{unix.O_RDWR, "O_RDWR"},
	{unix.O_CREAT, "O_CREAT"},
	{unix.O_DIRECTORY, "O_DIRECTORY"},
	{unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOCTTY, "O_NOCTTY"},
	{unix.O_NONBLOCK, "O_NONBLOCK"},
	{unix.O_CLOEXEC, "O_CLOEXEC"},
}}

var resolveFlags = &more{names: []flagName{
	{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
	{unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
	{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"},
	{unix.RESOLVE_BENEATH, "RESOLVE_BENEATH"},
}}

var treeFlags = &more{names: []flagName{
	{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"},
	{unix.AT_RECURSIVE, "AT_RECURSIVE"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	{unix.O_CLOEXEC, "OPEN_TREE_CLOEXEC"},
}}

var mountAttrFlags = &more{names: []flagName{
	{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"},
	{unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
	{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"},
	{unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
}}

var mountFlags = &more{names: []flagName{
	{unix.MS_REMOUNT, "MS_REMOUNT"},
	{unix.MS_BIND, "MS_BIND"},
	{unix.MS_REC, "MS_REC"},
	{unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_RDONLY, "MS_RDONLY"},
	{unix.MS_NOSUID, "MS_NOSUID"},
	{unix.MS_NODEV, "MS_NODEV"},
	{unix.MS_NOEXEC, "MS_NOEXEC"},
	{unix.MS_NOATIME, "MS_NOATIME"},
	{unix.MS_NODIRATIME, "MS_NODIRATIME"},
	{unix.MS_RELATIME, "MS_RELATIME"},
}}

// flagNames renders a bit set as its names, joined by |; what no name covers follows in hex.
func flagNames(bits uintptr, names []flagName) string {
	var list []string
	for _, f := range names {
		if bits&f.bit == f.bit {
			list = append(list, f.name)
			bits &^= f.bit
		}
	}
	if bits != 0 || len(list) == 0 {
		list = append(list, fmt.Sprintf("%#x", bits))
	}
	return strings.Join(list, "|")
}

func octal(mode uint32) string { return fmt.Sprintf("%#o", mode) }

// capText renders a capability set as capset arguments do.
func capText(keep, inheritable uint64) string {
	return fmt.Sprintf("{%#x, %#x, %#x}", keep, keep, inheritable)
}

// quoteShort renders data as a string, its tail left out where it is long.
func quoteShort(data string) string {
	const most = 32
	if len(data) > most {
		return fmt.Sprintf("%q...", data[:most])
	}
	return fmt.Sprintf("%q", data)
}
