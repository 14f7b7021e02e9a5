package profiles

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// The inner file of a monorepo extends the outer one.
func TestOuterFilesMerge(t *testing.T) {
	h := newHouse(t, map[string]string{
		"home/proj/sbx.toml":        "[files]\nproject = 'read'\nread = ['shared']\nhide = ['a/keys']\n[limits]\ntime = '5m'\n[tasks]\nlint = 'outer'\nbuild = 'outer'",
		"home/proj/a/sbx.toml":      "[limits]\ntime = '1m'\n[tasks]\nbuild = 'inner'",
		"home/proj/shared/x":        "",
		"config/profiles/host.toml": "[files]\nread = ['~/proj/shared']",
	})
	p := Project{Dir: h.path("home/proj/a"), HasFile: true, Outer: []string{h.path("home/proj")}}
	l, err := Load(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: p})
	if err != nil {
		t.Fatal(err)
	}
	f := l.Profile.Files
	if f.Project.V != AccessRead || l.Profile.Limits.Time.V.Minutes() != 1 || l.Profile.Tasks["build"].Run.V != "inner" || l.Profile.Tasks["lint"].Run.V != "outer" {
		t.Errorf("merged: %+v", l.Profile)
	}
	if got := f.Hide.Values(); !slices.Equal(got, []string{h.path("home/proj/a/keys")}) {
		t.Errorf("hide: %v", got)
	}
	if got := l.Profile.Limits.Time.From.String(); got != h.path("home/proj/a/sbx.toml")+":2:8" {
		t.Errorf("time is from %s", got)
	}
	h.must(write(h, "home/proj/sbx.toml", "[network]\nmode = 'host'"))
	var ge *GrantError
	if _, err = Load(Options{Home: h.path("home"), Project: p}); !errors.As(err, &ge) || ge.Grants[0].From.File != h.path("home/proj/sbx.toml") {
		t.Errorf("an outer file that asks: %v", err)
	}
}

// What is shown is a profile, and says the same.
func TestShownProfileIsOne(t *testing.T) {
	h := newHouse(t, map[string]string{"config/profiles/x.toml": `
[files]
read = ["/a b", "~/c\"d"]
mounts = ["/m:/x:ro"]
[env]
pass = []
set = { A = "x\ny\u001b", "B.C" = "\U0001F600" }
[tasks]
build = "make \"all\""
test = { run = "make test", limits = { time = "5m" }, files = { project = "read" } }
`})
	l, err := h.load("x")
	if err != nil {
		t.Fatal(err)
	}
	text := linesOf(l)
	p, err := parseProfile(text, Origin{File: "shown"}, base{dir: "/", home: h.path("home"), project: h.path("home/proj")})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	again := linesOf(&Loaded{Profile: *p})
	if again != text {
		t.Errorf("shown:\n%s\nread and shown again:\n%s", text, again)
	}
	for _, want := range []string{"[env.set]\n", "\"B.C\" = ", "pass = []\n", "[tasks.test.limits]\ntime = \"5m0s\"\n", "build = "} {
		if want != "build = " && !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func linesOf(l *Loaded) string {
	var b strings.Builder
	for _, line := range l.Lines() {
		b.WriteString(line.Text + "\n")
	}
	return b.String()
}

func TestNamesAreListed(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/config.toml": "profile = 'mine'", "config/profiles/mine.toml": "# What I use. Daily.\n[profiles.quick.limits]\ntime = '1m'", "config/profiles/host.toml": "",
		"config/profiles/.x.toml": "", "home/proj/sbx.toml": "[profiles.off.files]\nproject = 'read'",
	})
	l, err := Read(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: Project{Dir: h.path("home/proj"), HasFile: true}})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]Named{}
	for _, n := range l.Names() {
		names[n.Name] = n
	}
	if n := names["mine"]; !n.Default || n.About != "What I use" || n.From != h.path("config/profiles/mine.toml") {
		t.Errorf("mine: %+v", n)
	}
	if n := names["host"]; n.Default || n.From != h.path("config/profiles/host.toml") {
		t.Errorf("host: %+v", n)
	}
	if !names["off"].Variant || !names["quick"].Variant || names["x"].Name != "" {
		t.Errorf("names: %+v", names)
	}
}

