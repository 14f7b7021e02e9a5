package profiles

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// house is a home folder with a configuration and a project, as files.
type house struct {
	t    *testing.T
	root string
}

// newHouse writes files, given as path and text; a text "-> X" is a symlink.
func newHouse(t *testing.T, files map[string]string) house {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := house{t, root}
	for _, dir := range []string{"home/proj", "config/profiles"} {
		h.must(os.MkdirAll(h.path(dir), 0o755))
	}
	for name, text := range files {
		h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o755))
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			h.must(os.Symlink(target, h.path(name)))
		} else {
			h.must(os.WriteFile(h.path(name), []byte(text), 0o644))
		}
	}
	return h
}

func (h house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func write(h house, name, text string) error {
	return os.WriteFile(h.path(name), []byte(text), 0o644)
}

func (h house) path(name string) string { return filepath.Join(h.root, name) }

func (h house) load(name string, flags ...Flag) (*Loaded, error) {
	h.t.Helper()
	f, err := FromFlags(flags, h.path("home/proj"), h.path("home"))
	if err != nil {
		return nil, err
	}
	p := Project{Dir: h.path("home/proj"), HasFile: exists(h.path("home/proj/sbx.toml"))}
	_, err = os.Lstat(h.path("home/proj/sbx.toml"))
	p.HasFile = err == nil
	return Load(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: p, Name: name, Flags: f, Protected: []string{"sbx.toml", "tools/agent"}})
}

func TestDefaultsFillEveryScalar(t *testing.T) {
	l, err := newHouse(t, nil).load("")
	if err != nil {
		t.Fatal(err)
	}
	p := l.Profile
	if p.Root.User.V.Kind != UserMe || p.Files.Project.V != AccessWrite || p.Files.Git.V != AccessRead || p.Network.Mode.V != NetNone ||
		p.Harden.Seccomp.V != SeccompDefault || p.Root.Groups.V != GroupsDrop || p.Root.BootTime.V != BootTimeHost || p.Files.Home.V != HomeEmpty ||
		p.Harden.Require.V != LevelNone || p.Limits.Enforce.V != EnforceRequired || p.Limits.Time.Set || p.Network.Allow.Set {
		t.Errorf("defaults: %+v", p)
	}
	if len(l.Grants) > 0 {
		t.Errorf("the default sandbox has grants: %v", l.Grants)
	}
}

func TestLayersMerge(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/config.toml":        "profile = 'mine'",
		"config/profiles/mine.toml": "extends = 'base'\n[files]\nread = ['~/b']\nmounts = ['/m:/x:ro']\n[env.set]\nA = 'mine'\nB = 'mine'",
		"config/profiles/base.toml": "[files]\nread = ['~/a', 'rel']\n[limits]\ntime = '1h'\n[env.set]\nA = 'base'\nC = 'base'",
		"config/profiles/dev.toml":  "[files]\nread = ['~/c', '~/a']\nmounts = ['/n:/x']\n[network]\nmode = 'host'",
		"home/proj/sbx.toml":        "[limits]\ntime = '5m'\n[files]\nhide = ['secrets']\n[env.set]\nB = 'proj'",
	})
	l, err := h.load("dev", Flag{"-v", "files.mounts", []string{"out:/x"}}, Flag{"--timeout", "limits.time", []string{"9m"}})
	if err != nil || len(l.Profile.Files.Volumes.Items) != 1 || l.Profile.Files.Volumes.Items[0].V != (Volume{Name: "out", Dst: "/x"}) {
		t.Errorf("a volume by -v: %+v, %v", l, err)
	}
	l, err = h.load("dev", Flag{"-v", "files.mounts", []string{"./out:ro"}}, Flag{"--timeout", "limits.time", []string{"9m"}})
	if err != nil {
		t.Fatal(err)
	}
	home := h.path("home")
	want := []string{h.path("config/profiles/rel"), home + "/b", home + "/c", home + "/a"}
	if got := l.Profile.Files.Read.Values(); !slices.Equal(got, want) {
		t.Errorf("read: %v, want %v", got, want)
	}
	if got := fmt.Sprint(l.Profile.Files.Mounts.Values()); got != fmt.Sprintf("[/n:/x:rw %s/proj/out:%s/proj/out:ro]", home, home) {
		t.Errorf("mounts: %v", got)
	}
	if got := fmt.Sprint(l.Profile.Env.SetValues()); got != "map[A:mine B:proj C:base]" {
		t.Errorf("set: %v", got)
	}
	if l.Profile.Limits.Time.V != 9*time.Minute || l.Profile.Limits.Time.From.String() != "flag --timeout" {
		t.Errorf("time: %+v", l.Profile.Limits.Time)
	}
	if got := l.Profile.Files.Hide.Items[0]; got.V != home+"/proj/secrets" || got.From.String() != home+"/proj/sbx.toml:4:9" || got.From.Layer != LayerProject {
		t.Errorf("hide: %+v", got)
	}
	var grants []string
	for _, g := range l.Grants {
		grants = append(grants, g.Key)
	}
	if got := strings.Join(grants, " "); got != "files.read files.read files.read files.read files.mounts network.mode" {
		t.Errorf("grants: %v\n%v", got, l.Grants)
	}
	found := false
	for _, e := range l.Entries() {
		found = found || e.Key == "network.mode" && e.Value == "host" && e.From.String() == h.path("config/profiles/dev.toml")+":5:8"
	}
	if !found {
		t.Errorf("entries: %v", l.Entries())
	}
}

