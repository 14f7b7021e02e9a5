package profiles

import (
	"path/filepath"
	"slices"
	"strings"
)

// Lookup is what Toolchains asks of the host.
type Lookup struct {
	Home       string                    // ~, where tools are looked for
	PasswdHome string                    // may be another than Home, and is shown as little; may be empty
	Project    string                    // PATH folders below it are left to [files] project
	Getenv     func(string) string       // the caller's environment
	Exists     func(path string) bool    // symlinks followed
	Glob       func(pat string) []string // as filepath.Glob
	Real       func(path string) string  // symlinks resolved; a path that cannot be is returned as it is
}

// Shown is a path that is shown read-only because of a PATH folder.
type Shown struct {
	Path string
	For  string // the PATH folder
	Tool string // the row of the table; "PATH" for the folder itself
	Env  string // the variable that moved the tool there, which the tool needs inside; may be empty
}

// toolchain is a row of the table: a PATH folder that matches one of `at` is
// that of the tool, which needs the folders of `show` as well.
//
// {root} is the tool's own folder: what env names, if that is fit to be shown,
// and else each of roots. {prefix} is the folder above the PATH folder. A row
// without roots asks by `has` whether the prefix is what it takes it for. A *
// stands for one part of a path. None of the folders may hold a file of
// credentials: where the tool keeps one beside what it needs (~/.cargo,
// ~/.opam, ~/.rye, uv), the row names the parts one by one.
type toolchain struct {
	tool  string
	env   string
	roots []string
	at    []string
	has   []string
	show  []string
}