func TestCheck(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/config.toml": "profile = 'mine'", "config/profiles/mine.toml": "[files]\nread = ['~/x']", "config/profiles/two.toml": "extends = 'mine'",
		"home/proj/sbx.toml": "[files]\nread = ['~/x']\n[tasks.t]\nrun = 'x'\nharden.seccomp = 'off'\n[profiles.v.network]\nmode = 'host'\n[profiles.v.tasks.u]\nrun = 'y'\nroot.user = 'root'",
		"home/proj/bad.toml": "[files]\nraed = []",
	})
	o := Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: Project{Dir: h.path("home/proj"), HasFile: true}}
	grants, err := CheckProject(o)
	var got []string
	for _, g := range grants {
		got = append(got, g.Part+"|"+g.Key)
	}
	want := []string{"|files.read", `task "t"|harden.seccomp`, `variant "v"|network.mode`, `variant "v", task "u"|root.user`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("asks %q, %v\nwant %q", got, err, want)
	}
	for path, want := range map[string]string{
		"config/config.toml": "", "config/profiles/two.toml": "", "home/proj/bad.toml": "bad.toml:2:1: unknown key", "home/proj/none.toml": "reading",
	} {
		if err := CheckFile(h.path(path), o); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A profile of one's own means nothing to others.
	h.must(write(h, "home/proj/sbx.toml", "extends = 'mine'"))
	if _, err := CheckProject(o); err == nil || !strings.Contains(err.Error(), `no profile of the name "mine"`) {
		t.Errorf("extends a profile of the user's: %v", err)
	}
}

// A flag that gives what the project asks for is consent to that.
func TestFlagsAreConsent(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[network]\nmode = 'host'\n[files]\nproject = 'write'"})
	if _, err := h.load("", Flag{"--net", "network.mode", []string{"host"}}, Flag{"--project", "files.project", []string{"read"}}); err != nil {
		t.Error(err)
	}
	if _, err := h.load("", Flag{"--project", "files.project", []string{"read"}}); err == nil {
		t.Error("another flag gave the network")
	}
}

func TestTasks(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/profiles/host.toml": "[tasks.mine]\nrun = 'm'\nnetwork.mode = 'host'\n[tasks]\nboth = 'user'",
		"home/proj/sbx.toml":        "[tasks]\nboth = 'project'\n[tasks.tight]\nrun = 't'\nfiles.project = 'read'\n[tasks.wide]\nrun = 'w'\nnetwork.mode = 'host'",
	})
	load := func(task string) (*Loaded, error) {
		return Load(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: Project{Dir: h.path("home/proj"), HasFile: true}, Task: task})
	}
	for task, check := range map[string]func(*Loaded) bool{
		"mine":  func(l *Loaded) bool { return l.Profile.Network.Mode.V == NetHost && l.Task.Run.V == "m" },
		"both":  func(l *Loaded) bool { return l.Task.Run.V == "project" && l.Profile.Network.Mode.V == NetNone },
		"tight": func(l *Loaded) bool { return l.Profile.Files.Project.V == AccessRead },
		"":      func(l *Loaded) bool { return l.Profile.Files.Project.V == AccessWrite },
	} {
		if l, err := load(task); err != nil || !check(l) {
			t.Errorf("%q: %v, %+v", task, err, l)
		}
	}
	var ge *GrantError
	if _, err := load("wide"); !errors.As(err, &ge) || !strings.Contains(err.Error(), `task "wide": the host's own network`) {
		t.Errorf("wide: %v", err)
	}
	var te *TaskError
	if _, err := load("tigth"); !errors.As(err, &te) || te.Hint() != `did you mean "tight"?` {
		t.Errorf("tigth: %v", err)
	}
	// A project's tightening beats a task of the user's.
	h.must(write(h, "home/proj/sbx.toml", "[network]\nmode = 'none'"))
	if l, err := load("mine"); err != nil || l.Profile.Network.Mode.V != NetNone {
		t.Errorf("a task of the user's against the project: %v", err)
	}
}
