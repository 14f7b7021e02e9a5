package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
)

// Caller is the user who runs this, with the symlinks of its home resolved.
var Caller = sync.OnceValues(func() (host.Account, error) {
	account, err := host.User()
	if err != nil {
		return account, fmt.Errorf("looking up the user: %w", err)
	}
	account.Home, account.PasswdHome = resolved(account.Home), resolved(account.PasswdHome)
	return account, nil
})

// resolved is a path with its symlinks resolved, or as it is where that cannot be done.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); path != "" && err == nil {
		return real
	}
	return path
}

// identity adds the files that name the sandbox and its user: hosts, hostname, resolv.conf, and
// passwd and group where the host's own lack the user's line (who may come from LDAP).
func (l *layout) identity(s *Spec, account host.Account, home string) {
	l.cover("/etc/hosts", "127.0.0.1\tlocalhost "+s.Hostname+"\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	l.cover("/etc/hostname", s.Hostname+"\n")
	l.resolvConf(s)
	name := nameInside(s.IDs.UID, account)
	l.withLine("/etc/passwd", s.IDs.UID, fmt.Sprintf("%s:x:%d:%d::%s:%s\n", name, s.IDs.UID, s.IDs.GID, home, account.Shell))
	l.withLine("/etc/group", s.IDs.GID, fmt.Sprintf("%s:x:%d:\n", name, s.IDs.GID))
}

func nameInside(uid uint32, account host.Account) string {
	switch uid {
	case uint32(account.UID):
		return account.Name
	case 0:
		return "root"
	}
	return "user"
}

// cover replaces a file of the host's by a generated one, where the host has it. A link is
// followed: what it leads to is what programs read.
func (l *layout) cover(path, content string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return
	}
	if source, _ := l.shows(real); source != real {
		return // the user shows something else there
	}
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.File, Target: real, Content: content, Mode: 0o644})
}

// resolvConf makes the resolver's configuration. It is often a link into /run, which is empty
// inside: then what it leads to is made there.
func (l *layout) resolvConf(s *Spec) {
	const path = "/etc/resolv.conf"
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		target = danglingTarget(path)
	}
	content := s.resolvConfContent()
	if target == "" || (target == path && s.Network == profiles.NetHost) {
		return
	}
	if source, _ := l.shows(target); source != "" && (source != target || !exists(source)) {
		return // the user shows something else there, or the host has a link that leads nowhere
	}
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.File, Target: target, Content: content, Mode: 0o644})
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

// danglingTarget is where a link points whose target is missing, or nothing.
func danglingTarget(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return filepath.Clean(target)
}

// withLine appends a line for an id to a copy of passwd or group, unless the host's file has one.
func (l *layout) withLine(path string, id uint32, line string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	text := string(data)
	for entry := range strings.Lines(text) {
		if fields := strings.Split(entry, ":"); len(fields) > 2 && fields[2] == fmt.Sprint(id) {
			return
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	l.cover(path, text+line)
}
