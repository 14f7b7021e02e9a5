package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A stage is what the attacks of selfcheck are made on: a folder with a project and a file beside it, sockets, a
// process, a terminal. All of it is gone afterwards.
type stage struct {
	options
	dir    string
	values map[string]string
	env    []string
	extra  *os.File // an open file that must not go in
	master *os.File
	tty    *os.File
	ends   []func()
}

func newStage(o options) (s *stage, err error) {
	s = &stage{options: o}
	defer func() {
		if err != nil {
			s.end()
			s = nil
		}
	}()
	if s.dir, err = os.MkdirTemp("", "sbx-selfcheck-"); err != nil {
		return s, err
	}
	s.ends = append(s.ends, func() { os.RemoveAll(s.dir) })
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return s, err
	}
	project := filepath.Join(s.dir, "project")
	s.values = map[string]string{
		"nonce": nonce(), "variable": nonce(), "stay": nonce(), "project": project,
		"secret": filepath.Join(s.dir, "secret"), "own": filepath.Join(project, "config/sbx/secret"),
		"program": filepath.Join(project, "program.exe"), "desktop": strings.Join(desktopSockets(), ","),
	}
	if err := s.files(project); err != nil {
		return s, err
	}
	if s.profile != "" {
		if err := copyProfiles(filepath.Join(project, "config/sbx")); err != nil {
			return s, err
		}
	}
	// The caller's own state stays out of it, and the configuration, but for the profiles where one is named.
	s.env = append(os.Environ(), "SBX_SELFCHECK_TOKEN="+s.values["variable"], "XDG_CONFIG_HOME="+filepath.Join(project, "config"),
		"XDG_STATE_HOME="+filepath.Join(s.dir, "state"), "XDG_DATA_HOME="+filepath.Join(s.dir, "data"))
	if err := s.servers(project); err != nil {
		return s, err
	}
	if err := s.bystander(); err != nil {
		return s, err
	}
	if err := s.inKernel(); err != nil {
		return s, err
	}
	return s, s.terminal()
}

func nonce() string {
	var b [8]byte
	rand.Read(b[:])
	return "sbx-selfcheck-" + hex.EncodeToString(b[:])
}

func (s *stage) files(project string) (err error) {
	for path, text := range map[string]string{
		s.values["secret"]: "secret\n", s.values["own"]: "secret\n", project + "/.git/config": "[core]\n",
		project + "/.git/HEAD": "ref: refs/heads/main\n", project + "/.envrc": "\n", project + "/sbx.toml": "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := copyProgram("/proc/self/exe", project+"/attacks"); err != nil {
		return err
	}
	if err := s.windowsProgram(); err != nil {
		return err
	}
	s.extra, err = os.Open(s.values["secret"])
	return err
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	program, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer program.Close()
	_, err = io.Copy(program, source)
	return err
}

// windowsProgram copies one that says who runs it, where WSL shows the host's; elsewhere a file that begins as they do.
func (s *stage) windowsProgram() error {
	found, _ := filepath.Glob("/mnt/[a-z]/[Ww][Ii][Nn][Dd][Oo][Ww][Ss]/[Ss]ystem32/whoami.exe")
	if len(found) > 0 {
		return copyProgram(found[0], s.values["program"])
	}
	return os.WriteFile(s.values["program"], []byte("MZ"), 0o755)
}

// servers answer whoever connects with a line.
func (s *stage) servers(project string) error {
	for _, at := range [][2]string{{"unix", project + "/s.sock"}, {"unix", "@" + s.values["nonce"]}, {"tcp", "127.0.0.1:0"}} {
		l, err := new(net.ListenConfig).Listen(context.Background(), at[0], at[1])
		if err != nil {
			return err
		}
		s.ends = append(s.ends, func() { l.Close() })
		if at[0] == "tcp" {
			s.values["tcp"] = l.Addr().String()
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, s.values["nonce"])
				c.Close()
			}
		}()
	}
	return nil
}

// bystander is a process to be seen from outside alone.
func (s *stage) bystander() error {
	cmd := exec.Command("/proc/self/exe", sleeper, s.values["nonce"])
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.ends = append(s.ends, func() { cmd.Process.Kill(); cmd.Wait() })
	return nil
}

// inKernel leaves a key in a session keyring that all children share, and a segment of shared memory. Where the kernel
// has no keyrings, or no more for this user, the attack on the key says so by itself.
func (s *stage) inKernel() error {
	if _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno == 0 {
		unix.AddKey("user", s.values["nonce"], []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
	}
	key := os.Getpid()
	id, err := unix.SysvShmGet(key, os.Getpagesize(), unix.IPC_CREAT|unix.IPC_EXCL|0o600)
	if err != nil {
		return fmt.Errorf("making shared memory: %w", err)
	}
	s.ends = append(s.ends, func() { unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	s.values["shm"] = strconv.Itoa(key)
	return nil
}

// terminal opens one, for the attacks to type into: pty(7).
func (s *stage) terminal() (err error) {
	if s.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(int(s.master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlocking a terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(int(s.master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("finding the name of a terminal: %w", err)
	}
	s.tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return err
}

// copyProfiles copies the caller's, with what they may extend and config.toml, to a folder that takes the configuration's place.
func copyProfiles(to string) error {
	from, err := os.UserConfigDir()
	if err != nil {
		return err
	}
	from = filepath.Join(from, "sbx")
	files, err := filepath.Glob(filepath.Join(from, "profiles", "*.toml"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "profiles"), 0o755); err != nil {
		return err
	}
	for _, path := range append(files, filepath.Join(from, "config.toml")) {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, strings.TrimPrefix(path, from)), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sandbox begins the command line of a sandbox to attack.
func (s *stage) sandbox() []string {
	args := []string{s.sbx, "run"}
	if s.profile != "" {
		args = append(args, "-p", s.profile)
	}
	return args
}

// command is an attack, or sbx with one, as it is run on the stage.
func (s *stage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.values["project"], s.env
	cmd.Stdin, cmd.ExtraFiles = s.tty, []*os.File{s.extra}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return cmd
}

// fill puts what the stage has into the words of an attack.
func (s *stage) fill(words []string) []string {
	filled := make([]string, len(words))
	for i, w := range words {
		for name, value := range s.values {
			w = strings.ReplaceAll(w, "{"+name+"}", value)
		}
		filled[i] = w
	}
	return filled
}

func (s *stage) end() {
	for _, f := range []*os.File{s.extra, s.tty, s.master} {
		f.Close() // of a nil file: an error that nobody needs
	}
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
}
