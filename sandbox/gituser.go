package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sbx/fuseoverlay"
	"sbx/host"
)

// gitUserFile is what git inside takes for the configuration of the whole system (git-config(1), GIT_CONFIG_SYSTEM):
// the least of all, so that a repository's own name and address count as ever.
const gitUserFile = "/run/sbx-gitconfig"

// gitUser shows user.name and user.email of the caller's git, and nothing else of its configuration, in which are
// credential helpers, aliases and addresses with tokens.
func (l *layout) gitUser(s *Spec, account host.Account, environ map[string]string) {
	user := map[string]string{}
	config := environ["XDG_CONFIG_HOME"]
	if !filepath.IsAbs(config) {
		config = filepath.Join(account.Home, ".config")
	}
	for _, file := range []string{filepath.Join(config, "git/config"), filepath.Join(account.Home, ".gitconfig")} {
		if text, err := readSmall(realPath(file)); err == nil {
			readGitUser(string(text), user)
		}
	}
	text := ""
	if info, err := os.Stat("/etc/gitconfig"); err == nil && info.Mode().IsRegular() && s.Image == nil {
		text = "[include]\n\tpath = /etc/gitconfig\n"
	}
	text += "[user]\n"
	for _, key := range []string{"name", "email"} {
		if user[key] != "" {
			text += "\t" + key + " = " + quoteGit(user[key]) + "\n"
		}
	}
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.File, Target: gitUserFile, Content: text, Mode: 0o644})
	if s.Egress.set == nil {
		s.Egress.set = map[string]string{}
	}
	s.Egress.set["GIT_CONFIG_SYSTEM"] = gitUserFile
}

// readGitUser reads the section [user] alone, by the form in git-config(1), SYNTAX. What it includes is not followed.
func readGitUser(text string, user map[string]string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if head, rest, ok := strings.Cut(line, "]"); ok && strings.HasPrefix(head, "[") {
			section, line = strings.ToLower(strings.TrimSpace(head[1:])), strings.TrimSpace(rest)
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if ok && section == "user" && (key == "name" || key == "email") {
			user[key] = gitValue(strings.TrimSpace(value))
		}
	}
}

// gitValue is a value without quotes and the comment behind it.
func gitValue(value string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		case !quoted && (c == '#' || c == ';'):
			return strings.TrimSpace(b.String())
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}

// quoteGit is a value that git reads back as it is; control characters, which no name has, are left out.
func quoteGit(value string) string {
	value = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return -1
		}
		return r
	}, value)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
