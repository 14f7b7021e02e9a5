package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sbx/harden"
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
	if err != nil { // an architecture without a table: sbx is not built for one, for it has no clone of the first process there
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
