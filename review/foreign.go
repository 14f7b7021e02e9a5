package review

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Files of sub-ids, and those that their owner may not read, are reached through a process that is root of a
// user namespace: it opens, and hands the descriptor over. Who starts it is not this package's concern.

// peer is the asking side.
type peer struct {
	mutex  sync.Mutex
	socket *os.File
}

// maxRequest is a kind and a path, in bytes; openat2(2) takes no longer path.
const maxRequest = 1 + unix.PathMax

// foreign asks for a descriptor: 'o' of a regular file to read, 's' of a path as such, 'l' of the list of a
// folder, 'q' of whether a folder is opaque.
func (t *tree) foreign(kind byte, rel string) (*os.File, error) {
	p, err := t.ask()
	if err != nil {
		return nil, err
	}
	f, err := p.request(kind, rel)
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: path.Join(t.path, rel), Err: err}
	}
	return f, nil
}

func (t *tree) foreignAttribute(rel, name string) ([]byte, error) {
	kind := byte('q')
	if name == originAttribute {
		kind = 'g'
	}
	f, err := t.foreign(kind, rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 256)
	n, err := f.ReadAt(buf, 0)
	return buf[:n], ignoreEOF(err)
}

func (p *peer) request(kind byte, rel string) (*os.File, error) {
	if len(rel) >= unix.PathMax {
		return nil, unix.ENAMETOOLONG
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	fd := int(p.socket.Fd())
	if _, err := unix.Write(fd, append([]byte{kind}, rel...)); err != nil {
		return nil, fmt.Errorf("asking in the user namespace: %w", err)
	}
	answer, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(fd, answer, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 4 {
		return nil, fmt.Errorf("asking in the user namespace: it has ended (%v)", err)
	}
	if errno := syscall.Errno(binary.LittleEndian.Uint32(answer)); errno != 0 {
		return nil, errno
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("asking in the user namespace: no descriptor came (%v)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("asking in the user namespace: no descriptor came (%v)", err)
	}
	return os.NewFile(uintptr(fds[0]), path.Base(rel)), nil
}

// Serve is the answering side: it opens what lies below a folder for who asks over a SEQPACKET socket, until
// that is closed.
func Serve(socket *os.File, folder string) error {
	t, err := openTree(folder)
	if err != nil {
		return err
	}
	defer t.close()
	request := make([]byte, maxRequest)
	for {
		n, err := unix.Read(int(socket.Fd()), request)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n < 1 {
			return err
		}
		f, err := t.answer(request[0], string(request[1:n]))
		if err := reply(socket, f, err); err != nil {
			return err
		}
	}
}

// answer opens what is asked for.
func (t *tree) answer(kind byte, rel string) (*os.File, error) {
	switch kind {
	case 'o':
		f, _, err := t.open(rel)
		return f, err
	case 's':
		return t.openOwn(rel, unix.O_PATH, 0)
	case 'l':
		list, err := t.list(rel)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		return inMemory(text)
	case 'q':
		value, err := t.attribute(rel, opaqueAttribute, unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		return inMemory(value)
	case 'g':
		value, err := t.attribute(rel, originAttribute, unix.O_NONBLOCK|unix.O_NOCTTY)
		if err != nil {
			return nil, err
		}
		return inMemory(value)
	}
	return nil, unix.EINVAL
}

// inMemory is a file with a text and no name.
func inMemory(text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("sbx", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "sbx")
	_, err = f.WriteAt(text, 0)
	return f, err
}

// reply sends a descriptor, or the error in its place.
func reply(socket, f *os.File, failed error) error {
	answer, rights := make([]byte, 4), []byte(nil)
	if failed != nil {
		errno, ok := errnoOf(failed)
		if !ok {
			errno = unix.EIO
		}
		binary.LittleEndian.PutUint32(answer, uint32(errno))
	} else {
		defer f.Close()
		rights = unix.UnixRights(int(f.Fd()))
	}
	return unix.Sendmsg(int(socket.Fd()), answer, rights, nil, 0)
}
