package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A port carries messages out of the guest.
type port struct{ *json.Encoder }

// work does the job on the second drive, as root in the guest, and waits to be switched off. It returns errors
// alone.
func work() error {
	f, err := os.OpenFile("/dev/virtio-ports/sbx", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	out := port{json.NewEncoder(f)}
	if err := out.work(); err != nil {
		out.Encode(message{Error: err.Error()})
		return err
	}
	if err := out.Encode(message{End: true}); err != nil {
		return err
	}
	select {}
}

func (out port) work() error {
	var j job
	b, err := os.ReadFile(stage + "/job.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if err := giveStage(); err != nil {
		return err
	}
	if err := out.Encode(message{Kernel: kernel()}); err != nil {
		return err
	}
	for i, p := range j.Parts {
		if err := out.run(i, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// giveStage gives the drive's files the owners that tests/setup.sh gives them outside.
func giveStage() error {
	owner, err := user.Lookup("sbxtest")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	err = filepath.WalkDir(stage, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, stage+"/src") {
			return os.Lchown(path, uid, gid)
		}
		return os.Lchown(path, 0, 0)
	})
	if err != nil {
		return err
	}
	extra, err := user.LookupGroup("sbxextra")
	if err != nil {
		return err
	}
	secret := stage + "/group/secret"
	if err := os.WriteFile(secret, []byte("for the extra group alone\n"), 0o640); err != nil {
		return err
	}
	gid, _ = strconv.Atoi(extra.Gid)
	return os.Chown(secret, 0, gid)
}

func kernel() string {
	var u unix.Utsname
	unix.Uname(&u)
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// run sends the output of a part line by line, and how it ended.
func (out port) run(i int, p part) error {
	began := time.Now()
	cmd := p.command()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if err := out.Encode(message{Part: i, Line: &line}); err != nil {
			return err
		}
	}
	status := 0
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	return out.Encode(message{Part: i, Exit: &status, Time: &took})
}

// command starts p as its user: through PAM in a login session, or as su and cron do, without one.
func (p part) command() *exec.Cmd {
	env := append([]string{"PATH=" + stage + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "STAGE=" + stage}, p.Env...)
	var args []string
	if p.Session {
		args = []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect", "-p", "PAMName=login", "-p", "User=" + p.User,
			"--", "env"}
	} else {
		args = []string{"setsid", "--wait", "setpriv", "--reuid", p.User, "--regid", p.User, "--init-groups", "--inh-caps=-all",
			"--reset-env", "env"}
	}
	args = append(args, "-C", filepath.Join(stage, p.Dir))
	args = append(args, env...)
	args = append(args, p.Args...)
	return exec.Command(args[0], args[1:]...)
}
