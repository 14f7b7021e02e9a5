package slirp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Builtin is a running sbx-net, seen from the supervisor.
type Builtin struct {
	*Helper
	socket *os.File
	lines  *bufio.Reader
	mutex  sync.Mutex // of writing
	asking sync.Mutex // one report is asked for at a time
	report chan *Report
	asked  chan *Question
}

// device is what the sandbox sees of a built-in network.
const deviceName = "net0"

// DeviceSlot holds what the sandbox hands out once it has made the network device.
const DeviceSlot userns.Slot = "network"

// DeviceStep is what making the device is for, as errors say it.
const DeviceStep = "making the network device"

// ResolvConf is where the host's resolver is configured: resolv.conf(5).
const ResolvConf = "/etc/resolv.conf"

// maxResolvConf bounds what is read of it, in bytes.
const maxResolvConf = 64 << 10

// maxWord bounds a line of sbx-net's, in bytes: a report has at most 1000 contacts.
const maxWord = 1 << 20

// StartBuiltin starts the program sbx-net at path. It waits until HandOver.
func StartBuiltin(path string) (*Builtin, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making the socket to sbx-net: %w", err)
	}
	h := &Helper{name: "sbx-net", ready: -1, exit: -1, said: &tail{}, ended: make(chan struct{})}
	err = h.launch(path, nil, pair[1])
	unix.Close(pair[1])
	if err != nil {
		unix.Close(pair[0])
		return nil, &HelperError{Name: h.name, Err: err}
	}
	socket := os.NewFile(uintptr(pair[0]), "sbx-net")
	return &Builtin{Helper: h, socket: socket, lines: bufio.NewReaderSize(socket, 4096), report: make(chan *Report, 1),
		asked: make(chan *Question, MaxQuestions)}, nil
}

// HandOver gives sbx-net the sandbox's device and what it is to do, and returns when it reads the packets.
func (b *Builtin) HandOver(s Setup, device *os.File) error {
	s.ResolvConf = readResolvConf()
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	n, err := unix.SendmsgN(int(b.socket.Fd()), line, unix.UnixRights(int(device.Fd())), nil, unix.MSG_NOSIGNAL)
	device.Close()
	if err == nil && n < len(line) {
		_, err = b.socket.Write(line[n:])
	}
	if err != nil {
		return b.error(err)
	}
	unix.SetsockoptTimeval(int(b.socket.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})
	word, err := b.hear()
	switch {
	case err != nil:
		return b.error(err)
	case word.Error != "":
		return b.error(errors.New(word.Error))
	case !word.Ready:
		return b.error(errNotReady)
	}
	unix.SetsockoptTimeval(int(b.socket.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
	go b.listen()
	return nil
}

func (b *Builtin) error(err error) error {
	if err == io.EOF || errors.Is(err, unix.EPIPE) {
		err = errNotReady
	}
	return &HelperError{Name: b.name, Said: b.said.String(), Err: err}
}

// hear reads a line, which may come from somebody hostile.
func (b *Builtin) hear() (w Word, err error) {
	var line []byte
	for {
		part, err := b.lines.ReadSlice('\n')
		line = append(line, part...)
		if err == bufio.ErrBufferFull && len(line) < maxWord {
			continue
		}
		if err != nil {
			return w, err
		}
		return w, json.Unmarshal(line, &w)
	}
}

func (b *Builtin) say(r Reply) {
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	unix.SendmsgN(int(b.socket.Fd()), append(line, '\n'), nil, nil, unix.MSG_NOSIGNAL)
}

// listen answers sbx-net until it ends.
func (b *Builtin) listen() {
	defer close(b.report)
	defer close(b.asked)
	for {
		word, err := b.hear()
		switch {
		case err != nil:
			return
		case word.Resolv:
			content := readResolvConf()
			b.say(Reply{ResolvConf: &content})
		case word.Ask != nil:
			select {
			case b.asked <- word.Ask:
			default: // more than it says that it asks
			}
		case word.Report != nil:
			select {
			case b.report <- word.Report:
			default: // nobody has asked
			}
		}
	}
}

// Answer has questions answered, one after the other, until sbx-net ends. A nil Builtin has none.
func (b *Builtin) Answer(ask func(*Question) Answer) {
	if b == nil {
		return
	}
	go func() {
		for q := range b.asked {
			answer := ask(q)
			answer.ID = q.ID
			b.say(Reply{Answer: &answer})
		}
	}()
}

// reportTime is how long sbx-net may take for its report.
const reportTime = 2 * time.Second

// Report is what there is so far; nil where sbx-net does not answer. A nil Builtin has none.
func (b *Builtin) Report() *Report {
	if b == nil {
		return nil
	}
	return b.ask(Reply{Report: true})
}

// Finish ends sbx-net and returns its report; nil where it gives none. A nil Builtin has none.
func (b *Builtin) Finish() *Report {
	if b == nil {
		return nil
	}
	report := b.ask(Reply{End: true})
	b.End()
	return report
}

// ask waits for the report that a reply asks for. One that came too late for who asked before is no answer.
func (b *Builtin) ask(r Reply) *Report {
	b.asking.Lock()
	defer b.asking.Unlock()
	select {
	case <-b.report:
	default:
	}
	b.say(r)
	select {
	case report := <-b.report: // nil when it has ended
		return report
	case <-time.After(reportTime):
		return nil
	}
}

// End ends sbx-net at once. A nil Builtin has ended.
func (b *Builtin) End() {
	if b == nil {
		return
	}
	b.Helper.End()
	b.socket.Close()
}

func readResolvConf() string {
	f, err := os.Open(ResolvConf)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxResolvConf))
	return string(data)
}
