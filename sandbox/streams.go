package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sbx/harden"
)

// Streams are the caller's own 0, 1 and 2, and what it hands in beside them.
type Streams struct {
	Stdin, Stdout, Stderr *os.File
	// More become the payload's 3 and on.
	More []*os.File
}

func (s Streams) files() [3]*os.File { return [3]*os.File{s.Stdin, s.Stdout, s.Stderr} }

// streamNames are how people call 0, 1 and 2.
var streamNames = [3]string{"stdin", "stdout", "stderr"}

// inspect finds out what the streams are: terminals, which are replaced; files, to which the payload
// gets just the rights that their descriptors have; and folders, which are refused, since whoever
// holds one reaches what is in it.
func (s *Spec) inspect(streams Streams) error {
	for i, f := range streams.files() {
		fd := int(f.Fd())
		if s.Terminals[i] = term.IsTerminal(fd); s.Terminals[i] {
			continue
		}
		_, rights, err := lookAt(streamNames[i], f)
		if err != nil {
			return err
		}
		s.Streams[i] = rights
	}
	s.Window = windowSize(streams)
	return s.inspectMore(streams.More)
}

// lookAt is the file's mode, and the Landlock rights that its descriptor stands for. A folder is refused.
func lookAt(name string, f *os.File) (mode uint32, rights uint64, err error) {
	var st unix.Stat_t
	var flags int
	if failed := control(f, func(fd int) {
		if err = unix.Fstat(fd, &st); err == nil {
			flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		}
	}); failed != nil {
		err = failed
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking at %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || flags&unix.O_PATH != 0 {
		return 0, 0, &UsageError{name + " is a folder, which would show the sandbox all that is in it", "redirect it from a file or /dev/null"}
	}
	return st.Mode, streamRights(st.Mode, flags), nil
}

// IsTerminal tells whether a file is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// CanAsk tells whether whoever sits at the terminal can be asked while the payload runs.
func (s *Spec) CanAsk() bool { return s.Terminals[0] && (s.Terminals[1] || s.Terminals[2]) }

// DetachedStreams are of the kinds that a detached payload without a terminal has: no input, and pipes.
// done closes them.
func DetachedStreams() (streams Streams, done func(), err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return streams, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		null.Close()
		return streams, nil, err
	}
	return Streams{Stdin: null, Stdout: w, Stderr: w}, func() { null.Close(); r.Close(); w.Close() }, nil
}

// OwnTerminal gives a detached payload a terminal, of the caller's size where that has one.
func (s *Spec) OwnTerminal(caller Streams) {
	s.Terminals, s.Streams = [3]bool{true, true, true}, [3]uint64{}
	if s.Window = windowSize(caller); s.Window.Col == 0 || s.Window.Row == 0 {
		s.Window = unix.Winsize{Row: 24, Col: 80}
	}
}

// streamRights are the rights that a descriptor of this type and open mode stands for.
func streamRights(fileMode uint32, openMode int) (rights uint64) {
	switch fileMode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFCHR, unix.S_IFIFO:
	default:
		return 0
	}
	access := openMode & unix.O_ACCMODE
	if access != unix.O_WRONLY {
		rights |= harden.LandlockReadFile
	}
	if access != unix.O_RDONLY {
		rights |= harden.LandlockWriteFile | harden.LandlockTruncate
	}
	if fileMode&unix.S_IFMT != unix.S_IFREG {
		rights |= harden.LandlockTruncate // a device or a pipe holds nothing that could be emptied
	}
	return rights
}

// windowSize is that of the first stream that is a terminal.
func windowSize(streams Streams) (size unix.Winsize) {
	for _, f := range streams.files() {
		if got, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			return *got
		}
	}
	return size
}
