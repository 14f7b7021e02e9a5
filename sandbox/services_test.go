package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sbx/profiles"
)

// find resolves a service for a home and a project with these files.
func find(t *testing.T, service string, environ map[string]string, files map[string]string, said string) (*finder, []string, error) {
	dir := t.TempDir()
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := &finder{environ: environ, home: filepath.Join(dir, "home"), project: filepath.Join(dir, "project"), set: map[string]string{}}
	f.ask = func(...string) (string, error) {
		if said == "" {
			return "", errors.New("not to be asked")
		}
		return said, nil
	}
	rules, err := f.resolveService(profiles.Rule{Service: service})
	var words []string
	for _, r := range rules {
		word := ruleWords(r)
		if r.Private {
			word += " private"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return f, words, err
}

func TestServices(t *testing.T) {
	for _, c := range []struct {
		name, service string
		environ       map[string]string
		files         map[string]string
		said          string
		want          string
	}{
		{name: "asked", service: "npm", said: "https://registry.test/", want: "registry.test:443 private"},
		{name: "user", service: "npm", files: map[string]string{"home/.npmrc": "registry = http://npm.test:4873/x\n//npm.test/:_authToken=s\n@me:registry=https://me.test\n"}, want: "me.test:443 private, npm.test:4873 private"},
		{name: "environment first", service: "npm", environ: map[string]string{"npm_config_registry": "https://env.test"},
			files: map[string]string{"project/.npmrc": "registry=https://project.test", "home/.npmrc": "registry=https://home.test"}, want: "env.test:443 private"},
		{name: "project", service: "npm", files: map[string]string{"project/.npmrc": "registry=https://project.test\n"}, want: "project.test:443"},
		{name: "an address of the project's", service: "npm", files: map[string]string{"project/.npmrc": "registry=http://169.254.169.254/\n"}, want: ""},
		{name: "an address of the user's", service: "npm", files: map[string]string{"home/.npmrc": "registry=http://127.0.0.1:4873/\n"}, want: "127.0.0.1:4873"},
		{name: "no wildcard, no service", service: "npm", files: map[string]string{"project/.npmrc": "registry=https://*.test/\n@a:registry=@npm\n"}, want: ""},
		{name: "asked", service: "go", said: "https://proxy.test|https://two.test/x,direct\nsum.test+033de0ae+Ac4zctda0e5eza", want: "proxy.test:443 private, sum.test:443 private, two.test:443 private"},
		{name: "file", service: "go", files: map[string]string{"home/.config/go/env": "GOPROXY=http://p.test:8081\nGOSUMDB=off\n"}, want: "p.test:8081 private"},
		{name: "sites", service: "apt", said: "http://a.test/debian\nhttp://a.test/debian-security\nhttps://b.test", want: "a.test:80 private, b.test:443 private"},
		{name: "remotes", service: "git", files: map[string]string{"project/.git/config": "[remote \"o\"]\n\turl = https://git.test/x.git\n[remote \"p\"]\n\turl = git@ssh.test:x/y\n\tpushurl = ssh://git@push.test:2222/x\n[remote \"q\"]\n\turl = ../x\n\turl = /srv/x\n"},
			want: "git.test:443, push.test:2222, ssh.test:22"},
		{name: "the default", service: "pip", said: "https://pip.test/simple https://files.test", want: "files.test:443 private, pip.test:443 private"},
		{name: "the default and more", service: "pip", environ: map[string]string{"PIP_EXTRA_INDEX_URL": "https://more.test/simple"}, said: "https://pip.test/simple https://files.test",
			want: "files.test:443 private, more.test:443 private, pip.test:443 private"},
		{name: "the default", service: "cargo", said: "error: x\nCaused by:\n  failed to download from `https://index.test/config.json`\n\n[6] Could not resolve hostname",
			files: map[string]string{"home/.cargo/registry/index/index.test-1/config.json": `{"dl": "https://static.test/crates", "api": "https://api.test"}`}, want: "index.test:443 private, static.test:443"},
		{name: "replaced", service: "cargo", files: map[string]string{"home/.cargo/config.toml": "[source.crates-io]\nreplace-with = \"mine\"\n[source.mine]\nregistry = \"sparse+https://mine.test/index/\"\n",
			"project/.cargo/config.toml": "[registries.theirs]\nindex = \"sparse+https://theirs.test/\"\n"}, want: "mine.test:443 private, theirs.test:443"},
		{name: "lists over several lines", service: "pip", files: map[string]string{"home/.config/pip/pip.conf": "[global]\nindex_url: https://u:p@pip.test/simple\nextra-index-url =\n    https://more.test/simple\n    # an old one\n\n\thttps://last.test/simple?a=b\n[install]\nno-clean = yes\n"},
			environ: map[string]string{"PIP_CONFIG_FILE": "/dev/null"}, want: "last.test:443 private, more.test:443 private, pip.test:443 private"},
		{name: "index", service: "pip", files: map[string]string{"home/.config/pip/pip.conf": "[global]\nindex-url = https://u:p@pip.test/simple\n"},
			environ: map[string]string{"PIP_CONFIG_FILE": "/dev/null", "PIP_EXTRA_INDEX_URL": "https://more.test/simple"}, want: "more.test:443 private, pip.test:443 private"},
	} {
		f, words, err := find(t, c.service, c.environ, c.files, c.said)
		if got := strings.Join(words, ", "); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("@%s, %s: got %q, %v", c.service, c.name, got, err)
		}
		for name, value := range f.set {
			if strings.Contains(value, "@") && !strings.HasPrefix(name, "npm_config_@") {
				t.Errorf("@%s, %s: the payload gets %s=%s", c.service, c.name, name, value)
			}
		}
	}
}

// A tool inside is told the addresses that it is to use, and never the names and passwords in them.
func TestServicesWithoutCredentials(t *testing.T) {
	for _, c := range []struct{ service, variable, value, want string }{
		{"go", "GOPROXY", "https://u:secret@a.test/x", "https://a.test/x"},
		{"go", "GOPROXY", "https://u:secret@a.test|https://v:secret@b.test,direct", "https://a.test|https://b.test,direct"},
		{"go", "GOPROXY", "https://b.test,https://u:secret%zz@a.test/x", "https://b.test,https://a.test/x"},
		{"go", "GOSUMDB", "sum.test+key https://u:secret@sum.test", "sum.test+key https://sum.test"},
		{"npm", "npm_config_registry", "https://u:secret@a.test/", "https://a.test/"},
		{"pip", "PIP_INDEX_URL", "https://u:secret@a.test/x", "https://a.test/x"},
	} {
		environ := map[string]string{"GOPROXY": "https://u:secret@go.test", "GOSUMDB": "off"}
		environ[c.variable] = c.value
		f, _, err := find(t, c.service, environ, nil, "")
		if err != nil || f.set[c.variable] != c.want {
			t.Errorf("%s=%s: %q, want %q (%v)", c.variable, c.value, f.set[c.variable], c.want, err)
		}
		for name, value := range f.set {
			if strings.Contains(value, "secret") {
				t.Errorf("%s=%s: the payload has %s=%s", c.variable, c.value, name, value)
			}
		}
	}
}

// Whoever wrote the repository chose a host that its files name: that is told, unless the user's own files name it too.
func TestServicesToldOfTheProject(t *testing.T) {
	const theirs, ours = "registry=https://theirs.test\n", "registry=https://ours.test\n@us:registry=https://theirs.test\n"
	for _, c := range []struct {
		files map[string]string
		told  []told
	}{
		{map[string]string{"project/.npmrc": theirs, "home/.npmrc": ours}, nil},
		{map[string]string{"home/.npmrc": ours}, nil},
		{map[string]string{"project/.npmrc": theirs}, []told{{"@npm", "theirs.test:443", ".npmrc"}}},
	} {
		f, _, err := find(t, "npm", nil, c.files, "")
		if err != nil || !slices.Equal(f.told, c.told) {
			t.Errorf("%v: told %q, want %q (%v)", c.files, f.told, c.told, err)
		}
	}
}
