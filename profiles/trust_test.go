package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (h house) read(name, task string) *Layers {
	h.t.Helper()
	l, err := Read(Options{ConfigHome: h.path("config"), Home: h.path("home"), Project: Project{Dir: h.path("home/proj"), HasFile: true}, Name: name, Task: task, Protected: []string{"sbx.toml"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func words(grants []Grant) []string {
	var out []string
	for _, g := range grants {
		out = append(out, g.String())
	}
	return out
}

// What was agreed to is not asked for again; one grant more is asked for alone.
func TestOnlyWhatIsNewIsAsked(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[files]\nread = ['~/.ssh']\n[network]\nmode = 'host'"})
	l := h.read("", "")
	r := Record{Grants: l.IDs(l.Asked())}
	if left := l.NotAgreed(l.Asked(), r); len(left) > 0 {
		t.Errorf("agreed to, and asked again: %v", words(left))
	}
	h.must(write(h, "home/proj/sbx.toml", "[env]\npass = ['AWS_X']\n[files]\nread = ['~/.ssh']\n[network]\nmode = 'host'"))
	l = h.read("", "")
	if left := l.NotAgreed(l.Asked(), r); len(left) != 1 || left[0].Key != "env.pass" || left[0].From.Line != 2 {
		t.Errorf("one more: %v", words(left))
	}
	h.must(write(h, "home/proj/sbx.toml", "[network]\nmode = 'host'"))
	l = h.read("", "")
	if left := l.NotAgreed(l.Asked(), r); len(left) > 0 {
		t.Errorf("less than was agreed to: %v", words(left))
	}
}

// A link that was agreed to by where it led, and leads elsewhere when it is
// used, is another grant; and what is mounted is where it led when it was read.
func TestSwappedLinkIsAskedFor(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[files]\nread = ['link']\nmounts = ['./link:/x:ro']", "home/proj/link": "-> ../data", "home/data/x": "", "home/.ssh/id": ""})
	before := h.read("", "")
	r := Record{Grants: before.IDs(before.Asked())}
	h.must(os.Remove(h.path("home/proj/link")))
	h.must(os.Symlink("../.ssh", h.path("home/proj/link")))
	after := h.read("", "")
	if left := after.NotAgreed(after.Asked(), r); len(left) != 2 || left[0].Value != h.path("home/.ssh") {
		t.Errorf("a swapped link: %v", words(left))
	}
	p := before.Merge().Profile
	if got := p.Files.Read.Values(); !slices.Equal(got, []string{h.path("home/data")}) || p.Files.Mounts.Values()[0].Src != h.path("home/data") {
		t.Errorf("read %v, mounts %v", got, p.Files.Mounts.Values())
	}
}

// What was agreed to for a task or a variant is for that alone, and what was
// agreed to for the file is for all of it.
func TestConsentIsForAPart(t *testing.T) {
	text := "[tasks.fetch]\nrun = 'f'\nnetwork.mode = 'host'\n[tasks.build]\nrun = 'b'\n[profiles.net.network]\nmode = 'host'\n[profiles.net.tasks.deep]\nrun = 'd'\nfiles.read = ['~/.ssh']"
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": text})
	all := h.read("", "").AskedByAll()
	if got := words(all); len(got) != 3 || !strings.HasPrefix(got[0], `task "fetch": `) || !strings.HasPrefix(got[1], `variant "net": `) || !strings.HasPrefix(got[2], `variant "net", task "deep": reads`) {
		t.Fatalf("asked by all: %q", got)
	}
	everything := Record{Grants: h.read("", "").IDs(all)}
	for _, c := range []struct{ variant, task string }{{"", ""}, {"", "fetch"}, {"", "build"}, {"net", ""}, {"net", "fetch"}, {"net", "build"}, {"net", "deep"}} {
		l := h.read(c.variant, c.task)
		if left := l.NotAgreed(l.Asked(), everything); len(left) > 0 {
			t.Errorf("%v: all was agreed to, and asked is %v", c, words(left))
		}
	}
	l := h.read("", "fetch")
	taskAlone := Record{Grants: l.IDs(l.Asked())}
	variant := h.read("net", "")
	if left := variant.NotAgreed(variant.Asked(), taskAlone); len(left) != 1 {
		t.Errorf("consent to a task counts for a variant: %v", words(left))
	}
	// The same grant moves from the task to the whole file.
	h.must(write(h, "home/proj/sbx.toml", "network.mode = 'host'\n[tasks]\nfetch = 'f'"))
	l = h.read("", "")
	if left := l.NotAgreed(l.Asked(), taskAlone); len(left) != 1 {
		t.Errorf("consent to a task counts for the file: %v", words(left))
	}
	whole := Record{Grants: l.IDs(l.Asked())}
	h.must(write(h, "home/proj/sbx.toml", text))
	l = h.read("net", "fetch")
	if left := l.NotAgreed(l.Asked(), whole); len(left) > 0 {
		t.Errorf("consent to the file does not count for its parts: %v", words(left))
	}
}

// The hash is of what is asked for: the same on every machine, in any order,
// and another as soon as anything is added.
func TestHash(t *testing.T) {
	text := "[files]\nread = ['~/.ssh', 'out']\nmounts = ['./.git:/g']\n[network]\nmode = 'host'"
	one := newHouse(t, map[string]string{"home/proj/sbx.toml": text})
	two := newHouse(t, map[string]string{"home/proj/sbx.toml": "# another order\n[network]\nmode = 'host'\n[files]\nmounts = ['./.git:/g']\nread = ['out', '~/.ssh']"})
	for _, h := range []house{one, two} {
		h.must(os.Symlink("../.aws", h.path("home/proj/out")))
		h.must(os.MkdirAll(h.path("home/.aws"), 0o700))
		h.must(os.MkdirAll(h.path("home/proj/.git"), 0o700))
	}
	hash := func(h house) string { l := h.read("", ""); return l.Hash(l.AskedByAll()) }
	if hash(one) != hash(two) {
		t.Errorf("two machines, two hashes: %q, %q", one.read("", "").IDs(one.read("", "").AskedByAll()), two.read("", "").IDs(two.read("", "").AskedByAll()))
	}
	want := []string{"files.mounts=./.git:/g:rw", "files.read=~/.aws", "files.read=~/.ssh", "network.mode=host"}
	if got := one.read("", "").IDs(one.read("", "").Asked()); !slices.Equal(got, want) {
		t.Errorf("IDs %q, want %q", got, want)
	}
	before := hash(one)
	for _, more := range []string{"\n[tasks.x]\nrun = 'x'\nharden.seccomp = 'off'", "\n[profiles.x.harden]\nseccomp = 'off'", "\n[harden]\nseccomp = 'off'"} {
		h := newHouse(t, map[string]string{"home/proj/sbx.toml": text + more})
		if hash(h) == before {
			t.Errorf("the same hash with %q", more)
		}
	}
	// A link that leads elsewhere since asks for something else.
	one.must(os.Remove(one.path("home/proj/out")))
	one.must(os.Symlink("../.ssh", one.path("home/proj/out")))
	if hash(one) == before {
		t.Error("the same hash with a link that was swapped")
	}
}

func TestMergeWithoutWhatIsAsked(t *testing.T) {
	h := newHouse(t, map[string]string{
		"config/profiles/host.toml": "[limits]\ntime = '5m'\n[files]\nmounts = ['~/own:/x:ro']",
		"home/proj/sbx.toml":        "[files]\nread = ['~/.ssh', 'src']\nhide = ['secrets']\nmounts = ['~/.ssh:/x']\n[network]\nmode = 'host'\n[limits]\ntime = '10m'\n[env]\npass = ['A_TOKEN', 'LANG']\n[harden]\nrequire = 'outer-proc'\nseccomp = 'off'",
		"home/proj/src/x":           "",
	})
	l := h.read("", "")
	loaded, err := l.MergeWithout(l.Asked())
	if err != nil {
		t.Fatal(err)
	}
	p := loaded.Profile
	if p.Network.Mode.V != NetNone || p.Limits.Time.V.Minutes() != 5 || p.Harden.Seccomp.V != SeccompDefault || p.Harden.Require.V != LevelOuterProc {
		t.Errorf("scalars: %+v", p)
	}
	if got := p.Files.Read.Values(); !slices.Equal(got, []string{h.path("home/proj/src")}) {
		t.Errorf("read %v", got)
	}
	if got := p.Files.Mounts.Values(); len(got) != 1 || got[0].Src != h.path("home/own") {
		t.Errorf("mounts %v", got)
	}
	if got := p.Env.Pass.Values(); !slices.Equal(got, []string{"LANG"}) || len(p.Files.Hide.Items) != 1 {
		t.Errorf("pass %v, hide %v", got, p.Files.Hide)
	}
}

func TestRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "trust")
	r := Records(dir)
	if got, err := r.Of("/p"); err != nil || len(got.Grants) > 0 {
		t.Fatalf("none yet: %v, %v", got, err)
	}
	for _, path := range []string{"/p", "/a/\n\x1b[31m\u202e"} {
		if err := r.Put(Record{path, []string{"network.mode=host", "files.read=~/\xff\u202e"}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range must(os.ReadDir(dir)) {
		if fi, _ := e.Info(); fi.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), fi.Mode())
		}
	}
	if fi, _ := os.Stat(dir); fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", fi.Mode())
	}
	all, err := r.All()
	if err != nil || len(all) != 2 || all[1].Path != "/p" || len(all[1].Grants) != 2 {
		t.Errorf("all: %v, %v", all, err)
	}
	if ok, err := r.Remove("/p"); !ok || err != nil {
		t.Errorf("remove: %v, %v", ok, err)
	}
	if ok, err := r.Remove("/p"); ok || err != nil {
		t.Errorf("remove again: %v, %v", ok, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Only a file that nobody else can have written counts, and only for its own
// project.
func TestRecordsOfOthers(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(dir, file string) error
		want string
	}{
		{"writable by the group", func(_, file string) error { return os.Chmod(file, 0o660) }, "others can write it"},
		{"a link", func(dir, file string) error {
			return errors.Join(os.Rename(file, dir+"/elsewhere"), os.Symlink(dir+"/elsewhere", file))
		}, "too many levels of symbolic links"},
		{"a pipe", func(_, file string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)) }, "others can write it"},
		{"not JSON", func(_, file string) error { return os.WriteFile(file, []byte("x"), 0o600) }, "remove it, and agree anew"},
		{"too large", func(_, file string) error { return os.WriteFile(file, make([]byte, maxRecord+1), 0o600) }, "is larger than"},
		{"of another project", func(dir, file string) error { return os.Rename(Records(dir).file("/other"), file) }, `is that of "/other"`},
	} {
		dir := t.TempDir()
		r := Records(dir)
		for _, path := range []string{"/p", "/other"} {
			if err := r.Put(Record{path, []string{"network.mode=host"}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.do(dir, r.file("/p")); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Of("/p"); err == nil || !strings.Contains(err.Error(), c.want) || len(got.Grants) > 0 {
			t.Errorf("%s: got %v, %v", c.what, got, err)
		}
	}
}

func TestTrustedFolders(t *testing.T) {
	for text, want := range map[string]bool{
		"[trust]\nfolders = ['~/proj']": true, "[trust]\nfolders = ['~']": true, "[trust]\nfolders = ['~/link']": true,
		"[trust]\nfolders = ['~/pro']": false, "[trust]\nfolders = ['~/proj/sub', '~/gone']": false, "[trust]\nfolders = []": false, "": false,
	} {
		h := newHouse(t, map[string]string{"config/config.toml": text, "home/proj/sbx.toml": "", "home/link": "-> proj"})
		if got := h.read("", "").InTrustedFolder(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// What a project writes cannot forge, hide or reorder what is shown.
func TestWordsAreSafe(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": "[files]\nread = [\"/\\u202egpj.x\", \"/a\\nb\\u001b[2J\", \"/\\u0430pp\", \"/ok\", \"/zero\\u200bwidth\"]\nmounts = [\"/x:/y\\u2066\"]\n[env]\npass = [\"ТОКЕН\"]"})
	for _, g := range h.read("", "").Asked() {
		s := g.String()
		for _, r := range s {
			if r < ' ' || r == '\u202e' || r == '\u200b' || r == '\u2066' {
				t.Errorf("%q holds %U", s, r)
			}
		}
		if odd := g.Value != "/ok" && !strings.ContainsAny(g.Value, "\n"); odd != strings.Contains(s, `not all of it is ASCII: "`) {
			t.Errorf("%q is marked: %v", s, !odd)
		}
	}
}

func TestTaskCommand(t *testing.T) {
	for _, c := range []struct {
		line string
		args []string
		want string
	}{
		{"npm test", nil, "npm test"}, {"npm test", []string{"-u", "a b"}, `npm test "$@"`}, {`echo "$1" end`, []string{"x"}, `echo "$1" end`},
		{`f() { "$@"; }; f ${@}`, []string{"x"}, `f() { "$@"; }; f ${@}`}, {"echo $HOME", []string{"x"}, `echo $HOME "$@"`}, {"echo $", []string{"x"}, `echo $ "$@"`},
	} {
		got := Task{Run: Val[string]{V: c.line}}.Command("t", c.args)
		if want := append([]string{"/bin/sh", "-c", c.want, "t"}, c.args...); !slices.Equal(got, want) {
			t.Errorf("%q %q: got %q", c.line, c.args, got)
		}
	}
}

// A network that keeps to a list is what the list names: one entry more is asked for alone, the end of the list is, and
// who agreed to a network without one agreed to what any list has of it.
func TestNetworkByItsList(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/sbx.toml": ""})
	r := Record{}
	for _, c := range []struct{ file, want string }{
		{"mode = 'on'\nallow = ['@npm', 'a.example.org']", "reaches @npm, reaches a.example.org"},
		{"mode = 'on'\nallow = ['@npm', 'a.example.org', 'b.example.org']", "reaches b.example.org"},
		{"mode = 'on'\nallow = []", ""},
		{"allow = ['c.example.org']", ""},
		{"mode = 'on'\nallow = ['host.sbx.internal:1']", "reaches the host's own loopback, host.sbx.internal:1"},
		{"mode = 'on'", `a network, "on"`},
		{"mode = 'on'\nallow = ['d.example.org']", ""},
		{"mode = 'on'\nallow = ['10.0.0.0/8']", "reaches 10.0.0.0/8"},
		{"mode = 'host'\nallow = []", "the host's own network, with its loopback and its abstract sockets (X11, D-Bus)"},
	} {
		h.must(write(h, "home/proj/sbx.toml", "[network]\n"+c.file))
		l := h.read("", "")
		left := l.NotAgreed(l.Asked(), r)
		if got := strings.Join(words(left), ", "); got != c.want {
			t.Errorf("%s: asks for %q, want %q", c.file, got, c.want)
		}
		r.Grants = append(r.Grants, l.IDs(left)...)
	}
	// A list of the user's that has no network to it gives nothing.
	h = newHouse(t, map[string]string{"home/proj/sbx.toml": "[network]\nmode = 'on'\nallow = ['a.example.org']", "config/config.toml": "profile = 'mine'", "config/profiles/mine.toml": "[network]\nallow = ['a.example.org']"})
	if got := words(h.read("", "").Asked()); !slices.Equal(got, []string{"reaches a.example.org"}) {
		t.Errorf("beside a list without a network: %q", got)
	}
	// A network that was agreed to beside a list of the user's keeps to that: an entry of the project's is more.
	h.must(write(h, "home/proj/sbx.toml", "[network]\nmode = 'on'"))
	before := h.read("", "")
	r = Record{Grants: before.IDs(before.Asked())}
	h.must(write(h, "home/proj/sbx.toml", "[network]\nmode = 'on'\nallow = ['b.example.org']"))
	l := h.read("", "")
	if got := words(l.NotAgreed(l.Asked(), r)); !slices.Equal(got, []string{"reaches b.example.org"}) {
		t.Errorf("after consent to a network beside a list of the user's: %q", got)
	}
}
