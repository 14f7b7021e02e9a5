package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sbx/userns"
)

// Descriptors that the caller hands to the payload beside its streams, from 3 on, under the same numbers.

// firstHanded is the number of the first one, as sd_listen_fds(3) has it too (SD_LISTEN_FDS_START).
const firstHanded = 3

// maxHanded is how many there may be: the walk needs numbers of its own above them, and detaching one more.
const maxHanded = 15

// Descriptor is one that the payload gets.
type Descriptor struct {
	Number int    `json:"number"`
	Kind   string `json:"kind"`
	// Rights are the Landlock rights to the file that it is; 0 for what is no file.
	Rights uint64 `json:"-"`
}

// TakeInherited counts the descriptors from 3 on that this program was started with, as far as they follow
// each other, and shuts them, and all others, to the programs that it starts. It has to run before such a one is
// started. What the program itself and the Go runtime have open is close-on-exec, and so is told from these.
func TakeInherited() (count int) {
	for {
		flags, err := unix.FcntlInt(uintptr(firstHanded+count), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		count++
	}
	if unix.CloseRange(firstHanded, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		for fd := range count {
			unix.CloseOnExec(firstHanded + fd)
		}
	}
	return count
}

// Handed are the first n of count inherited descriptors. It may be called once, for each is its file's own.
func Handed(n, count int) (files []*os.File, err error) {
	switch {
	case n < 0 || n > maxHanded:
		return nil, &UsageError{fmt.Sprintf("--preserve-fds %d: up to %d descriptors can be handed in", n, maxHanded), "hand in the first ones, as in: --preserve-fds 1"}
	case n > count:
		fd := firstHanded + count
		return nil, &UsageError{fmt.Sprintf("--preserve-fds %d means the descriptors from 3 to %d, and %d is not open", n, firstHanded+n-1, fd),
			fmt.Sprintf("open it for sbx, as in: sbx ... %d<FILE", fd)}
	}
	for i := range n {
		files = append(files, os.NewFile(uintptr(firstHanded+i), "descriptor "+strconv.Itoa(firstHanded+i)))
	}
	return files, nil
}

// inspectMore looks at the descriptors that are handed in beside the streams. A terminal is none of them: the
// payload would read what is typed next there.
func (s *Spec) inspectMore(files []*os.File) error {
	s.Descriptors = nil
	for i, f := range files {
		d := Descriptor{Number: firstHanded + i}
		name := "descriptor " + strconv.Itoa(d.Number)
		mode, rights, err := lookAt(name, f)
		if err != nil {
			return err
		}
		terminal := false
		control(f, func(fd int) { terminal = term.IsTerminal(fd) })
		if terminal {
			return &UsageError{name + " is a terminal, from which the sandbox would read what is typed next", "hand in a file, a pipe or a socket"}
		}
		d.Kind, d.Rights = kindOf(mode), rights
		s.Descriptors = append(s.Descriptors, d)
	}
	return nil
}

func kindOf(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "device"
	}
	return "other" // of the kernel's own: epoll, a pidfd and the like
}

// handedSlot is where the walk finds one of them. The names sort before those of other inputs, so that their
// numbers in the walk are the lowest, each one above that which it gets in the end (userns, childInputs).
func handedSlot(number int) userns.Slot { return userns.Slot(fmt.Sprintf("caller.%02d", number)) }

// handedInputs are the inputs of a walk with these descriptors.
func handedInputs(files []*os.File, inputs map[userns.Slot]*os.File) map[userns.Slot]*os.File {
	for i, f := range files {
		if inputs == nil {
			inputs = map[userns.Slot]*os.File{}
		}
		inputs[handedSlot(firstHanded+i)] = f
	}
	return inputs
}

// descriptorSteps leave the payload 0, 1, 2 and what is handed in, in ascending order, so that none takes a
// number that another one still has.
func descriptorSteps(s *Spec) (steps []userns.Step) {
	const do = "handing in descriptors"
	if len(s.Descriptors) > 0 {
		steps = append(steps, userns.RaiseSocket(do))
	}
	for _, d := range s.Descriptors {
		steps = append(steps, userns.Dup(do, handedSlot(d.Number), d.Number))
	}
	return append(steps, userns.CloseOnExec("closing all other descriptors", firstHanded+len(s.Descriptors)))
}

func (s *Spec) descriptorWords() string {
	words := make([]string, len(s.Descriptors))
	for i, d := range s.Descriptors {
		words[i] = fmt.Sprintf("%d (%s)", d.Number, d.Kind)
	}
	return strings.Join(words, ", ") + ", handed in by the caller"
}

// payloadPID is the payload's number inside: it is the first child of PID 1.
const payloadPID = 2

// activation are the variables of socket activation (sd_listen_fds(3)) where they are meant for this process,
// with the payload in its place.
func activation(environ map[string]string, handed int) (env []string) {
	n, err := strconv.Atoi(environ["LISTEN_FDS"])
	if err != nil || n < 1 || n > handed || environ["LISTEN_PID"] != strconv.Itoa(os.Getpid()) {
		return nil
	}
	env = append(env, "LISTEN_PID="+strconv.Itoa(payloadPID), "LISTEN_FDS="+strconv.Itoa(n))
	if names, set := environ["LISTEN_FDNAMES"]; set {
		env = append(env, "LISTEN_FDNAMES="+names)
	}
	return env
}
