package review

import (
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// What the host runs or obeys by itself, or at its next ordinary command, without anybody thinking of it as
// code. The list is of names, and no list of names is whole: that is why all of a run is held back and
// shown, and this class first.

// byCI is what continuous integration reads at the top of a repository. Packages that a package manager brought lie deeper.
const byCI = "run by continuous integration"

// laterFolders are folders in which everything counts, wherever they lie.
var laterFolders = sync.OnceValue(func() map[string]string {
	return map[string]string{
		".husky": "hooks of git", ".githooks": "hooks of git", ".git-hooks": "hooks of git", ".hg": "configuration and hooks of Mercurial", ".svn": "configuration of Subversion",
		".vscode": "tasks and settings of an editor", ".idea": "settings of an editor", ".zed": "tasks and settings of an editor", ".fleet": "tasks of an editor",
		".vs": "settings of an editor", ".nvim": "settings of an editor", ".vim": "settings of an editor", ".emacs.d": "settings of an editor",
		".devcontainer": "commands of a container for development",
		".claude":       "settings and hooks of a coding agent", ".cursor": "settings of a coding agent", ".windsurf": "settings of a coding agent", ".codex": "settings of a coding agent",
		".gemini": "settings of a coding agent", ".continue": "settings of a coding agent", ".roo": "settings of a coding agent", ".kiro": "settings of a coding agent",
		".opencode": "settings of a coding agent", ".aider": "settings of a coding agent", ".goose": "settings of a coding agent", ".amazonq": "settings of a coding agent",
		".junie": "settings of a coding agent", ".trae": "settings of a coding agent", ".clinerules": "settings of a coding agent",
		".direnv": "run at the change into its folder", ".mise": "run at the change into its folder",
		".circleci": byCI, ".buildkite": byCI, ".woodpecker": byCI, ".teamcity": byCI,
		".cargo": "configuration of cargo", ".mvn": "configuration of Maven", ".bundle": "configuration of bundler",
		".ssh": "configuration and keys of ssh", ".gnupg": "configuration of gpg", ".docker": "configuration of docker", ".kube": "configuration of kubectl", ".aws": "configuration of aws",
	}
})

// laterPaths are folders or files named by more than one step.
var laterPaths = sync.OnceValue(func() map[string]string {
	return map[string]string{
		".yarn/releases": "a program of yarn", ".yarn/plugins": "run by yarn", ".yarn/sdks": "run by an editor", ".github/workflows": byCI, ".github/actions": byCI, ".gitea/workflows": byCI,
		".forgejo/workflows": byCI, ".gitlab/ci": byCI, ".github/copilot-instructions.md": "orders for a coding agent",
		".github/instructions": "orders for a coding agent", ".github/hooks": "settings of a coding agent", ".config/git": "configuration of git", ".config/fish": "read by a shell at its start", ".config/nvim": "settings of an editor",
		".config/systemd": "started by systemd", ".config/autostart": "started at login", ".config/environment.d": "read at login", ".config/plasma-workspace": "started at login",
		".config/mise": "run by mise", ".config/direnv": "run by direnv", ".config/husky": "hooks of git", ".config/zsh": "read by a shell at its start", ".config/nushell": "read by a shell at its start",
		".config/pip": "configuration of pip", ".config/npm": "configuration of npm", ".config/sbx": "configuration of sbx", ".local/share/applications": "started by a click",
		".local/share/systemd": "started by systemd", ".local/bin": "programs of the user's own", ".config/Code": "tasks and settings of an editor", ".config/zed": "tasks and settings of an editor",
	}
})

// laterNames are files, wherever they lie.
var laterNames = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"sbx.toml": "the project's sandbox", "sbx.lock": "the project's sandbox",
		".envrc": "run at the change into its folder", ".mise.toml": "run at the change into its folder", "mise.toml": "run at the change into its folder",
		".tool-versions": "read at the change into its folder", ".autoenv.zsh": "run at the change into its folder", ".env.zsh": "run at the change into its folder",
		".autoenv":                "run at the change into its folder",
		".pre-commit-config.yaml": "hooks of git", "lefthook.yml": "hooks of git", ".lefthook.yml": "hooks of git", "lefthook.yaml": "hooks of git", ".lefthook.yaml": "hooks of git",
		".lintstagedrc": "hooks of git", ".huskyrc": "hooks of git", ".gitconfig": "configuration of git", ".gitmodules": "where git fetches submodules from",
		".devcontainer.json": "commands of a container for development", ".exrc": "run by an editor", ".vimrc": "run by an editor", ".nvimrc": "run by an editor", ".nvim.lua": "run by an editor",
		".gvimrc": "run by an editor", ".emacs": "run by an editor", ".dir-locals.el": "run by an editor", ".dir-locals-2.el": "run by an editor", ".lvimrc": "run by an editor", ".ycm_extra_conf.py": "run by an editor",
		".sublime-project": "settings of an editor", ".vimspector.json": "run by an editor",
		".mcp.json": "settings of a coding agent", "mcp.json": "settings of a coding agent", ".cursorrules": "orders for a coding agent", ".windsurfrules": "orders for a coding agent", ".aider.conf.yml": "settings of a coding agent",
		"opencode.json": "settings of a coding agent", "CLAUDE.md": "orders for a coding agent", "AGENTS.md": "orders for a coding agent", "GEMINI.md": "orders for a coding agent", "CLAUDE.local.md": "orders for a coding agent",
		".bashrc": "read by a shell at its start", ".bash_profile": "read by a shell at its start", ".bash_login": "read by a shell at its start", ".bash_logout": "read by a shell at its end",
		".bash_aliases": "read by a shell at its start", ".profile": "read by a shell at its start", ".zshrc": "read by a shell at its start", ".zshenv": "read by a shell at its start",
		".zprofile": "read by a shell at its start", ".zlogin": "read by a shell at its start", ".zlogout": "read by a shell at its end", ".kshrc": "read by a shell at its start", ".cshrc": "read by a shell at its start", ".tcshrc": "read by a shell at its start",
		".inputrc": "read by a shell at its start", ".xprofile": "read at login", ".xinitrc": "read at login", ".xsession": "read at login", ".xsessionrc": "read at login", ".pam_environment": "read at login",
		".tmux.conf": "run by tmux", ".gdbinit": "run by gdb", ".lldbinit": "run by lldb", ".screenrc": "run by screen", ".pythonrc": "run by python", ".irbrc": "run by irb", ".Rprofile": "run by R", ".octaverc": "run by octave", ".wgetrc": "configuration of wget", ".curlrc": "configuration of curl", ".netrc": "names and passwords of hosts",
		".gitlab-ci.yml": byCI, ".gitlab-ci.yaml": byCI, ".travis.yml": byCI, "azure-pipelines.yml": byCI,
		"Jenkinsfile": byCI, "bitbucket-pipelines.yml": byCI, ".drone.yml": byCI, ".appveyor.yml": byCI, "appveyor.yml": byCI, ".cirrus.yml": byCI, "cloudbuild.yaml": byCI,
	}
})