var toolchains = []toolchain{
	// Node and JavaScript
	{tool: "nvm", env: "NVM_DIR", roots: []string{"~/.nvm"}, at: []string{"{root}/versions/*/*/bin", "{root}/current/bin"}, show: []string{"{root}/versions"}},
	{tool: "fnm", env: "FNM_DIR", roots: []string{"~/.local/share/fnm", "~/.fnm"}, at: []string{"{root}", "{root}/aliases/*/bin", "{root}/node-versions/*/installation/bin", "/run/user/*/fnm_multishells/*/bin", "~/.local/state/fnm_multishells/*/bin"}, show: []string{"{root}/node-versions", "{root}/aliases"}},
	{tool: "volta", env: "VOLTA_HOME", roots: []string{"~/.volta"}, at: []string{"{root}/bin"}, show: []string{"{root}/tools", "{root}/log", "{root}/layout.v4"}},
	{tool: "n", env: "N_PREFIX", roots: []string{"~/n", "~/.n"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib", "{root}/include", "{root}/n/versions"}},
	{tool: "nodenv", env: "NODENV_ROOT", roots: []string{"~/.nodenv"}, at: []string{"{root}/bin", "{root}/shims"}, show: []string{"{root}"}},
	{tool: "npm prefix", env: "NPM_CONFIG_PREFIX", roots: []string{"~/.npm-global", "~/.npm-packages", "~/.local"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib/node_modules"}},
	{tool: "pnpm", env: "PNPM_HOME", roots: []string{"~/.local/share/pnpm"}, at: []string{"{root}", "{root}/bin"}, show: []string{"{root}/global", "{root}/nodejs", "{root}/.tools", "{root}/store"}},
	{tool: "bun", env: "BUN_INSTALL", roots: []string{"~/.bun"}, at: []string{"{root}/bin"}, show: []string{"{root}/install/global"}},
	{tool: "deno", env: "DENO_INSTALL", roots: []string{"~/.deno"}, at: []string{"{root}/bin"}, show: []string{"{root}/bin"}},
	{tool: "yarn", roots: []string{"~/.yarn"}, at: []string{"{root}/bin"}, show: []string{"{root}/releases", "{root}/lib"}},
	{tool: "yarn global", roots: []string{"~/.config/yarn/global"}, at: []string{"{root}/node_modules/.bin"}, show: []string{"{root}/node_modules"}},

	// Python
	{tool: "pyenv", env: "PYENV_ROOT", roots: []string{"~/.pyenv"}, at: []string{"{root}/bin", "{root}/shims", "{root}/plugins/*/shims", "{root}/versions/*/bin"}, show: []string{"{root}"}},
	{tool: "pipx", env: "PIPX_HOME", roots: []string{"~/.local/share/pipx", "~/.local/pipx"}, at: []string{"~/.local/bin"}, show: []string{"{root}/venvs", "{root}/py", "{root}/shared"}},
	{tool: "uv", roots: []string{"~/.local/share/uv"}, at: []string{"~/.local/bin"}, show: []string{"{root}/tools", "{root}/python"}},
	{tool: "python user site", env: "PYTHONUSERBASE", roots: []string{"~/.local"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib/python3*"}},
	{tool: "poetry", env: "POETRY_HOME", roots: []string{"~/.local/share/pypoetry", "~/.poetry"}, at: []string{"{root}/bin", "~/.local/bin"}, show: []string{"{root}/venv", "{root}/lib"}},
	{tool: "rye", env: "RYE_HOME", roots: []string{"~/.rye"}, at: []string{"{root}/shims"}, show: []string{"{root}/self", "{root}/py", "{root}/tools", "{root}/uv"}},
	{tool: "conda", at: []string{"{prefix}/bin", "{prefix}/condabin"}, has: []string{"{prefix}/conda-meta"}, show: []string{"{prefix}/bin", "{prefix}/condabin", "{prefix}/conda-meta", "{prefix}/lib", "{prefix}/libexec", "{prefix}/include", "{prefix}/share", "{prefix}/ssl", "{prefix}/etc/conda", "{prefix}/etc/fonts", "{prefix}/shell", "{prefix}/envs", "{prefix}/pkgs", "{prefix}/compiler_compat", "{prefix}/x86_64-conda-linux-gnu", "{prefix}/aarch64-conda-linux-gnu"}},
	{tool: "virtualenv", at: []string{"{prefix}/bin"}, has: []string{"{prefix}/pyvenv.cfg"}, show: []string{"{prefix}/lib", "{prefix}/lib64", "{prefix}/include", "{prefix}/share", "{prefix}/pyvenv.cfg"}},

	// Rust, Go, C
	{tool: "rustup", env: "RUSTUP_HOME", roots: []string{"~/.rustup"}, at: []string{"~/.cargo/bin", "{cargo}/bin", "{root}/toolchains/*/bin"}, show: []string{"{root}"}},
	{tool: "cargo", env: "CARGO_HOME", roots: []string{"~/.cargo"}, at: []string{"{root}/bin"}, show: []string{"{root}/bin"}},
	{tool: "go", at: []string{"{prefix}/bin"}, has: []string{"{prefix}/src/runtime", "{prefix}/pkg/tool"}, show: []string{"{prefix}/src", "{prefix}/pkg", "{prefix}/lib", "{prefix}/misc", "{prefix}/go.env", "{prefix}/VERSION"}},
	{tool: "goenv", env: "GOENV_ROOT", roots: []string{"~/.goenv"}, at: []string{"{root}/bin", "{root}/shims", "{root}/versions/*/bin"}, show: []string{"{root}"}},
	{tool: "gvm", roots: []string{"~/.gvm"}, at: []string{"{root}/bin", "{root}/gos/*/bin", "{root}/pkgsets/*/*/bin"}, show: []string{"{root}/gos", "{root}/scripts"}},
	{tool: "zvm", env: "ZVM_INSTALL", roots: []string{"~/.zvm"}, at: []string{"{root}/bin", "{root}/self"}, show: []string{"{root}"}},
	{tool: "elan", env: "ELAN_HOME", roots: []string{"~/.elan"}, at: []string{"{root}/bin"}, show: []string{"{root}/toolchains", "{root}/settings.toml"}},
	{tool: "swiftly", env: "SWIFTLY_HOME_DIR", roots: []string{"~/.local/share/swiftly"}, at: []string{"{root}/bin"}, show: []string{"{root}"}},

	// Ruby
	{tool: "rbenv", env: "RBENV_ROOT", roots: []string{"~/.rbenv"}, at: []string{"{root}/bin", "{root}/shims", "{root}/versions/*/bin"}, show: []string{"{root}"}},
	{tool: "rvm", roots: []string{"~/.rvm"}, at: []string{"{root}/bin", "{root}/rubies/*/bin", "{root}/gems/*/bin"}, show: []string{"{root}/rubies", "{root}/gems", "{root}/wrappers", "{root}/scripts", "{root}/environments", "{root}/config"}},
	{tool: "chruby", roots: []string{"~/.rubies"}, at: []string{"{root}/*/bin"}, show: []string{"{prefix}"}},
	{tool: "gem", roots: []string{"~/.local/share/gem/ruby", "~/.gem/ruby"}, at: []string{"{root}/*/bin"}, show: []string{"{prefix}"}},

	// Java and .NET
	{tool: "sdkman", env: "SDKMAN_DIR", roots: []string{"~/.sdkman"}, at: []string{"{root}/candidates/*/*/bin"}, show: []string{"{root}/candidates"}},
	{tool: "jenv", env: "JENV_ROOT", roots: []string{"~/.jenv"}, at: []string{"{root}/bin", "{root}/shims"}, show: []string{"{root}"}},
	{tool: "dotnet", roots: []string{"~/.dotnet"}, at: []string{"{root}"}, show: []string{"{root}/dotnet", "{root}/host", "{root}/shared", "{root}/sdk", "{root}/packs", "{root}/sdk-manifests", "{root}/templates"}},
	{tool: "dotnet tools", roots: []string{"~/.dotnet"}, at: []string{"{root}/tools"}, show: []string{"{root}/tools"}},
	{tool: "coursier", roots: []string{"~/.local/share/coursier"}, at: []string{"{root}/bin"}, show: []string{"{root}/bin"}},

	// Functional languages and science
	{tool: "ghcup", roots: []string{"~/.ghcup"}, at: []string{"{root}/bin"}, show: []string{"{root}"}},
	{tool: "cabal", roots: []string{"~/.cabal", "~/.local/state/cabal"}, at: []string{"~/.cabal/bin", "~/.local/bin"}, show: []string{"{root}/store"}},
	{tool: "opam", env: "OPAMROOT", roots: []string{"~/.opam"}, at: []string{"{root}/*/bin"}, show: []string{"{prefix}"}},
	{tool: "juliaup", roots: []string{"~/.juliaup"}, at: []string{"{root}/bin"}, show: []string{"{root}/bin", "~/.julia/juliaup"}},
	{tool: "perlbrew", env: "PERLBREW_ROOT", roots: []string{"~/perl5/perlbrew"}, at: []string{"{root}/bin", "{root}/perls/*/bin"}, show: []string{"{root}"}},
	{tool: "perl local::lib", roots: []string{"~/perl5"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib"}},
	{tool: "luarocks", roots: []string{"~/.luarocks"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib", "{root}/share"}},
	{tool: "composer", roots: []string{"~/.config/composer", "~/.composer"}, at: []string{"{root}/vendor/bin"}, show: []string{"{root}/vendor"}},

	// Managers of many tools
	{tool: "asdf", env: "ASDF_DATA_DIR", roots: []string{"~/.asdf"}, at: []string{"{root}/bin", "{root}/shims", "{root}/installs/*/*/bin"}, show: []string{"{root}"}},
	{tool: "mise", env: "MISE_DATA_DIR", roots: []string{"~/.local/share/mise"}, at: []string{"{root}/shims", "{root}/installs/*/*", "{root}/installs/*/*/bin", "{root}/installs/*/*/*/bin"}, show: []string{"{root}/installs", "{root}/shims", "~/.local/bin/mise"}},
	{tool: "aqua", env: "AQUA_ROOT_DIR", roots: []string{"~/.local/share/aquaproj-aqua"}, at: []string{"{root}/bin"}, show: []string{"{root}/pkgs", "{root}/internal", "{root}/registries"}},
	{tool: "proto", env: "PROTO_HOME", roots: []string{"~/.proto"}, at: []string{"{root}/bin", "{root}/shims"}, show: []string{"{root}/tools", "{root}/plugins", "{root}/bin"}},
	{tool: "pkgx", roots: []string{"~/.pkgx"}, at: []string{"{root}/*/*/bin", "~/.local/bin"}, show: []string{"{root}"}},
	{tool: "krew", env: "KREW_ROOT", roots: []string{"~/.krew"}, at: []string{"{root}/bin"}, show: []string{"{root}/store"}},
	{tool: "homebrew", roots: []string{"/home/linuxbrew/.linuxbrew", "~/.linuxbrew"}, at: []string{"{root}/bin", "{root}/sbin", "{root}/opt/*/bin", "{root}/opt/*/libexec/bin"}, show: []string{"{root}/bin", "{root}/sbin", "{root}/Cellar", "{root}/opt", "{root}/lib", "{root}/libexec", "{root}/share", "{root}/include", "{root}/etc/openssl@3", "{root}/etc/ca-certificates"}},
	{tool: "nix profile", roots: []string{"~/.nix-profile", "~/.local/state/nix/profile"}, at: []string{"{root}/bin"}, show: []string{"{root}/lib", "{root}/libexec", "{root}/share", "{root}/etc/ssl"}},
	{tool: "guix profile", roots: []string{"~/.guix-profile", "~/.config/guix/current"}, at: []string{"{root}/bin", "{root}/sbin"}, show: []string{"{root}/lib", "{root}/libexec", "{root}/share", "{root}/etc/ssl"}},
}

// systemFolders are part of every sandbox on the host's root.
var systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store"}

// leftOut are PATH folders that would show programs which cannot work: a snap
// needs snapd and its socket, and set-uid programs have no effect inside.
var leftOut = []string{"/snap", "/var/lib/snapd", "/run/wrappers"}

// wide are folders that are never shown as a whole, nor is what is above them.
var wide = []string{
	"/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib", "/var/tmp", "/home", "/root", "/mnt", "/media", "/srv", "/boot", "/run/user/*",
	"~/.local", "~/.config", "~/.cargo", "~/.cache", "~/.local/share", "~/.local/state", "~/.local/lib", "~/Documents", "~/Desktop", "~/Downloads",
}

// credentials are files and folders that hold secrets. No folder is shown that
// holds one of them or lies in one.
var credentials = []string{
	"~/.ssh", "~/.gnupg", "~/.aws", "~/.azure", "~/.kube", "~/.oci", "~/.password-store", "~/.pki", "~/.mozilla", "~/.thunderbird",
	"~/.netrc", "~/.git-credentials", "~/.npmrc", "~/.yarnrc", "~/.yarnrc.yml", "~/.bunfig.toml", "~/.pypirc", "~/.condarc", "~/.vault-token", "~/.pgpass", "~/.my.cnf",
	"~/.docker/config.json", "~/.config/containers", "~/.config/docker", "~/.config/gh", "~/.config/glab-cli", "~/.config/hub", "~/.config/gcloud", "~/.config/git", "~/.config/pip",
	"~/.config/pnpm", "~/.config/npm", "~/.config/op", "~/.config/sops", "~/.config/age", "~/.config/sbx", "~/.config/rclone", "~/.config/composer/auth.json", "~/.composer/auth.json",
	"~/.config/NuGet", "~/.nuget/NuGet", "~/.config/google-chrome", "~/.config/chromium", "~/.config/hf", "~/.cache/huggingface/token",
	"~/.cargo/credentials", "~/.cargo/credentials.toml", "{cargo}/credentials", "{cargo}/credentials.toml", "~/.rye/credentials", "~/.local/share/uv/credentials", "~/.config/pypoetry", "~/.local/share/keyrings", "~/.local/share/sbx",
	"~/.local/share/gem/credentials", "~/.gem/credentials", "~/.m2/settings.xml", "~/.m2/settings-security.xml", "~/.gradle/gradle.properties", "~/.sbt", "~/.ivy2/.credentials",
	"~/.opam/plugins", "~/.julia/servers", "~/.cabal/config", "~/.config/cabal", "~/.luarocks/upload_config.lua", "~/.foundry/keystores", "~/.dotnet/corefx", "~/.terraform.d", "~/.config/mise", "~/.codex", "~/.claude", "~/.bash_history", "~/.zsh_history",
}

// Toolchains returns what is to be shown for the folders of PATH that lie
// outside the system folders, without duplicates, in the order of PATH. PATH
// must be the caller's own: one that a project sets is not to be trusted with
// what is shown.
func Toolchains(path []string, look Lookup) []Shown {
	var out []Shown
	add := func(s Shown) {
		known := slices.ContainsFunc(out, func(o Shown) bool { return within(s.Path, o.Path) })
		if !known && look.fit(s.Path) && look.Exists(s.Path) {
			out = append(out, s)
		}
	}
	for _, dir := range path {
		if dir = filepath.Clean(dir); !look.candidate(dir) {
			continue
		}
		add(Shown{Path: dir, For: dir, Tool: "PATH"})
		for _, t := range toolchains {
			t.each(dir, look, add)
		}
	}
	return out
}

// candidate reports whether a PATH folder is one to look at. A relative one
// means another folder with each working folder: it is left out.
func (l Lookup) candidate(dir string) bool {
	if !filepath.IsAbs(dir) || l.Project != "" && within(dir, l.Project) || !l.Exists(dir) {
		return false
	}
	for _, s := range append(systemFolders, leftOut...) {
		if within(dir, s) {
			return false
		}
	}
	return true
}

// each adds what a row shows for a PATH folder.
func (t toolchain) each(dir string, look Lookup, add func(Shown)) {
	for _, r := range t.rootsOf(look) {
		fill := filler(look, r.path, filepath.Dir(dir))
		if !slices.ContainsFunc(t.at, func(p string) bool { return matches(fill(p), dir) }) {
			continue
		}
		if slices.ContainsFunc(t.has, func(p string) bool { return !look.Exists(fill(p)) }) {
			continue
		}
		for _, p := range t.show {
			for _, path := range look.paths(fill(p)) {
				add(Shown{Path: path, For: dir, Tool: t.tool, Env: r.env})
			}
		}
	}
}

type rootOf struct{ path, env string }

// rootsOf returns where the tool may be: what its variable says, if that is a
// folder fit to be shown, else the usual places.
func (t toolchain) rootsOf(look Lookup) []rootOf {
	if len(t.roots) == 0 {
		return []rootOf{{}}
	}
	if t.env != "" {
		if p := look.moved(t.env); p != "" {
			return []rootOf{{p, t.env}}
		}
	}
	var out []rootOf
	for _, r := range t.roots {
		out = append(out, rootOf{path: filler(look, "", "")(r)})
	}
	return out
}

// moved is the folder that a variable names, if it may be taken at its word:
// it exists and is neither a home, a folder above one, nor as wide as these.
func (l Lookup) moved(env string) string {
	p := l.Getenv(env)
	if !filepath.IsAbs(p) || !l.Exists(p) {
		return ""
	}
	p = filepath.Clean(p)
	for _, at := range l.homes() {
		fill := filler(at, "", "")
		for _, f := range append([]string{"~"}, wide...) {
			if within(fill(f), p) && p != fill("~/.cargo") {
				return ""
			}
		}
	}
	return p
}

// filler fills a path of the table in, which may begin with ~, {root}, {prefix} or {cargo}. It stands on the
// way of every start.
func filler(look Lookup, root, prefix string) func(string) string {
	cargo := look.Getenv("CARGO_HOME")
	return func(p string) string {
		if rest, ok := strings.CutPrefix(p, "{root}"); ok {
			return root + rest
		}
		if rest, ok := strings.CutPrefix(p, "{prefix}"); ok {
			return prefix + rest
		}
		if rest, ok := strings.CutPrefix(p, "{cargo}"); ok {
			return cargo + rest
		}
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			return strings.TrimSuffix(look.Home, "/") + "/" + rest
		}
		if p == "~" {
			return look.Home
		}
		return p
	}
}

// matches compares part by part, so that a * stands for one part and nothing
// in a folder's own name is taken for a pattern but by the table.
func matches(pattern, dir string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(dir, "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return true
}

func (l Lookup) paths(p string) []string {
	if strings.Contains(p, "*") {
		return l.Glob(p)
	}
	return []string{p}
}

// fit reports whether a path may be shown, as it is written and as it is once
// its symlinks are resolved: a ~/bin that leads to ~ must not show home.
func (l Lookup) fit(path string) bool {
	real := l.Real(path)
	for _, at := range l.homes() {
		if !at.fitName(path) || real != path && !at.fitName(real) {
			return false
		}
	}
	return true
}

// homes is the same look-up with each folder as Home that counts as one, as it
// is written and resolved.
func (l Lookup) homes() []Lookup {
	var out []Lookup
	for _, home := range []string{l.Home, l.Real(l.Home), l.PasswdHome, l.Real(l.PasswdHome)} {
		known := slices.ContainsFunc(out, func(o Lookup) bool { return o.Home == home })
		if home != "" && !known {
			at := l
			at.Home = home
			out = append(out, at)
		}
	}
	return out
}

// fitName: the path is neither home or above it, nor one of the wide folders
// or above, and it neither holds credentials nor lies in them.
func (l Lookup) fitName(path string) bool {
	if within(l.Home, path) {
		return false
	}
	fill := filler(l, "", "")
	for _, w := range wide {
		if w := fill(w); within(w, path) || matches(w, path) {
			return false
		}
	}
	for _, c := range credentials {
		if overlap(fill(c), path) {
			return false
		}
	}
	return true
}
