package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sbx/harden"
	"sbx/host"
	"sbx/review"
	"sbx/userns"
)

// An overlay that a user mounts renames no folder that comes from its lower layer: EXDEV (fs/overlayfs/dir.c,
// ovl_can_move), for which mv(1) has an answer and git and rename(2) itself have none. So calls that rename
// are announced to the supervisor, which makes such a folder one of the upper layer first: it makes a new one
// beside it, moves there what is in it, one file after the other, and gives it the old one's name. Then the
// call goes on, and it is the kernel that does it, with the rights of who has called, and the path that stands
// in its memory by then. What the supervisor does changes nothing that can be told but numbers of inodes, so
// it is nothing to win to have it done to a folder that one may not rename, or to another one than was named.
//
// The supervisor's rights would reach further than the caller's only through what is mounted. It moves nothing
// that is mounted on, for from its own mount namespace the kernel would let it, and take the mount away
// (detach_mounts): a cover. It acts in the mount of the capture alone, for processes in the sandbox's own
// mount namespace and root, of its own user; all others have EXDEV.

// renamesSlot holds the listener of the filter that announces renames.
const renamesSlot userns.Slot = "renames"

// renamesStep is known by name, since its failure is told in a sentence of its own.
const renamesStep = "hearing of folders that are renamed"

// announceRenames is the step that announces them, where a folder is captured by an overlay.
func announceRenames(s *Spec) []userns.Step {
	if !slices.ContainsFunc(s.Captured, func(c Captured) bool { return c.Driver == review.Overlay }) {
		return nil
	}
	filter, err := harden.Announcing(harden.HostArch(), "rename", "renameat", "renameat2")
	if err != nil {
		return nil
	}
	const do = renamesStep
	// EBUSY: somebody listens to a filter around this sandbox. Renames of folders fail then, and it is said.
	return []userns.Step{
		userns.SeccompListener(do, filter).To(renamesSlot).Tolerate(unix.EBUSY).Notice(),
		userns.Send(do, renamesSlot).Unless(renamesSlot, unix.EBUSY),
		userns.Close(do, renamesSlot).Unless(renamesSlot, unix.EBUSY),
	}
}

// mover makes folders movable.
type mover struct {
	spec     *Spec
	mounts   string // the sandbox's mount namespace, as /proc names it
	listener *os.File
	looking  sync.Mutex  // held while a call is looked at
	ending   atomic.Bool // what is begun is taken back
}

// newMover is nil where nothing is captured.
func newMover(s *Spec) *mover {
	if len(s.Captured) == 0 {
		return nil
	}
	return &mover{spec: s}
}

// atBarrier learns of the mount namespace while PID 1 still shows it; then comes what else is done there.
func (m *mover) atBarrier(then func(pid int) error) func(pid int) error {
	if m == nil {
		return then
	}
	return func(pid int) (err error) {
		if m.mounts, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err != nil {
			return fmt.Errorf("looking at the sandbox's namespaces: %w", err)
		}
		if then == nil {
			return nil
		}
		return then(pid)
	}
}

// begin listens until the last process of the sandbox has ended.
func (m *mover) begin(listener *os.File) {
	if m == nil || listener == nil {
		return
	}
	m.listener = listener
	go func() {
		defer listener.Close()
		for m.next() {
		}
	}()
}

// end returns when nothing is moved any more, once the sandbox has ended. Who has called is gone by then, so a folder
// that is half moved is put together again: what is held for review would show the halves.
func (m *mover) end() {
	if m == nil {
		return
	}
	m.ending.Store(true)
	m.looking.Lock()
	m.looking.Unlock()
}