// buildNames are files that the next build on the host reads. In what a package manager brought they do not
// count by themselves: that is code as a whole, and told as packages.
var buildNames = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"package.json": "", "Makefile": "", "makefile": "", "GNUmakefile": "", "CMakeLists.txt": "", "CMakePresets.json": "", "configure": "", "configure.ac": "", "meson.build": "", "SConstruct": "", "wscript": "", "build.ninja": "",
		"Justfile": "", "justfile": "", ".justfile": "", "Taskfile.yml": "", "Taskfile.yaml": "", "Rakefile": "", "Gemfile": "", "Guardfile": "", "Brewfile": "", "Procfile": "", "Tiltfile": "", "Vagrantfile": "",
		"Cargo.toml": "", "build.rs": "", "rust-toolchain": "", "rust-toolchain.toml": "", "go.work": "", "pom.xml": "", "mvnw": "", "gradlew": "", "build.gradle": "", "build.gradle.kts": "", "settings.gradle": "", "settings.gradle.kts": "", "gradle.properties": "", "gradle-wrapper.properties": "", "gradle-wrapper.jar": "", "build.xml": "", "build.sbt": "",
		"setup.py": "", "setup.cfg": "", "pyproject.toml": "", "conftest.py": "", "tox.ini": "", "noxfile.py": "", "pytest.ini": "", "tasks.py": "", "fabfile.py": "", "sitecustomize.py": "", "usercustomize.py": "", "manage.py": "", ".coveragerc": "", "pip.conf": "", ".pylintrc": "", "Pipfile": "", ".flake8": "",
		".npmrc": "", ".yarnrc": "", ".yarnrc.yml": "", ".pnp.cjs": "", ".pnp.loader.mjs": "", "pnpm-workspace.yaml": "", ".pnpmfile.cjs": "", "deno.json": "", "deno.jsonc": "", "bunfig.toml": "", "nx.json": "", "turbo.json": "", "lerna.json": "", ".babelrc": "", ".eslintrc": "", ".prettierrc": "", ".mocharc": "", ".swcrc": "", "gulpfile.js": "", "Gruntfile.js": "",
		"BUILD": "", "BUILD.bazel": "", "WORKSPACE": "", "WORKSPACE.bazel": "", "MODULE.bazel": "", ".bazelrc": "", ".bazelversion": "", "BUCK": "", ".buckconfig": "", "flake.nix": "", "default.nix": "", "shell.nix": "", "Dockerfile": "", "Containerfile": "", "docker-compose.yml": "", "docker-compose.yaml": "", "docker-compose.override.yml": "", "compose.yml": "", "compose.yaml": "", "compose.override.yaml": "", "docker-bake.hcl": "",
		"mix.exs": "", "rebar.config": "", "stack.yaml": "", "Setup.hs": "", "cabal.project": "", "dune": "", "composer.json": "", "phpunit.xml": "", "Package.swift": "", "Podfile": "", "Fastfile": "", "build.zig": "", "Directory.Build.props": "", "Directory.Build.targets": "", "NuGet.Config": "", "nuget.config": "", "global.json": "", ".rspec": "", ".irbrc": "", ".ansible.cfg": "", "ansible.cfg": "",
	}
})