func TestNames(t *testing.T) {
	many := map[string]string{"config/profiles/p100.toml": ""}
	for i := range 100 {
		many[fmt.Sprintf("config/profiles/p%d.toml", i)] = fmt.Sprintf("extends = 'p%d'", i+1)
	}
	for _, c := range []struct {
		what, name string
		files      map[string]string
		want       string // of the error; empty: none
	}{
		{"built-in", "host", nil, ""},
		{"unknown", "hots", nil, `flag -p: no profile of the name "hots"; did you mean "host"?`},
		{"unknown near a variant", "oflin", map[string]string{"home/proj/sbx.toml": "[profiles.offline.network]\nmode='none'"}, `did you mean "offline"?`},
		{"a path", "../x", nil, `flag -p: no name of a profile: "../x"`},
		{"unknown default", "", map[string]string{"config/config.toml": "profile = 'devv'", "config/profiles/dev.toml": ""}, `config.toml:1:11: no profile of the name "devv"; did you mean "dev"?`},
		{"unknown base", "a", map[string]string{"config/profiles/a.toml": "extends = 'hst'"}, `a.toml:1:11: no profile of the name "hst"; did you mean "host"?`},
		{"loop", "a", map[string]string{"config/profiles/a.toml": "extends = 'b'", "config/profiles/b.toml": "\nextends = 'a'"}, `b.toml:2:11: extends itself: a -> b -> a`},
		{"itself", "a", map[string]string{"config/profiles/a.toml": "extends = 'a'"}, `a.toml:1:11: extends itself`},
		{"a host of one's own", "", map[string]string{"config/profiles/host.toml": "extends = 'host'\n[files]\nread=['/x']"}, ""},
		{"long chain", "p0", many, `extends more than 32 profiles`},
		{"project's variant", "off", map[string]string{"home/proj/sbx.toml": "[profiles.off.files]\nproject='read'"}, ""},
		{"variant of the default profile", "off", map[string]string{"config/profiles/host.toml": "[profiles.off.files]\nproject='read'"}, ""},
		{"project extends nothing", "", map[string]string{"home/proj/sbx.toml": "extends = 'agnt'"}, `sbx.toml:1:11: no profile of the name "agnt"`},
	} {
		_, err := newHouse(t, c.files).load(c.name)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.want)
		}
	}
}

// A project must not take a tightening profile of the user's away by a variant
// of the same name.
func TestVariantDoesNotHideTheUsersProfile(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/profiles/strict.toml": "[files]\nproject = 'read'",
		"home/proj/sbx.toml":          "[profiles.strict.limits]\ntime = '1m'",
	})
	l, err := h.load("strict")
	if err != nil {
		t.Fatal(err)
	}
	if l.Profile.Files.Project.V != AccessRead || l.Profile.Limits.Time.V != time.Minute {
		t.Errorf("project = %v, time = %v", l.Profile.Files.Project.V, l.Profile.Limits.Time.V)
	}
}

