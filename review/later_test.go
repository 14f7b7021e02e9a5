package review

import (
	"path/filepath"
	"strings"
	"testing"
)

// What runs later, and what does not: each line is made by a sandbox, then named with its reason.
func TestRunsLater(t *testing.T) {
	p := newProject(t, Overlay, `
		mkdir -p .git/hooks .git/refs .git/objects bin scripts/hooks sub; echo 'ref: x' >.git/HEAD; echo x >tool; chmod 755 tool
		printf '[core]\n\thooksPath = scripts/hooks\n[filter "x"]\n\tclean = "tools/clean %%f"\n[include]\n\tpath = ../extra.conf\n[remote "o"]\n\turl = bin/remote\n' >.git/config`)
	p.sandbox(`
		w() { mkdir -p "$(dirname "$1")"; echo x >>"$1"; }
		w .git/hooks/post-checkout; w .git/hooks/pre-push.sample; w .git/config; w .git/index; w .git/info/exclude; w .git/info/attributes; w .git/rebase-merge/git-rebase-todo
		w deep/nested/.git/config; echo 'ref: y' >deep/nested/.git/HEAD; w deep/nested/.git/objects/pack/x; echo 'gitdir: ../elsewhere' >sub/.git
		mkdir -p bare/refs bare/objects; w bare/HEAD; w bare/config; w bare/hooks/update; w notbare/config; w notbare/hooks/update
		w scripts/hooks/pre-commit; w tools/clean; w extra.conf; w bin/remote; w tools/other
		w .husky/pre-commit; w .vscode/tasks.json; w packages/a/.vscode/settings.json; w .envrc; w .claude/settings.json; w .github/workflows/ci.yml; w .github/ISSUE.md
		w .bashrc; w package.json; w node_modules/a/package.json; w node_modules/a/.envrc; w node_modules/a/bin.js; chmod 755 node_modules/a/bin.js
		w node_modules/a/.travis.yml; w node_modules/a/.github/workflows/ci.yml; w node_modules/a/.circleci/config.yml; w node_modules/a/.vscode/tasks.json
		w Makefile; w build.gradle; w vite.config.ts; w src/main.c; w README.md; w script.sh; chmod 755 script.sh; w tool; w path/on/it/ls; w sbx.toml
		ln -s ../../outside src/out; ln -s main.c src/in; ln -s /etc/passwd src/abs; ln -s a/../.. src/tricky; ln -s ` + p.dir + `/README.md src/absin`)
	s := p.open()
	s.Path = []string{filepath.Join(p.dir, "path/on/it")}
	list, err := s.Changes()
	p.must(err)
	why := map[string]string{}
	for _, c := range list {
		if !c.Inner {
			why[c.Path] = c.Later
		}
	}
	for path, want := range map[string]string{
		".git/hooks/post-checkout": "hook", ".git/hooks/pre-push.sample": "", ".git/config": "configuration of git", ".git/index": "", ".git/info/exclude": "", ".git/info/attributes": "obeyed",
		".git/rebase-merge/git-rebase-todo": "obeyed", "deep/nested/.git/config": "configuration of git", "deep/nested/.git/HEAD": "", "deep/nested/.git/objects/pack/x": "", "sub/.git": "leads git",
		"bare/HEAD": "repository", "bare/config": "configuration of git", "bare/hooks/update": "hook", "notbare/config": "", "notbare/hooks/update": "",
		"scripts/hooks/pre-commit": "core.hookspath", "tools/clean": "filter.clean", "extra.conf": "include.path", "bin/remote": "", "tools/other": "",
		".husky/pre-commit": "hooks of git", ".vscode/tasks.json": "editor", "packages/a/.vscode/settings.json": "editor", ".envrc": "change into", ".claude/settings.json": "agent",
		".github/workflows/ci.yml": "continuous", ".github/ISSUE.md": "", ".bashrc": "shell", "package.json": "next build", "node_modules/a/package.json": "", "node_modules/a/.envrc": "change into",
		"node_modules/a/.travis.yml": "", "node_modules/a/.github/workflows/ci.yml": "", "node_modules/a/.circleci/config.yml": "", "node_modules/a/.vscode/tasks.json": "editor",
		"node_modules/a/bin.js": "", "Makefile": "next build", "build.gradle": "next build", "vite.config.ts": "next build", "src/main.c": "", "README.md": "", "script.sh": "executed", "tool": "",
		"path/on/it/ls": "PATH", "sbx.toml": "sandbox", "src/out": "leaves", "src/in": "", "src/abs": "leaves", "src/tricky": "leaves", "src/absin": "",
	} {
		got, ok := why[path]
		if !ok || (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q (listed: %v), want %q", path, got, ok, want)
		}
		delete(why, path)
	}
	for path, got := range why {
		if !strings.HasPrefix(path, "bare/") { // empty folders
			t.Errorf("%s was not expected: %q", path, got)
		}
	}
}

