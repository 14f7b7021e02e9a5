package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// ExecRequest is a further command for a sandbox that runs.
type ExecRequest struct {
	// Command is its argv; empty: the user's shell.
	Command []string `json:"command"`
	// Env is laid over the payload's environment, KEY=VALUE.
	Env []string `json:"env,omitempty"`
	// Workdir is a folder inside; empty: the payload's.
	Workdir string `json:"workdir,omitempty"`
	// Terminals says which of its streams become a terminal of the sandbox, of the size Window.
	Terminals [3]bool      `json:"terminals"`
	Window    unix.Winsize `json:"window"`
	// Null says which of its streams are /dev/null: the sandbox's own one takes their place, which can be
	// opened anew inside.
	Null [3]bool `json:"null"`
	// Stays lets it run on when the caller goes away.
	Stays bool `json:"stays,omitempty"`
	// Descriptors are those that it gets beside its streams.
	Descriptors []Descriptor `json:"descriptors,omitempty"`
}

// inside are descriptors of the sandbox that the supervisor gets when it first needs them: a child of
// PID 1 opens them. What the payload could have put in their places is told by their kind.
type inside struct {
	mutex sync.Mutex
	files map[userns.Slot]*os.File
}

// ptsInput is the sandbox's devpts in the plan of a further command.
const ptsInput userns.Slot = "pts"

func (r *Running) open(slot userns.Slot, path string, magic int64) (*os.File, error) {
	r.inside.mutex.Lock()
	defer r.inside.mutex.Unlock()
	if f := r.inside.files[slot]; f != nil {
		return f, nil
	}
	do := "opening " + path + " of the sandbox"
	f, err := r.handedOut(do, slot, path, userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}, magic)
	if err != nil {
		return nil, err
	}
	r.inside.keep(slot, f)
	return f, nil
}

// handedOut has a child of PID 1 open a path inside and hand it out. magic is that of the file system that it
// has to be on, statfs(2); 0: any.
func (r *Running) handedOut(do string, slot userns.Slot, path string, how userns.How, magic int64) (*os.File, error) {
	job, err := r.process.Exec([]userns.Step{userns.Open(do, path, how).To(slot), userns.Send(do, slot)}, userns.Options{})
	if err != nil {
		return nil, err
	}
	f := job.Files[slot]
	delete(job.Files, slot)
	job.Close()
	var st unix.Statfs_t
	if f == nil || unix.Fstatfs(int(f.Fd()), &st) != nil || magic != 0 && st.Type != magic {
		f.Close()
		return nil, fmt.Errorf("%s: it is not what the sandbox was made with", do)
	}
	return f, nil
}

func (i *inside) keep(slot userns.Slot, f *os.File) {
	if i.files == nil {
		i.files = map[userns.Slot]*os.File{}
	}
	i.files[slot] = f
}

func (r *Running) closeInside() {
	r.inside.mutex.Lock()
	defer r.inside.mutex.Unlock()
	for _, f := range r.inside.files {
		f.Close()
	}
}

// root is the sandbox's root folder.
func (r *Running) root() (*os.File, error) { return r.open("root", "/", 0) }

// exec starts a further command. What it is and where it is looked for comes from the spec and from the
// caller, and from nothing inside.
func (r *Running) exec(request *ExecRequest, streams [3]*os.File, more []*os.File) (*userns.Job, error) {
	s := r.spec.with(request)
	o := userns.Options{Stdin: streams[0], Stdout: streams[1], Stderr: streams[2], Inputs: handedInputs(more, map[userns.Slot]*os.File{})}
	steps := payloadSteps(s)
	if s.Terminals != [3]bool{} {
		pts, err := r.open(ptsInput, "/dev/pts", unix.DEVPTS_SUPER_MAGIC)
		if err != nil {
			return nil, err
		}
		o.Inputs[ptsInput] = pts
		opened := append(userns.OpenTerminal("opening a terminal", ptsInput, masterSlot, slaveSlot, s.Window),
			userns.Send("handing out the terminal", masterSlot))
		steps = append(opened, steps...)
	}
	for fd, null := range request.Null {
		if null {
			const do = "opening /dev/null"
			steps = append([]userns.Step{
				userns.Open(do, "/dev/null", userns.How{Flags: unix.O_RDWR, Resolve: unix.RESOLVE_NO_SYMLINKS}).To("null"),
				userns.Dup(do, "null", fd),
			}, steps...)
		}
	}
	job, err := r.process.Exec(steps, o)
	var failed *userns.StepError
	if errors.As(err, &failed) && failed.Step.IsExec() {
		return nil, &NotExecutedError{Command: s.Command[0], Errno: failed.Errno}
	}
	return job, err
}

// with is the spec of a further command in the same sandbox.
func (s *Spec) with(request *ExecRequest) *Spec {
	further := *s
	further.Env = overlay(s.Env, request.Env)
	further.Command, further.Terminals, further.Window = request.Command, request.Terminals, request.Window
	further.Descriptors = request.Descriptors
	env := environment(further.Env)
	if len(further.Command) == 0 {
		further.Command = []string{env["SHELL"]}
	}
	if path.IsAbs(request.Workdir) {
		further.Workdir = request.Workdir
	}
	further.Attempts = attempts(further.Command[0], env["PATH"])
	return &further
}

// overlay is an environment with variables that replace those of the same name.
func overlay(env, over []string) []string {
	list := slices.Clone(env)
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		list = slices.DeleteFunc(list, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		list = append(list, kv)
	}
	return list
}
