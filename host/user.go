package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Account is the caller, with the fields of passwd(5).
type Account struct {
	UID, GID          int
	Groups            []int // supplementary, as getgroups(2) gives them
	Name, Home, Shell string
	// PasswdHome is the home of the passwd line, symlinks as they are, whatever $HOME says: with HOME=/tmp it still
	// holds the keys. Empty where the caller has no such line.
	PasswdHome string
}

// User looks up the caller: in /etc/passwd, and only if that has no such uid by getent(1), for names that come from
// LDAP and the like. A uid without any name is no error: its name is then its number.
func User() (Account, error) {
	a := Account{UID: os.Getuid(), GID: os.Getgid(), Name: strconv.Itoa(os.Getuid()), Home: "/", Shell: "/bin/sh"}
	groups, err := os.Getgroups()
	if err != nil {
		return a, fmt.Errorf("reading the caller's supplementary groups: %w", err)
	}
	a.Groups = groups
	a.fill(passwdLine(a.UID))
	if h := filepath.Clean(os.Getenv("HOME")); a.mayLiveIn(h) {
		a.Home = h
	}
	return a, nil
}

// mayLiveIn: $HOME is the user's word and wins, but a wrong one must not decide what is hidden. A home is the caller's
// or root's; the root folder, under whatever name, is one by passwd(5) alone.
func (a *Account) mayLiveIn(dir string) bool {
	st, err := os.Stat(dir)
	if !filepath.IsAbs(dir) || err != nil || !st.IsDir() {
		return false
	}
	owner := int(st.Sys().(*syscall.Stat_t).Uid)
	root, err := os.Stat("/")
	return (owner == a.UID || owner == 0) && (err != nil || !os.SameFile(st, root) || a.PasswdHome == "/")
}

func (a *Account) fill(line string) {
	f := strings.Split(line, ":")
	if len(f) != 7 {
		return
	}
	a.Name = f[0]
	if filepath.IsAbs(f[5]) {
		a.PasswdHome = filepath.Clean(f[5])
		a.Home = a.PasswdHome
	}
	if filepath.IsAbs(f[6]) {
		a.Shell = f[6]
	}
}

func passwdLine(uid int) string {
	b, _ := os.ReadFile("/etc/passwd")
	if line := findUID(string(b), uid, os.Getenv("USER")); line != "" {
		return line
	}
	return getent(uid)
}

// findUID: where several names share a uid, the one that $USER names is the caller's.
func findUID(passwd string, uid int, preferred string) (found string) {
	want := strconv.Itoa(uid)
	for line := range strings.Lines(passwd) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Split(line, ":")
		if len(f) != 7 || f[2] != want {
			continue
		}
		if f[0] == preferred {
			return line
		}
		if found == "" {
			found = line
		}
	}
	return found
}

// getent has a time limit: a directory server that does not answer must not hold up a sandbox for ever.
func getent(uid int) string {
	path, err := FindHelper("getent")
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := helper(ctx, path, "passwd", strconv.Itoa(uid)).Output()
	if err != nil {
		return ""
	}
	return findUID(string(out), uid, "")
}