func TestProjectMayOnlyTighten(t *testing.T) {
	user := "[files]\nread = ['~/shown', './../../home/proj/vendor']\nwrite = ['~/cache']\nhide = ['secrets']\ntmpfs = ['~/proj/scratch']\n[limits]\ntime = '10m'\n[env]\npass = ['CI', 'npm_*']\n[env.set]\nA = '1'\n[harden]\nrequire = 'single-id'\n[root]\nboottime = 'zero'"
	for _, c := range []struct {
		text string
		want string // words of the grant; empty: none
	}{
		{"[files]\nread = ['~/.ssh']", `sbx.toml:2:9: reads "HOME/.ssh"`},
		{"[files]\nread = ['../shown/sub']", ""},
		{"[files]\nread = ['~/cache']", ""},
		{"[files]\nread = ['src']", ""},
		{"[files]\nproject = 'none'\nread = ['src']", ""},
		{"[files]\nread = ['secrets/x']", `reads "PROJ/secrets/x"`},
		{"[files]\nread = ['.']", `reads "PROJ"`}, // would show secrets again
		{"[files]\nread = ['scratch']", `reads "PROJ/scratch"`},
		{"[files]\nread = ['out']", `reads "HOME/.ssh"`}, // a symlink out of the project
		{"[files]\nread = ['out/../src']", ""},
		{"[files]\nread = ['dangling']", `reads "PROJ/dangling"`},
		{"[files]\nread = ['loop']", `reads "PROJ/loop"`},
		{"[files]\nread = ['src/main.c/x']", `reads "PROJ/src/main.c/x"`},
		{"[files]\nread = ['src/new/folder']", ""},
		{"[files]\nproject = 'read'\nwrite = ['src']", ""},
		{"[files]\nwrite = ['src/main.c']", `writes "PROJ/src/main.c"`}, // may be a file the host executes
		{"[files]\nwrite = ['vendor']", `writes "PROJ/vendor"`},
		{"[files]\nwrite = ['.git']", `writes "PROJ/.git"`},
		{"[files]\nwrite = ['link-to-git']", `writes "PROJ/.git"`},
		{"[files]\nwrite = ['tools']", `writes "PROJ/tools"`},
		{"[files]\nwrite = ['~/shown']", `writes "HOME/shown"`},
		{"[files]\nwrite = ['~/cache/x']", ""},
		{"[files]\nwrite = ['.']", `writes "PROJ"`},
		{"[files]\nmounts = ['./src:/src']", ""},
		{"[files]\nmounts = ['./.git:/g']", `writes "PROJ/.git", shown at "/g"`},
		{"[files]\nmounts = ['./.git:/g:ro']", ""},
		{"[files]\nmounts = ['~/.ssh:/s:ro']", `reads "HOME/.ssh", shown at "/s"`},
		{"[files]\nmounts = ['./secrets:/s:ro']", `reads "PROJ/secrets"`},
		{"[files]\nmounts = ['./:/s:ro']", `reads "PROJ"`},
		{"[files]\ngit = 'write'", `sbx.toml:2:7: writes the project's .git`},
		{"[files]\nproject = 'write'", ""},
		{"[files]\nhide = ['x']\ntmpfs = ['/scratch', '~/proj/secrets']", ""},
		{"[network]\nmode = 'host'", `the host's own network, with its loopback and its abstract sockets (X11, D-Bus)`},
		{"[network]\nmode = 'none'", ""},
		{"[limits]\ntime = '11m'", `a time limit of 11m0s`},
		{"[limits]\ntime = '10m'", ""},
		{"[env]\npass = ['AWS_SECRET_ACCESS_KEY']", `passes the variable "AWS_SECRET_ACCESS_KEY"`},
		{"[env]\npass = ['CI', 'LANG', 'npm_x', 'npm_config_*']", ""},
		{"[env]\npass = ['npm_token']", `passes the variable "npm_token"`}, // the user's npm_* does not pass it
		{"[env]\npass = ['n*']", `passes the variable "n*"`},
		{"[env]\npass = ['LC_*']", `passes the variable "LC_*"`},
		{"[env.set]\nA = '2'\nPATH = '/x'\nLD_PRELOAD = '/x'", ""},
		{"[harden]\nseccomp = 'off'", `the system call filter "off"`},
		{"[harden]\nrequire = 'full'", ""},
		{"[harden]\nrequire = 'outer-proc'", `to run at the level "outer-proc"`},
		{"[root]\nuser = 'root'", `root inside`},
		{"[root]\nuser = '0'", `root inside`},
		{"[root]\nuser = '1:0'", `root inside`},
		{"[root]\nuser = '1234'", ""},
		{"[root]\ngroups = 'keep'", `your supplementary groups`},
		{"[root]\nboottime = 'host'", `the time since the host started`},
		{"extends = 'wide'", `sbx.toml:1:11: reads "HOME/.ssh" (by extends = "wide")`},
		{"extends = 'host'", ""},
		{"[tasks.x]\nrun = 'a'\nnetwork.mode = 'host'", ``}, // not run
		{"[tasks.x]\nrun = 'a'\nfiles.project = 'read'", ""},
		{"[profiles.off.network]\nmode = 'host'", ``}, // not chosen
		{"[profiles.this.network]\nmode = 'host'", `the host's own network`},
	} {
		h := newHouse(t, map[string]string{
			"config/profiles/this.toml": user, "config/profiles/wide.toml": "[files]\nread = ['~/.ssh']",
			"home/proj/sbx.toml": c.text, "home/proj/src/main.c": "", "home/.ssh/id": "", "home/proj/.git/config": "", "home/proj/secrets/x": "",
			"home/proj/out": "-> ../.ssh", "home/proj/dangling": "-> nowhere", "home/proj/loop": "-> loop", "home/proj/link-to-git": "-> .git",
			"home/proj/tools/agent/x": "", "home/proj/vendor/x": "", "home/shown/sub/x": "", "home/cache/x": "",
		})
		_, err := h.load("this")
		want := strings.NewReplacer("HOME", h.path("home"), "PROJ", h.path("home/proj")).Replace(c.want)
		var ge *GrantError
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", c.text, err)
		case want != "" && (!errors.As(err, &ge) || !strings.Contains(err.Error(), want)):
			t.Errorf("%q:\ngot  %v\nwant %s", c.text, err, want)
		}
	}
}

