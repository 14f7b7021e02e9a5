package sandbox

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
)

// rootPowers are the capabilities that root keeps in a sandbox on an image: what package managers and
// services need of their own files and users. They count in the sandbox's own user namespace alone, and
// give nothing over the network, devices or the kernel.
const rootPowers = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL |
	1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETFCAP

// resolveImageRoot lays out a root of layers, the environment and the command.
func resolveImageRoot(s *Spec, r *Request, p *profiles.Profile, b *base) error {
	s.Hostname = b.name
	line := accountLine(b.passwd, s.IDs.UID)
	home := cmp.Or(absoluteOr(line[5], ""), homeInside(s, r.Account))
	l := b.firstEntries(s, r.Account, home, line[0] == "")
	l.home = home
	l.own, l.state = ownFolders(r.Account.Home, r.Account.UID), StateFolder(r.Account.Home)
	if err := l.keepHome(s, r, p, home); err != nil {
		return err
	}
	if err := l.files(s, r, p); err != nil {
		return err
	}
	l.certificates(s)
	if err := l.coverOwnFolders(); err != nil {
		return err
	}
	b.identity(l, s, r.Account, home, line[0])
	if r.Account.UID == 0 {
		l.hideRootsSecrets()
	}
	if err := l.coverSockets(r.Project.Dir); err != nil {
		return err
	}
	if err := l.finish(s, r.Account); err != nil {
		return err
	}
	s.Root.Resize = memoryBound(s, p)
	if s.Root.OldKernel {
		return &UsageError{"this kernel has no mount_setattr(2)", "images need Linux 5.12 or newer"}
	}
	s.Root.Overlay = &fuseoverlay.Overlay{Folder: b.folder, Layers: b.layers, Upper: r.Upper, UID: s.IDs.UID, GID: s.IDs.GID}
	s.Root.Overlay.Fuse, s.Root.Overlay.SetUID = s.Image.Driver == driverFuse, s.Harden.SetUID
	s.Root.Overlay.OtherUser = s.IDs.UID != 0 && len(s.IDs.Maps.UID) > 1
	b.workdir(l, s, r, home)
	b.command(s, r, home, line)
	s.Root.Overlay.Folders = append(s.Root.Overlay.Folders, fuseoverlay.Folder{Path: "/tmp", Mode: 0o1777})
	// What the image declares as volumes is anonymous: it lies in the upper, and goes with that.
	for _, volume := range s.Image.Volumes {
		if _, entry := l.shows(volume); entry == nil {
			s.Root.Overlay.Folders = append(s.Root.Overlay.Folders, fuseoverlay.Folder{Path: volume, Mode: 0o755})
		}
	}
	return nil
}

// accountLine is the line of a uid in the text of passwd(5), by fields; all empty where there is none.
func accountLine(passwd string, uid uint32) []string {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) == 7 && f[2] == fmt.Sprint(uid) {
			return f
		}
	}
	return make([]string, 7)
}

func absoluteOr(path, other string) string {
	if filepath.IsAbs(path) && !strings.ContainsRune(path, 0) {
		return filepath.Clean(path)
	}
	return other
}

// firstEntries are those that no profile changes: what the kernel provides, in place of whatever the image
// has there, and a home for a user that the image does not know.
func (b *base) firstEntries(s *Spec, account host.Account, home string, unknown bool) *layout {
	l := &layout{links: b.links}
	l.scratch("/dev", 0o755)
	l.kernel()
	l.maskProc(s)
	if exists(cpuFolder) {
		l.bind(cpuFolder, cpuFolder, false)
	}
	if s.Cgroup.Way != host.CgroupNone {
		l.add(fuseoverlay.Entry{Kind: fuseoverlay.Cgroup, Target: cgroupFolder})
	}
	if unknown && home != "/" && s.IDs.UID != 0 {
		l.scratch(home, 0o700)
	}
	l.first = 0
	l.base = len(l.entries)
	return l
}

// identity adds the files that name the sandbox and its user. They lie in the sandbox's own layer.
func (b *base) identity(l *layout, s *Spec, account host.Account, home, known string) {
	own := func(path, content string) {
		if _, entry := l.shows(path); entry == nil {
			l.add(fuseoverlay.Entry{Kind: fuseoverlay.File, Target: path, Content: content, Mode: 0o644})
		}
	}
	own("/etc/hosts", "127.0.0.1\tlocalhost "+s.Hostname+"\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	own("/etc/hostname", s.Hostname+"\n")
	own("/etc/resolv.conf", s.resolvConfContent())
	if known != "" || s.IDs.UID == 0 {
		return
	}
	name := nameInside(s.IDs.UID, account)
	// No password, and none in shadow(5): with an x there PAM takes the account for a locked one, and sudo refuses it.
	own("/etc/passwd", withNewline(b.passwd)+fmt.Sprintf("%s:*:%d:%d::%s:/bin/sh\n", name, s.IDs.UID, s.IDs.GID, home))
	if accountLine3(b.group, s.IDs.GID) == "" {
		own("/etc/group", withNewline(b.group)+fmt.Sprintf("%s:x:%d:\n", name, s.IDs.GID))
	}
}

// accountLine3 is the name of a gid in the text of group(5).
func accountLine3(group string, gid uint32) string {
	for line := range strings.Lines(group) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == fmt.Sprint(gid) {
			return f[0]
		}
	}
	return ""
}

func withNewline(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// workdir is the folder asked for, else the caller's where it is shown, else the image's, else the home.
// One that the image names is made where it is missing.
func (b *base) workdir(l *layout, s *Spec, r *Request, home string) {
	source, _ := l.shows(r.Cwd)
	switch {
	case r.Workdir != "":
		s.Workdir = r.Workdir
	case source != "":
		s.Workdir = r.Cwd
	case b.config.WorkingDir != "":
		s.Workdir = path.Clean("/" + b.config.WorkingDir)
		s.Root.Overlay.Folders = append(s.Root.Overlay.Folders, fuseoverlay.Folder{Path: s.Workdir, Mode: 0o755})
	default:
		s.Workdir = home
		s.Root.Overlay.Folders = append(s.Root.Overlay.Folders, fuseoverlay.Folder{Path: home, Mode: 0o755})
	}
}

// command is the environment and the command, of which the image's configuration says what the caller
// does not.
func (b *base) command(s *Spec, r *Request, home string, line []string) {
	env := map[string]string{"PATH": strings.Join(standardPath, ":")}
	for _, kv := range b.config.Env {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			env[name] = value
		}
	}
	shell := absoluteOr(line[6], "/bin/sh")
	name := cmp.Or(line[0], nameInside(s.IDs.UID, r.Account))
	for key, value := range map[string]string{"HOME": home, "USER": name, "LOGNAME": name, "SHELL": shell, "SBX": b.name} {
		env[key] = value
	}
	env = s.buildEnv(r, env, nil)
	if r.Shell {
		s.Command = []string{shell}
		s.Attempts = slices.Compact([]string{shell, "/bin/bash", "/bin/sh"})
		return
	}
	rest := s.Command
	if len(rest) == 0 {
		rest = b.config.Cmd
	}
	s.Command = append(slices.Clone(b.config.Entrypoint), rest...)
	if len(s.Command) > 0 {
		s.Attempts = attempts(s.Command[0], env["PATH"])
	}
}
