package profiles

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeHost is a host on which the given paths exist, or all if none is given.
func fakeHost(env map[string]string, paths ...string) Lookup {
	exists := func(p string) bool {
		return len(paths) == 0 || slices.ContainsFunc(paths, func(have string) bool { return within(have, p) })
	}
	return Lookup{
		Home:   "/home/u",
		Getenv: func(k string) string { return env[k] },
		Exists: exists,
		Real:   func(p string) string { return p },
		Glob:   func(pat string) []string { return []string{strings.ReplaceAll(pat, "*", ".x")} },
	}
}

// Each row, at each of its places and with its variable, shows what it says.
func TestEveryToolchain(t *testing.T) {
	for _, row := range toolchains {
		host := fakeHost(nil)
		roots := row.rootsOf(host)
		if row.env != "" {
			moved := fakeHost(map[string]string{row.env: "/data/tool"})
			for _, r := range row.rootsOf(moved) {
				if r != (rootOf{"/data/tool", row.env}) {
					t.Errorf("%s: %s is not honoured: %+v", row.tool, row.env, r)
				}
				checkRow(t, row, moved, r)
			}
		}
		for _, r := range roots {
			checkRow(t, row, host, r)
		}
	}
}

func checkRow(t *testing.T, row toolchain, host Lookup, r rootOf) {
	t.Helper()
	for _, at := range row.at {
		if strings.Contains(at, "{cargo}") {
			continue
		}
		dir := strings.ReplaceAll(filler(host, r.path, "/data/prefix")(at), "*", "v1")
		got := Toolchains([]string{dir}, host)
		for _, show := range row.show {
			want := host.paths(filler(host, r.path, filepath.Dir(dir))(show))[0]
			if !slices.ContainsFunc(got, func(s Shown) bool { return within(want, s.Path) }) {
				t.Errorf("%s: PATH %s does not show %s: %+v", row.tool, dir, want, got)
			}
		}
		checkSafe(t, row.tool, got)
	}
}

// checkSafe holds what is shown against the promise, in words of its own.
func checkSafe(t *testing.T, tool string, shown []Shown) {
	t.Helper()
	secrets := []string{
		"/home/u/.cargo/credentials.toml", "/home/u/.config/gh/hosts.yml", "/home/u/.npmrc", "/home/u/.pypirc", "/home/u/.ssh/id", "/home/u/.aws/credentials",
		"/home/u/.opam/plugins/opam-publish/t.token", "/home/u/.julia/servers/x/auth.toml", "/home/u/.cabal/config", "/home/u/.rye/credentials", "/home/u/.local/share/uv/credentials/x",
		"/home/u/.gem/credentials", "/home/u/.local/share/gem/credentials", "/home/u/.luarocks/upload_config.lua", "/home/u/.config/composer/auth.json", "/home/u/.dotnet/corefx/x",
		"/home/u/.foundry/keystores/x", "/home/u/.docker/config.json", "/home/u/.config/pnpm/rc", "/home/u/.local/share/keyrings/x", "/home/u/Documents/x", "/home/u/.bashrc",
	}
	for _, s := range shown {
		for _, secret := range secrets {
			if within(secret, s.Path) {
				t.Errorf("%s: %s shows %s", tool, s.Path, secret)
			}
		}
		for _, whole := range []string{"/home/u", "/home/u/.local", "/home/u/.config", "/home/u/.cargo", "/home/u/.local/share", "/home/u/.local/lib"} {
			if within(whole, s.Path) {
				t.Errorf("%s: %s is shown as a whole", tool, s.Path)
			}
		}
	}
}