// buildEnds are endings of such files.
var buildEnds = []string{".mk", ".cmake", ".gradle", ".csproj", ".fsproj", ".vcxproj", ".targets", ".pth", ".nix", ".bzl", ".cabal", ".gemspec",
	".config.js", ".config.cjs", ".config.mjs", ".config.ts", ".config.mts", ".config.cts", ".code-workspace", ".code-tasks", ".sublime-project"}

// rcStarts begin the names of configuration files that are code: .eslintrc.js and the like.
var rcStarts = []string{".eslintrc.", ".prettierrc.", ".babelrc.", ".mocharc.", ".lintstagedrc.", ".huskyrc."}

// gitFolders and gitFiles are those of a git folder that make git run something, or take other files for
// its configuration. Whoever continues a rebase runs the exec lines of its plan.
var (
	gitFolders = []string{"hooks", "modules", "worktrees", "rebase-merge", "rebase-apply", "sequencer", "info"}
	gitFiles   = []string{"config", "config.worktree", "commondir", "gitdir", "config.lock", "objects/info/alternates"}
)

// later tells why the host would run a change by itself, and which path makes it so.
func (h *held) later(c *Change) (why, place string) {
	if why := h.besideOthers(c.Path); why != "" {
		return why, c.Path
	}
	for _, rel := range []string{c.Path, c.From} {
		if rel == "" {
			continue
		}
		if why, place = h.byName(c, rel); why != "" {
			return why, place
		}
	}
	if c.new == nil {
		return "", ""
	}
	if why = h.byKind(c); why != "" {
		return why, c.Path
	}
	return "", ""
}

// byName judges by where it lies.
func (h *held) byName(c *Change, rel string) (why, place string) {
	full := filepath.Join(h.top(), rel)
	steps := strings.Split(strings.TrimPrefix(full, "/"), "/")
	first := len(steps) - strings.Count(rel, "/") - 1 // what is above was there before
	for i := first; i < len(steps); i++ {
		at := strings.Join(steps[first:i+1], "/")
		if steps[i] == ".git" {
			if why := inGit(strings.Join(steps[i+1:], "/"), c); why != "" {
				return why, gitPlace(at, steps[i+1:])
			}
		}
		if why, ok := laterFolders()[steps[i]]; ok && counts(why, rel) {
			return why, at
		}
		for n := 2; n <= 3 && i-n+1 >= 0; n++ {
			if why, ok := laterPaths()[strings.Join(steps[i-n+1:i+1], "/")]; ok && counts(why, rel) {
				return why, at
			}
		}
	}
	if why := h.inHiddenGit(rel, c); why != "" {
		return why, rel
	}
	if why, place := h.named(rel); why != "" {
		return why, place
	}
	return h.byBase(rel, full), rel
}

// byBase judges by the last step of a path, and by PATH.
func (h *held) byBase(rel, full string) string {
	name := path.Base(rel)
	if why, ok := laterNames()[name]; ok && counts(why, rel) {
		return why
	}
	if slices.Contains(h.set.Path, filepath.Dir(full)) {
		return "in a folder on your PATH"
	}
	if brought(rel) {
		return ""
	}
	_, known := buildNames()[name]
	ends := slices.ContainsFunc(buildEnds, func(end string) bool { return strings.HasSuffix(name, end) })
	starts := slices.ContainsFunc(rcStarts, func(s string) bool { return strings.HasPrefix(name, s) })
	if known || ends || starts {
		return "read by the next build"
	}
	return ""
}

// counts tells whether a name means something where it lies.
func counts(why, rel string) bool { return why != byCI || !brought(rel) }

// brought tells what a package manager brings, in a folder that is told by package.
func brought(rel string) bool {
	return slices.Contains(strings.Split(path.Dir(rel), "/"), "node_modules")
}