// notification is struct seccomp_notif of seccomp_unotify(2).
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// next takes one call and lets it go on. It tells whether more may come.
func (m *mover) next() bool {
	poll := []unix.PollFd{{Fd: int32(m.listener.Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, -1); err != nil {
		return err == unix.EINTR
	}
	if poll[0].Revents&unix.POLLIN == 0 {
		return false
	}
	var n notification
	if err := m.control(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != 0 {
		return err == unix.EINTR || err == unix.ENOENT // who has called was interrupted
	}
	m.looking.Lock()
	m.look(&n)
	m.looking.Unlock()
	r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	m.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	return true
}

func (m *mover) control(request uintptr, data unsafe.Pointer) unix.Errno {
	_, _, err := unix.Syscall(unix.SYS_IOCTL, m.listener.Fd(), request, uintptr(data))
	return err
}

// look makes the folder that a call is about movable, where it is one that has to be. Whatever stands against it
// leaves all as it is: the kernel then says EXDEV.
func (m *mover) look(n *notification) {
	at, address := unix.AT_FDCWD, n.args[0]
	if name := harden.SyscallName(harden.HostArch(), int(n.nr)); name != "rename" {
		at, address = int(int32(n.args[0])), n.args[1]
	}
	task := fmt.Sprintf("/proc/%d", n.pid)
	path, err := readPath(int(n.pid), address)
	if err != nil || path == "" {
		return
	}
	if path[0] != '/' {
		base := task + "/cwd"
		if at != unix.AT_FDCWD {
			base = fmt.Sprintf("%s/fd/%d", task, at)
		}
		dir, err := os.Readlink(base)
		if err != nil || !filepath.IsAbs(dir) {
			return
		}
		path = dir + "/" + path
	}
	root, err := m.rootOf(task, n)
	if err != nil {
		return
	}
	defer root.Close()
	m.prepare(root, filepath.Clean(path))
}

// readPath reads a path from the memory of a process, page by page: what follows its end may not be there.
func readPath(pid int, address uint64) (string, error) {
	const page = 4096
	buf := make([]byte, 0, unix.PathMax)
	for len(buf) < unix.PathMax {
		from := address + uint64(len(buf))
		size := min(int(page-from%page), unix.PathMax-len(buf))
		part := buf[len(buf) : len(buf)+size]
		local := []unix.Iovec{{Base: &part[0]}}
		local[0].SetLen(size)
		got, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(from), Len: size}}, 0)
		if err != nil || got == 0 {
			return "", errors.Join(unix.EFAULT, err)
		}
		if end := bytes.IndexByte(part[:got], 0); end >= 0 {
			return string(buf[:len(buf)+end]), nil
		}
		buf = buf[:len(buf)+got]
	}
	return "", unix.ENAMETOOLONG
}

// rootOf opens the root of a process in the sandbox, where it is the sandbox's own, seen by the caller's own user.
func (m *mover) rootOf(task string, n *notification) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(task, &st); err != nil {
		return nil, err
	}
	mounts, err := os.Readlink(task + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	link, err := os.Readlink(task + "/root")
	if err != nil {
		return nil, err
	}
	if int(st.Uid) != os.Getuid() || mounts != m.mounts || link != "/" {
		return nil, unix.EXDEV
	}
	fd, err := unix.Open(task+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	root := os.NewFile(uintptr(fd), "root")
	if m.control(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&n.id)) != 0 { // the number is another process's by now
		root.Close()
		return nil, unix.ESRCH
	}
	return root, nil
}

// prepare makes what lies at a path of the sandbox movable, if it is a folder of a capture.
func (m *mover) prepare(root *os.File, path string) error {
	parent, err := openInRoot(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", parent.Fd()))
	if err != nil {
		return err
	}
	for _, c := range m.spec.Captured {
		if c.Driver != review.Overlay || !host.Within(where, c.Folder) {
			continue
		}
		top, err := openInRoot(root, c.Folder)
		if err != nil {
			return err
		}
		same := sameMount(top, "", parent, "")
		top.Close()
		rel, err := filepath.Rel(c.Folder, filepath.Join(where, name))
		if err == nil && same && c.comesFromBelow(rel) {
			return m.lift(parent, name)
		}
	}
	return nil
}

// openInRoot opens a folder by the path that it has below a root.
func openInRoot(root *os.File, path string) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, wrap(err, "opening", path)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// sameMount tells whether two names, each in a folder or that folder itself, lie in one mount.
func sameMount(a *os.File, nameA string, b *os.File, nameB string) bool {
	one, err1 := mountOf(a, nameA)
	two, err2 := mountOf(b, nameB)
	return err1 == nil && err2 == nil && one == two
}

func mountOf(dir *os.File, name string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = unix.ENOTSUP
	}
	return st.Mnt_id, err
}