// A repository of git by another name may be two folders, and its parts may come one by one.
func TestHiddenRepositories(t *testing.T) {
	p := newProject(t, Overlay, "mkdir -p host/refs one; echo ../host >one/commondir; mkdir -p .git/refs/remotes/o")
	p.sandbox(`mkdir x y y/objects y/refs half half/objects
		echo 'ref: refs/heads/main' >x/HEAD; echo ../y >x/commondir; echo x >x/config.worktree; echo x >y/config; echo x >half/config; echo x >host/config
		mkdir two three four five; echo whatever >one/HEAD; printf 'ref:\trefs/heads/x' >two/HEAD; echo 0123456789abcdef0123456789abcdef01234567 >three/HEAD
		ln -s refs/heads/x four/HEAD; echo prose >five/HEAD; echo x >five/config; echo 'ref: refs/remotes/o/main' >.git/refs/remotes/o/HEAD`)
	later := map[string]bool{}
	for _, c := range p.changes() {
		if c.Later != "" {
			later[c.Path] = true
		}
	}
	for _, path := range strings.Fields("x/HEAD x/commondir x/config.worktree y/config half/config host/config one/HEAD two/HEAD three/HEAD four/HEAD") {
		if !later[path] {
			t.Errorf("%s does not run later", path)
		}
		delete(later, path)
	}
	if len(later) > 0 {
		t.Errorf("these run later too: %v", later)
	}
}

// A change that runs later is named by its own path, or by the place that makes it so: not by a folder that
// holds other things, nor by a pattern.
func TestNamed(t *testing.T) {
	p := newProject(t, Overlay, "true").sandbox("mkdir -p .husky src; echo x >.husky/a; echo x >src/.envrc")
	for _, c := range p.changes() {
		if c.Inner {
			continue
		}
		for _, words := range []struct {
			path string
			want bool
		}{{c.Path, true}, {filepath.Join(p.dir, c.Path), true}, {".", false}, {"*", false}, {"src", false}, {".husky", c.Path == ".husky/a"}, {"**", false}} {
			if got := c.Named(p.dir, []string{words.path}); got != words.want && words.path != c.Path || words.path == c.Path && !got {
				t.Errorf("%s named by %s: %v", c.Path, words.path, got)
			}
		}
	}
}

// What others may write is told, and a folder keeps the host's set-group-ID bit.
func TestWrittenByOthers(t *testing.T) {
	p := newProject(t, Overlay, "umask 022; echo a >one; echo a >open; chmod 666 open; mkdir d; chmod 2755 d")
	p.sandbox("umask 022; chmod 664 one; echo b >>open; echo x >new; chmod 602 new; mkdir wide; chmod 777 wide; echo x >wide/in; chmod 2700 d; echo x >fine")
	for _, c := range p.changes() {
		if want := c.Path == "one" || c.Path == "new" || c.Path == "wide"; (c.Later != "") != want {
			t.Errorf("%s: %q", c.Path, c.Later)
		}
	}
	p.must(p.apply(func(c *Change) bool { return !c.Inner && c.Later == "" }))
	if got := p.sh(p.dir, "stat -c '%a %n' d wide"); got != "2700 d\n755 wide\n" {
		t.Errorf("applied: %s", got)
	}
}
