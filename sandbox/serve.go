package sandbox

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sbx/state"
	"sbx/userns"
)

// serve answers other commands until the socket is closed.
func (l *Life) serve() {
	for {
		c, err := l.socket.accept()
		if err != nil {
			return
		}
		go func() {
			defer c.close()
			l.answer(c)
		}()
	}
}

// answer takes one call and answers it.
func (l *Life) answer(c *conn) {
	var what call
	files, err := c.receive(&what)
	defer closeAll(files)
	if err != nil {
		return
	}
	r := l.running
	switch what.Op {
	case "ping":
		c.send(answer{})
	case "exec":
		l.answerExec(c, &what, files)
	case "attach":
		l.answerAttach(c, &what, files)
	case "root":
		l.answerRoot(c)
	case "namespaces":
		l.answerNamespaces(c)
	case "wait":
		l.answerEnd(c)
	case "stop":
		go r.stop(unix.Signal(what.Signal), what.Grace, state.CauseStopped)
		l.answerEnd(c)
	case "kill":
		l.answerKill(c, unix.Signal(what.Signal))
	case "rename":
		c.send(answer{Refused: refuseIf(l.rename(what.Name))})
	case "pause", "resume":
		c.send(answer{Refused: refuseIf(l.pause(what.Op == "pause"))})
	case "port":
		l.answerPort(c, &what)
	case "network":
		c.send(answer{Network: r.network.report()})
	case "hold":
		l.answerHold(c)
	case "stats":
		load, err := l.load()
		c.send(answer{Refused: refuseIf(err), Load: load})
	default:
		c.send(answer{Refused: &refusal{Text: "the sandbox's supervisor is of another version of sbx, and does not know " + what.Op}})
	}
}

func refuseIf(err error) *refusal {
	if err == nil {
		return nil
	}
	return refuse(err)
}

// answerEnd answers when the sandbox has ended, and that is on record.
func (l *Life) answerEnd(c *conn) {
	l.told.Add(1)
	defer l.told.Done()
	<-l.done
	c.send(answer{Ended: true, Status: *l.record.Exit, Cause: l.record.Cause}) // nobody changes it any more
}

func (l *Life) answerKill(c *conn, sig unix.Signal) {
	r := l.running
	if sig == unix.SIGKILL {
		r.stop(sig, 0, state.CauseKilled)
		l.answerEnd(c)
		return
	}
	err := unix.ESRCH
	control(r.process.Payload, func(pidfd int) {
		failed := unix.PidfdSendSignal(pidfd, sig, nil, 0)
		err, _ = failed.(unix.Errno)
	})
	if err != 0 {
		c.send(answer{Refused: refuse(err)})
		return
	}
	c.send(answer{})
}

func (l *Life) answerRoot(c *conn) {
	root, err := l.running.root()
	if err != nil {
		c.send(answer{Refused: refuse(err)})
		return
	}
	c.send(answer{}, root)
}

// answerExec starts a further command, hands its pidfd and its terminal to the caller, who signals and
// relays by itself, and tells its end. When the caller goes away first, the command goes too.
func (l *Life) answerExec(c *conn, what *call, files []*os.File) {
	r := l.running
	if what.Exec == nil || len(files) != 3+len(what.Exec.Descriptors) {
		c.send(answer{Refused: &refusal{Text: "a call without its parts"}})
		return
	}
	if err := l.mayExec(); err != nil {
		c.send(answer{Refused: refuse(err)})
		return
	}
	job, err := r.exec(what.Exec, [3]*os.File(files[:3]), files[3:])
	closeAll(files)
	if err != nil {
		if errors.Is(err, userns.ErrEnded) {
			err = &NotRunningError{l.folder.Name()}
		}
		c.send(answer{Refused: refuse(err)})
		return
	}
	defer job.Close()
	passed := []*os.File{job.Pidfd}
	if master := job.Files[masterSlot]; master != nil {
		passed = append(passed, master)
	}
	if c.send(answer{PID: job.PID}, passed...) != nil && !what.Exec.Stays {
		signalPayload(job.Pidfd, unix.SIGKILL)
		return
	}
	if len(passed) > 1 {
		passed[1].Close() // the caller's end alone is to hold the terminal open
	}
	if what.Exec.Stays {
		return
	}
	l.followJob(c, job)
}

func (l *Life) followJob(c *conn, job *userns.Job) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for c.skip() == nil {
		}
	}()
	ended := make(chan answer, 1)
	go func() {
		status, err := job.Wait()
		if err != nil {
			// It was killed with all else inside.
			<-l.running.over
			status = unix.WaitStatus(unix.SIGKILL)
		}
		ended <- answer{Ended: true, Status: exitStatus(status)}
	}()
	select {
	case a := <-ended:
		c.send(a)
	case <-gone:
		signalPayload(job.Pidfd, unix.SIGHUP)
		select {
		case <-ended:
		case <-time.After(grace):
			signalPayload(job.Pidfd, unix.SIGKILL)
		}
	}
}

// mayExec refuses where nothing could run now.
func (l *Life) mayExec() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.record.Paused {
		return &UsageError{"the sandbox " + l.folder.Name() + " is paused", "sbx resume " + l.folder.Name()}
	}
	return nil
}

// NoCgroupError is what takes a cgroup of the sandbox's own, where it has none.
type NoCgroupError struct{ What, Name string }

func (e *NoCgroupError) Error() string {
	return e.What + " " + e.Name + " takes a cgroup of its own, and it has none: sbx doctor tells why"
}

// freezing is how long it may take until all processes of a sandbox stand still.
const freezing = 5 * time.Second

// freeze stops all processes, or lets them go on. It is false where there is no cgroup.
func (r *Running) freeze(on bool) (has bool, err error) {
	r.counting.Lock()
	defer r.counting.Unlock()
	switch {
	case r.group == nil:
		return false, nil
	case on:
		return true, r.group.Freeze(freezing)
	}
	return true, r.group.Thaw(freezing)
}

// pause stops the sandbox, or lets it go on, and notes that.
func (l *Life) pause(on bool) error {
	has, err := l.running.freeze(on)
	if !has {
		what := "pausing"
		if !on {
			what = "resuming"
		}
		return &NoCgroupError{what, l.folder.Name()}
	}
	if err != nil {
		if on {
			l.running.freeze(false)
		}
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.record.Paused = on
	return l.folder.Write(l.record)
}

// answerHold stops the sandbox for as long as the caller is there. One that is paused already stays so.
func (l *Life) answerHold(c *conn) {
	held := l.paused()
	if !held {
		var err error
		held, err = l.running.freeze(true)
		defer func() {
			if !l.paused() {
				l.running.freeze(false)
			}
		}()
		if err != nil {
			c.send(answer{Refused: refuse(err)})
			return
		}
	}
	if c.send(answer{Held: held}) == nil {
		c.skip() // until the caller has gone
	}
}

func (l *Life) paused() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.record.Paused
}