// comesFromBelow tells whether a folder of an overlay has a lower one: the host has it, and nothing hides that.
func (c *Captured) comesFromBelow(rel string) bool {
	lower, err := openFolder(c.Folder)
	if err != nil {
		return false
	}
	at := ""
	for _, name := range strings.Split(rel, "/") {
		next, err := openBelow(lower, name, unix.O_RDONLY|unix.O_DIRECTORY)
		lower.Close()
		if err != nil {
			return false
		}
		lower, at = next, filepath.Join(at, name)
		value := make([]byte, 1)
		n, err := unix.Lgetxattr(filepath.Join(c.Dir, review.UpperName, at), "user.overlay.opaque", value)
		if err == nil && n == 1 && value[0] == 'y' {
			lower.Close()
			return false
		}
	}
	lower.Close()
	return true
}

// liftedTree is what a folder that is lifted may have in it at most.
var liftedTree = bounds{entries: 500_000, bytes: 1 << 40}

// liftedDepth is how deep it may be.
const liftedDepth = 200

// lift makes a folder one of the upper layer. A supervisor that is killed meanwhile leaves a part of it under another
// name: in what is held for review, that is seen there.
func (m *mover) lift(parent *os.File, name string) error {
	old, err := openBelow(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer old.Close()
	left := liftedTree
	if err := liftable(old, &left, liftedDepth); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(old.Fd()), &st); err != nil {
		return err
	}
	passing := fmt.Sprintf(".sbx-moving-%016x", rand.Uint64())
	made, err := makeLike(parent, passing)
	if err != nil {
		return err
	}
	defer made.Close()
	for range 3 { // others may put something into it meanwhile
		if err = moveAll(old, made, &m.ending); err != nil {
			break
		}
		if err = unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != unix.ENOTEMPTY {
			break
		}
	}
	if err != nil {
		return errors.Join(err, moveAll(made, old, new(atomic.Bool)), like(old, &st), unix.Unlinkat(int(parent.Fd()), passing, unix.AT_REMOVEDIR))
	}
	err = finishLike(made, old, &st)
	return errors.Join(err, unix.Renameat2(int(parent.Fd()), passing, int(parent.Fd()), name, unix.RENAME_NOREPLACE))
}

// liftable refuses a folder in which not all could be moved, or in which something is mounted.
func liftable(dir *os.File, left *bounds, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Getuid() || st.Mode&0o700 != 0o700 || depth == 0 {
		return &notCopiedError{dir.Name() + " cannot be emptied"}
	}
	again, err := openBelow(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer again.Close()
	return eachEntry(again, func(name string, st *unix.Stat_t) error {
		left.entries--
		left.bytes -= st.Blocks * 512
		if left.entries < 0 || left.bytes < 0 || !sameMount(dir, "", dir, name) {
			return &notCopiedError{name + " cannot be moved"}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		sub, err := openBelow(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer sub.Close()
		return liftable(sub, left, depth-1)
	})
}

// makeLike makes a folder that nobody else can use yet, or opens the one that is there.
func makeLike(parent *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil && err != unix.EEXIST {
		return nil, wrap(err, "making", name)
	}
	return openBelow(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// finishLike gives a folder what the old one had.
func finishLike(made, old *os.File, st *unix.Stat_t) error {
	copyAttributes(made, old)
	unix.Fchown(int(made.Fd()), -1, int(st.Gid))
	return like(made, st)
}

// moveAll moves what is in a folder into another one, folder by folder and file by file, until told to stop. Nothing
// that is mounted on is moved.
func moveAll(from, to *os.File, stop *atomic.Bool) error {
	again, err := openBelow(from, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer again.Close()
	return eachEntry(again, func(name string, st *unix.Stat_t) error {
		switch {
		case stop.Load():
			return wrap(unix.ECANCELED, "moving", name)
		case !sameMount(from, "", from, name):
			return wrap(unix.EBUSY, "moving", name)
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return wrap(unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE), "moving", name)
		}
		sub, err := openBelow(from, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer sub.Close()
		made, err := makeLike(to, name)
		if err != nil {
			return err
		}
		defer made.Close()
		// Where it fails half way, this one tells still what the other was like, to who moves all back.
		if err := errors.Join(moveAll(sub, made, stop), finishLike(made, sub, st)); err != nil {
			return err
		}
		return wrap(unix.Unlinkat(int(from.Fd()), name, unix.AT_REMOVEDIR), "removing", name)
	})
}