// inGit judges a path in a git folder.
func inGit(rest string, c *Change) string {
	if rest == "" {
		if c.new != nil && c.new.folder() {
			return "" // told by what is in it
		}
		return "leads git to a repository"
	}
	first, below, _ := strings.Cut(rest, "/")
	switch {
	case first == "hooks" && strings.HasSuffix(below, ".sample"):
		return ""
	case slices.Contains(gitFolders, first) && below == "" && c.new != nil && c.new.folder():
		return ""
	case first == "info" && below != "attributes":
		return ""
	case first == "hooks":
		return "a hook of git"
	case slices.Contains(gitFolders, first):
		return "obeyed by git"
	case slices.Contains(gitFiles, rest):
		return "configuration of git"
	case c.new != nil && c.new.link():
		return "leads git elsewhere"
	}
	return ""
}

// gitPlace is the place that makes a path of a git folder run later: hooks as a whole, else the path.
func gitPlace(at string, rest []string) string {
	if len(rest) == 0 {
		return at
	}
	if slices.Contains(gitFolders, rest[0]) {
		return at + "/" + rest[0]
	}
	return at + "/" + strings.Join(rest, "/")
}

// inHiddenGit finds git folders by another name: a bare repository is any folder with a HEAD beside objects
// and refs (gitrepository-layout(5)), and git obeys it wherever it stands. A folder with a commondir takes
// objects, refs and config from elsewhere, so the parts of one count each by itself.
func (h *held) inHiddenGit(rel string, c *Change) string {
	if why := h.gitPart(rel, c); why != "" {
		return why
	}
	for dir := rel; dir != "."; {
		dir = path.Dir(dir)
		rest := strings.TrimPrefix(rel, dir+"/")
		if dir == "." {
			rest = rel
		}
		why := inGit(rest, c)
		if rest == "HEAD" && path.Base(dir) != ".git" {
			why = "makes its folder a repository of git"
		}
		if why != "" && h.either(dir, "objects") && h.either(dir, "refs") && h.either(dir, "HEAD") {
			return why
		}
	}
	return ""
}

// gitPart judges a file by itself: whether a folder is a repository by it, or obeyed as a part of one.
func (h *held) gitPart(rel string, c *Change) string {
	dir := path.Dir(rel)
	switch path.Base(rel) {
	case "commondir", "config.worktree":
		return "configuration of git"
	case "config":
		if h.either(dir, "objects") || h.either(dir, "refs") {
			return "configuration of git"
		}
	case "HEAD":
		if slices.Contains(strings.Split(dir, "/"), ".git") {
			return "" // such are where they belong
		}
		if h.either(dir, "commondir") || rel == c.Path && c.new != nil && h.leadsToRefs(c) {
			return "makes its folder a repository of git"
		}
	}
	return ""
}

// leadsToRefs tells whether git takes a file for a HEAD, which names a ref or a commit.
func (h *held) leadsToRefs(c *Change) bool {
	if c.new.link() {
		return strings.HasPrefix(c.Target, "refs/")
	}
	if !c.new.regular() {
		return false
	}
	f, _, err := h.upper.open(c.Path)
	if err != nil {
		return true // nobody knows
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return true
	}
	if name, ok := strings.CutPrefix(string(head[:n]), "ref:"); ok {
		name = strings.TrimLeft(name, " \t\n\v\f\r")
		return name == "" || strings.HasPrefix(name, "refs/") // or more space than was read
	}
	const hash = 40
	return n >= hash && !slices.ContainsFunc(head[:hash], func(b byte) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", rune(b)) })
}

// either tells whether the sandbox or the host has something in a folder.
func (h *held) either(dir, name string) bool {
	for _, t := range []*tree{h.upper, h.host} {
		if n, err := t.lookup(path.Join(dir, name)); err == nil && n != nil {
			return true
		}
	}
	return false
}

// byKind judges by what it is.
func (h *held) byKind(c *Change) string {
	switch {
	case c.new.link():
		return h.leaves(c.Path, c.Target)
	case c.new.regular() && c.new.Mode&0o6000 != 0 && (c.old == nil || c.old.Mode&0o6000 != c.new.Mode&0o6000):
		return "would run as another user or group"
	case c.new.perm()&0o022&^permOf(c.old) != 0:
		return "can be written by others"
	case !c.new.runnable() || brought(c.Path):
		return ""
	case c.Kind == Renamed || c.old != nil && c.old.runnable():
		return "" // a program as before, whose change is shown
	}
	return "can be executed"
}

// leaves tells why a symlink leads out of the captured folder. A step upwards after a name may come from
// wherever that name leads, so it is taken for one that leaves.
func (h *held) leaves(rel, target string) string {
	const out = "a link that leaves the folder"
	at := path.Dir(rel)
	if strings.HasPrefix(target, "/") {
		inside, ok := strings.CutPrefix(target+"/", h.top()+"/")
		if !ok {
			return out
		}
		at, target = ".", inside
	}
	names := false
	for step := range strings.SplitSeq(target, "/") {
		switch {
		case step == "" || step == ".":
		case step != "..":
			names = true
		case names || at == ".":
			return out
		default:
			at = path.Dir(at)
		}
	}
	return ""
}