func TestToolchainsOfAHost(t *testing.T) {
	for _, c := range []struct {
		what string
		path []string
		env  map[string]string
		have []string
		want string
	}{
		{"system folders", []string{"/usr/bin", "/bin", "/opt/x/bin", "/nix/store/x/bin", "", ".", "bin"}, nil, nil, ""},
		{"snap and set-uid wrappers", []string{"/snap/bin", "/var/lib/snapd/snap/bin", "/run/wrappers/bin"}, nil, nil, ""},
		{"not there", []string{"/home/u/bin"}, nil, []string{"/x"}, ""},
		{"own bin", []string{"/home/u/bin"}, nil, []string{"/home/u/bin"}, "/home/u/bin"},
		{"home and above", []string{"/home/u", "/home", "/"}, nil, nil, ""},
		{"wide folders", []string{"/home/u/.local", "/home/u/.config", "/home/u/.cargo", "/tmp", "/run/user/1000", "/var"}, nil, []string{"/tmp", "/run/user/1000", "/home/u/.cargo", "/home/u/.local", "/home/u/.config", "/var/lib"}, ""},
		{"a folder of secrets", []string{"/home/u/.ssh", "/home/u/.ssh/bin", "/home/u/.docker"}, nil, nil, ""},
		{"the project's own", []string{"/home/u/proj/node_modules/.bin"}, nil, nil, ""},
		{"rust", []string{"/home/u/.cargo/bin"}, nil, []string{"/home/u/.cargo/bin", "/home/u/.rustup"}, "/home/u/.cargo/bin /home/u/.rustup"},
		{"rust moved", []string{"/d/cargo/bin"}, map[string]string{"CARGO_HOME": "/d/cargo", "RUSTUP_HOME": "/d/rustup"}, []string{"/d/cargo/bin", "/d/rustup"}, "/d/cargo/bin /d/rustup"},
		{"cargo moved, and itself in PATH", []string{"/d/cargo"}, map[string]string{"CARGO_HOME": "/d/cargo"}, []string{"/d/cargo/bin"}, ""},
		{"rust moved to home", []string{"/home/u/.cargo/bin"}, map[string]string{"RUSTUP_HOME": "/home/u"}, []string{"/home/u/.cargo/bin", "/home/u/.rustup"}, "/home/u/.cargo/bin /home/u/.rustup"},
		{"rust moved to nowhere", []string{"/home/u/.cargo/bin"}, map[string]string{"RUSTUP_HOME": "/gone"}, []string{"/home/u/.cargo/bin", "/home/u/.rustup"}, "/home/u/.cargo/bin /home/u/.rustup"},
		{"pyenv moved above home", []string{"/home/shims"}, map[string]string{"PYENV_ROOT": "/home"}, []string{"/home/shims"}, "/home/shims"},
		{"nvm", []string{"/home/u/.nvm/versions/node/v22.1.0/bin"}, nil, []string{"/home/u/.nvm/versions/node/v22.1.0/bin", "/home/u/.nvm/alias"}, "/home/u/.nvm/versions/node/v22.1.0/bin /home/u/.nvm/versions"},
		{"a Go of one's own", []string{"/home/u/sdk/go1.26/bin"}, nil, []string{"/home/u/sdk/go1.26/bin", "/home/u/sdk/go1.26/src/runtime", "/home/u/sdk/go1.26/pkg/tool", "/home/u/sdk/go1.26/go.env"}, "/home/u/sdk/go1.26/bin /home/u/sdk/go1.26/src /home/u/sdk/go1.26/pkg /home/u/sdk/go1.26/go.env"},
		{"go install", []string{"/home/u/go/bin"}, nil, []string{"/home/u/go/bin", "/home/u/go/pkg/mod"}, "/home/u/go/bin"},
		{"conda", []string{"/home/u/miniconda3/bin"}, nil, []string{"/home/u/miniconda3/bin", "/home/u/miniconda3/conda-meta", "/home/u/miniconda3/lib", "/home/u/miniconda3/.condarc"}, "/home/u/miniconda3/bin /home/u/miniconda3/conda-meta /home/u/miniconda3/lib"},
		{"opam", []string{"/home/u/.opam/5.1/bin"}, nil, []string{"/home/u/.opam/5.1/bin", "/home/u/.opam/plugins"}, "/home/u/.opam/5.1/bin /home/u/.opam/5.1"},
		{"fnm", []string{"/run/user/1000/fnm_multishells/1_2/bin"}, nil, []string{"/run/user/1000/fnm_multishells/1_2/bin", "/home/u/.local/share/fnm/node-versions"}, "/run/user/1000/fnm_multishells/1_2/bin /home/u/.local/share/fnm/node-versions"},
	} {
		host := fakeHost(c.env, c.have...)
		host.Project = "/home/u/proj"
		var got []string
		for _, s := range Toolchains(c.path, host) {
			got = append(got, s.Path)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.what, got, c.want)
		}
	}
}

// A PATH folder that is a link to home must not show home.
func TestToolchainsResolveLinks(t *testing.T) {
	host := fakeHost(nil)
	host.Real = func(p string) string {
		return map[string]string{"/home/u/bin": "/home/u", "/x/bin": "/home/u/.ssh", "/home/u": "/data/u", "/y/bin": "/data"}[p]
	}
	if got := Toolchains([]string{"/home/u/bin", "/x/bin", "/y/bin"}, host); len(got) > 0 {
		t.Errorf("shown: %+v", got)
	}
}

// With HOME=/tmp/h the home that passwd names is shown as little as before, and tools are looked for below $HOME.
func TestToolchainsKnowEveryHome(t *testing.T) {
	env := map[string]string{"NVM_DIR": "/home/u", "PYENV_ROOT": "/home", "RBENV_ROOT": "/tmp/h", "CARGO_HOME": "/home/u/.cargo"}
	host := fakeHost(env)
	host.Exists = func(p string) bool {
		return !strings.HasSuffix(p, "/conda-meta") && !strings.HasSuffix(p, "/pyvenv.cfg") && !strings.HasSuffix(p, "/src/runtime")
	}
	host.Home, host.PasswdHome = "/tmp/h", "/link/u"
	host.Real = func(p string) string {
		switch p {
		case "/link/u":
			return "/home/u"
		case "/x/bin":
			return "/home/u"
		}
		return p
	}
	bad := []string{"/home/u", "/link/u", "/home", "/tmp/h", "/home/u/.local", "/home/u/.ssh/bin", "/link/u/.aws", "/home/u/.cargo", "/tmp/h/.gnupg", "/tmp/h/.config", "/x/bin"}
	if got := Toolchains(append(bad, "/home/versions/v1/bin", "/home/u/versions/v1/v1/bin"), host); !slices.EqualFunc(got, []string{"/home/versions/v1/bin", "/home/u/versions/v1/v1/bin"},
		func(s Shown, want string) bool { return s.Path == want }) {
		t.Errorf("shown: %+v", got)
	}
	got := Toolchains([]string{"/tmp/h/.volta/bin", "/home/u/.cargo/bin"}, host)
	for _, want := range []string{"/tmp/h/.volta/bin", "/tmp/h/.volta/tools", "/home/u/.cargo/bin"} {
		if !slices.ContainsFunc(got, func(s Shown) bool { return s.Path == want }) {
			t.Errorf("%s is not shown: %+v", want, got)
		}
	}
	checkSafe(t, "two homes", got)
}

// Where home is /, its secrets lie in /.ssh and the like.
func TestToolchainsOfAHomeAtTheRoot(t *testing.T) {
	host := fakeHost(nil)
	host.Home = "/"
	if got := Toolchains([]string{"/.ssh/bin", "/.local", "/.config", "/", "/.aws"}, host); len(got) > 0 {
		t.Errorf("shown: %+v", got)
	}
}
