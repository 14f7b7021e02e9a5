package state

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Log is what a detached sandbox's payload wrote, line by line, in the manner of the Kubernetes CRI:
//
//	TIME STREAM F TEXT      a line, without its end
//	TIME STREAM P TEXT      a part of a line, or of one that is not ended
//
// TIME is RFC 3339 with nanoseconds, in UTC; STREAM is stdout, stderr or terminal; TEXT is as it was
// written, byte for byte. Two files of at most half a bound each: log, and log.1 before it.
type Log struct {
	mutex sync.Mutex
	dir   *os.File
	file  *os.File
	size  int64
	lost  int64
	retry time.Time
}

// LogBound is what the two files of a log take together, in bytes.
const LogBound = 16 << 20

const (
	logFile = "log"
	oldLog  = "log.1"
	// maxPart is the longest text of one entry, in bytes.
	maxPart = 16 << 10
	// logPause is how long a log that cannot be written, as on a full disk, is left alone.
	logPause = 100 * time.Millisecond
)

// OpenLog opens a sandbox's log to write. One that exists goes on.
func (f *Folder) OpenLog() *Log { return &Log{dir: f.dir} }

// Write logs what a stream wrote. It never fails: what a full disk refuses is counted.
func (l *Log) Write(stream string, data []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	stamp := time.Now().UTC().Format(time.RFC3339Nano)
	var text bytes.Buffer
	for rest := data; len(rest) > 0; {
		part, kind := rest, byte('P')
		if end := bytes.IndexByte(rest, '\n'); end >= 0 && end <= maxPart {
			part, rest, kind = rest[:end], rest[end+1:], 'F'
		} else {
			part = rest[:min(len(rest), maxPart)]
			rest = rest[len(part):]
		}
		text.WriteString(stamp + " " + stream + " ")
		text.WriteByte(kind)
		text.WriteByte(' ')
		text.Write(part)
		text.WriteByte('\n')
	}
	if !l.write(text.Bytes()) {
		l.lost += int64(len(data))
	}
}

func (l *Log) write(text []byte) bool {
	if !l.retry.IsZero() && time.Now().Before(l.retry) {
		return false
	}
	l.retry = time.Time{}
	if l.file != nil && l.size+int64(len(text)) > LogBound/2 {
		l.file.Close()
		l.file = nil
		unix.Renameat(int(l.dir.Fd()), logFile, int(l.dir.Fd()), oldLog)
	}
	if l.file == nil && !l.open() {
		return false
	}
	n, err := l.file.Write(text)
	l.size += int64(n)
	if err == nil {
		return true
	}
	if n > 0 { // an entry that is cut off would spoil the next one
		l.size -= int64(n)
		l.file.Truncate(l.size)
	}
	l.retry = time.Now().Add(logPause)
	return false
}

func (l *Log) open() bool {
	fd, err := unix.Openat(int(l.dir.Fd()), logFile, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		l.retry = time.Now().Add(logPause)
		return false
	}
	l.file = os.NewFile(uintptr(fd), logFile)
	l.size, _ = l.file.Seek(0, io.SeekEnd)
	return true
}

// Lost is how much could not be logged, in bytes.
func (l *Log) Lost() int64 {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.lost
}

// Entry is one of a log.
type Entry struct {
	Time   time.Time
	Stream string
	// Whole says that a line ends here.
	Whole bool
	Text  []byte
}

// parseEntry reads a line of a log; ok is false for what is none.
func parseEntry(line []byte) (e Entry, ok bool) {
	fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
	if len(fields) != 4 || len(fields[2]) != 1 {
		return e, false
	}
	when, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	return Entry{when, string(fields[1]), fields[2][0] == 'F', fields[3]}, err == nil
}

// ReadLog gives the entries of a log to see, the oldest first. With follow it waits for more until over
// tells that no more will come; see ends it by an error.
func (f *Folder) ReadLog(follow bool, over func() bool, see func(Entry) error) error {
	old, err := f.openLog(oldLog)
	if err != nil {
		return err
	}
	if old != nil {
		_, err := readEntries(bufio.NewReader(old), nil, see)
		old.Close()
		if err != nil {
			return err
		}
	}
	return f.followLog(follow, over, see)
}

func (f *Folder) openLog(name string) (*os.File, error) {
	fd, err := unix.Openat(int(f.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "reading the log", Path: f.Path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// look is how often a log is looked at for more.
const look = 50 * time.Millisecond

func (f *Folder) followLog(follow bool, over func() bool, see func(Entry) error) error {
	var file *os.File
	var reader *bufio.Reader
	var held []byte
	defer func() { file.Close() }()
	for {
		last := !follow || over() // asked before the last look, so that nothing is missed
		if file == nil {
			var err error
			if file, err = f.openLog(logFile); err != nil {
				return err
			}
			if file != nil {
				reader = bufio.NewReader(file)
			}
		}
		if file != nil {
			var err error
			if held, err = readEntries(reader, held, see); err != nil {
				return err
			}
			if f.rotated(file) {
				if _, err := readEntries(reader, held, see); err != nil { // what came before the rotation
					return err
				}
				file.Close()
				file, held = nil, nil
				continue
			}
		}
		if last {
			return nil
		}
		time.Sleep(look)
	}
}

// rotated tells whether another file has the log's name now.
func (f *Folder) rotated(file *os.File) bool {
	var now, open unix.Stat_t
	if unix.Fstatat(int(f.dir.Fd()), logFile, &now, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return unix.Fstat(int(file.Fd()), &open) == nil && open.Ino != now.Ino
}

// readEntries reads to the end, and returns the start of an entry that is not whole yet.
func readEntries(r *bufio.Reader, held []byte, see func(Entry) error) ([]byte, error) {
	for {
		line, err := r.ReadBytes('\n')
		line = append(held, line...)
		held = nil
		if errors.Is(err, io.EOF) {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
		if e, ok := parseEntry(line); ok {
			if err := see(e); err != nil {
				return nil, err
			}
		}
	}
}