func TestEveryGrantIsListed(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[files]\nread = ['~/.ssh', '~/.aws']\n[network]\nmode = 'host'\n[env]\npass = ['AWS_X']\n[harden]\nseccomp = 'off'"})
	_, err := h.load("")
	var ge *GrantError
	if !errors.As(err, &ge) || len(ge.Grants) != 5 {
		t.Fatalf("got %v", err)
	}
	for _, g := range ge.Grants {
		if g.From.Line == 0 || g.From.File != h.path("home/proj/sbx.toml") {
			t.Errorf("%s has no place: %+v", g, g.From)
		}
	}
}

// What was compared is what comes back: no symlink is left to be swapped.
func TestProjectPathsAreResolved(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[files]\nread = ['link']\nmounts = ['./link:/x:ro']", "home/proj/link": "-> src", "home/proj/src/x": ""})
	l, err := h.load("")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Profile.Files.Read.Values()[0]; got != h.path("home/proj/src") {
		t.Errorf("read %s", got)
	}
	if got := l.Profile.Files.Mounts.Values()[0]; got.Src != h.path("home/proj/src") || got.Dst != "/x" {
		t.Errorf("mount %v", got)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	for _, c := range []struct {
		what string
		make func(h house, path string) error
		want string
	}{
		{"a pipe", func(h house, p string) error { return unix.Mkfifo(p, 0o600) }, "sbx.toml: is a pipe, not a file"},
		{"a folder", func(h house, p string) error { return os.Mkdir(p, 0o755) }, "sbx.toml: is a folder, not a file"},
		{"a link out", func(h house, p string) error { return os.Symlink(h.path("config/x.toml"), p) }, "sbx.toml: is a link that leads out of the project"},
		{"a relative link out", func(h house, p string) error { return os.Symlink("../../config/x.toml", p) }, "is a link that leads out of the project"},
		{"a link to a device", func(h house, p string) error { return os.Symlink("/dev/zero", p) }, "is a link that leads out of the project"},
		{"a loop", func(h house, p string) error { return os.Symlink("sbx.toml", p) }, "is a link that cannot be followed"},
		{"a link inside", func(h house, p string) error { return os.Symlink("real.toml", p) }, ""},
		{"too large", func(h house, p string) error {
			return os.WriteFile(p, []byte(strings.Repeat("#\n", 5<<20)), 0o644)
		}, "sbx.toml: is larger than 1048576 bytes"},
	} {
		h := newHouse(t, map[string]string{"config/x.toml": "", "home/proj/real.toml": ""})
		h.must(c.make(h, h.path("home/proj/sbx.toml")))
		_, err := h.load("")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.want)
		}
	}
}

func TestOwnFilesMayBeSymlinks(t *testing.T) {
	h := newHouse(t, map[string]string{"dots/c.toml": "profile = 'a'", "config/config.toml": "-> ../dots/c.toml", "dots/a.toml": "[files]\nproject='read'", "config/profiles/a.toml": "-> ../../dots/a.toml"})
	l, err := h.load("")
	if err != nil || l.Profile.Files.Project.V != AccessRead {
		t.Errorf("got %v", err)
	}
	h = newHouse(t, nil)
	h.must(unix.Mkfifo(h.path("config/config.toml"), 0o600))
	if _, err := h.load(""); err == nil || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("a pipe as configuration: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"profil = 'x'", `config.toml:1:1: unknown key "profil"; did you mean "profile"?`},
		{"[storage]\ndriver = 'fuse'", `no such value "fuse"`},
		{"[registries.'a:1']\ninsecure = 'x'", `insecure: takes true or false, not a string`},
		{"[trust]\nfolders = ['~x']", `config.toml:2:12: trust.folders: the home of another user`},
		{"[limits]\nenforce = 'best'", `no such value "best"; one of: best-effort, required`},
		{"[limits]\nenforce = 'best-effort'", ""},
		{"[limits]\nmemory = '1G'", `unknown key "memory" in [limits]`},
		{"[storage]\ndriver = 'auto'\n[network]\ndriver = 'auto'\n[trust]\nfolders = []\n[limits]\nenforce = 'required'", ""},
	} {
		_, err := newHouse(t, map[string]string{"config/config.toml": c.text}).load("")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, c := range []struct {
		flag Flag
		want string
	}{
		{Flag{"--net", "network.mode", []string{"hots"}}, `flag --net: network.mode: no such value "hots"; did you mean "host"?`},
		{Flag{"--net", "network.mode", []string{"join:x"}}, ""},
		{Flag{"--cpus", "limits.cpus", []string{"0.5"}}, ``},
		{Flag{"--memory", "limits.memory", []string{"0"}}, `flag --memory: limits.memory: size "0" is not above zero`},
		{Flag{"--memory", "limits.memory", []string{"-5M"}}, `flag --memory: limits.memory: size "-5M" is not above zero`},
		{Flag{"--best-effort", "limits.enforce", []string{"best-effort"}}, ``},
		{Flag{"--cpus", "limits.cpus", []string{"-1"}}, `flag --cpus: limits.cpus: no such number`},
		{Flag{"--pids", "limits.pids", []string{"12x"}}, `flag --pids: limits.pids: takes a whole number`},
		{Flag{"--tmpfs", "files.tmpfs", []string{"x"}}, `flag --tmpfs: files.tmpfs: a path inside the sandbox is absolute`},
		{Flag{"--x", "files.nothing", []string{"x"}}, `no such key`},
		{Flag{"--tmpfs", "files.tmpfs", nil}, ""},
	} {
		_, err := FromFlags([]Flag{c.flag}, "/d", "/h")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.flag, err, c.want)
		}
	}
}

func TestLevels(t *testing.T) {
	order := []Level{LevelNone, LevelUnlimited, LevelOuterProc, LevelSingleID, LevelFull}
	for i, bar := range order {
		for j, got := range order {
			if bar.Accepts(got) != (j >= i) {
				t.Errorf("%s accepts %s: %v", bar, got, bar.Accepts(got))
			}
		}
	}
}
