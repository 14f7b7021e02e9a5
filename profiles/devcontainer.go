package profiles

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidwall/jsonc"
)

// devcontainer is what a profile can say of a devcontainer.json
// (https://containers.dev/implementors/json_reference/).
type devcontainer struct {
	Image         string                     `json:"image"`
	Mounts        []json.RawMessage          `json:"mounts"`
	ForwardPorts  []json.RawMessage          `json:"forwardPorts"`
	RemoteUser    string                     `json:"remoteUser"`
	ContainerUser string                     `json:"containerUser"`
	ContainerEnv  map[string]string          `json:"containerEnv"`
	RemoteEnv     map[string]*string         `json:"remoteEnv"` // null takes a variable away
	Rest          map[string]json.RawMessage `json:"-"`
}

// harmless are properties that say nothing of the sandbox.
var harmless = []string{"name", "$schema", "workspaceFolder", "workspaceMount", "customizations", "portsAttributes", "otherPortsAttributes", "hostRequirements", "shutdownAction", "updateRemoteUserUID", "userEnvProbe", "overrideCommand", "waitFor"}

// TakeDevcontainer adds what a devcontainer.json says of the image, mounts,
// ports, user and environment, and names what is left out. The file is hostile
// input: nothing of it is run, and what comes of it is asked about like all
// that a project's file asks for.
func (d *Draft) TakeDevcontainer(path, home, project string) error {
	text, err := readOwn(path)
	if err != nil {
		return fileError(Origin{File: path}, err)
	}
	if len(text) > maxFile {
		return Errors{errorAt(Origin{File: path}, faultf("", "is larger than %d bytes", maxFile))}
	}
	plain := jsonc.ToJSON([]byte(text))
	var c devcontainer
	if err := json.Unmarshal(plain, &c); err != nil {
		return Errors{errorAt(jsonPlace(path, text, err), faultf("", "%s", escapeControl(err.Error())))}
	}
	if err := json.Unmarshal(plain, &c.Rest); err != nil {
		return Errors{errorAt(jsonPlace(path, text, err), faultf("", "%s", escapeControl(err.Error())))}
	}
	t := taker{d: d, base: base{dir: project, home: home, project: project}}
	t.all(c)
	return nil
}

// jsonPlace turns the offset of an error, which comments keep as it is, into a
// line and a column.
func jsonPlace(path, text string, err error) Origin {
	o := Origin{File: path}
	var off int64
	switch e := err.(type) {
	case *json.SyntaxError:
		off = e.Offset
	case *json.UnmarshalTypeError:
		off = e.Offset
	default:
		return o
	}
	before := text[:min(max(int(off)-1, 0), len(text))]
	o.Line = strings.Count(before, "\n") + 1
	o.Column = len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	return o
}

type taker struct {
	d    *Draft
	base base
}

func (t *taker) leaveOut(format string, args ...any) {
	t.d.LeftOut = append(t.d.LeftOut, fmt.Sprintf(format, args...))
}

// add writes a line of a table, as a comment where this version of sbx does
// not have the key yet, and leaves out what the parser refuses.
func (t *taker) add(table, name, value string) {
	line := name + " = " + value
	text := "[" + table + "]\n" + line
	src := &source{base: t.base}
	p := &Profile{}
	if n, ok := src.document(text); ok {
		readProfile(n, p, wholeFile)
	}
	if len(src.errs) > 0 {
		t.leaveOut("%s: %s", line, src.errs[0].Msg)
		return
	}
	if t.d.Tables == nil {
		t.d.Tables = map[string][]string{}
	}
	t.d.Tables[table] = append(t.d.Tables[table], line)
}

func (t *taker) all(c devcontainer) {
	if c.Image != "" {
		t.add("root", "image", tomlString(c.Image))
	}
	t.user(c)
	t.mounts(c.Mounts)
	t.ports(c.ForwardPorts)
	t.environment(c)
	known := append([]string{"image", "mounts", "forwardPorts", "remoteUser", "containerUser", "containerEnv", "remoteEnv"}, harmless...)
	for _, name := range sortedNames(c.Rest) {
		if !slices.Contains(known, name) {
			t.leaveOut("%s of devcontainer.json", name)
		}
	}
}

func (t *taker) user(c devcontainer) {
	user := c.RemoteUser
	if user == "" {
		user = c.ContainerUser
	}
	switch user {
	case "":
	case "root", "0":
		t.add("root", "user", `"root"`)
	default:
		t.leaveOut("the user %q: inside it is your own name", user)
	}
}

// mounts takes binds and named volumes, written as a string or as an object.
func (t *taker) mounts(list []json.RawMessage) {
	var mounts, volumes []string
	for _, raw := range list {
		m, ok := mountOf(raw)
		m.source, ok = t.variables(m.source, ok)
		m.target, ok = t.variables(m.target, ok)
		mode := ""
		if m.readOnly {
			mode = ":ro"
		}
		switch {
		case !ok || m.source == "" || m.target == "" || strings.ContainsRune(m.source+m.target, ':'):
			t.leaveOut("the mount %s", raw)
		case m.kind == "volume":
			volumes = append(volumes, tomlString(m.source+":"+m.target+mode))
		case m.kind == "bind" && filepath.IsAbs(m.source):
			mounts = append(mounts, tomlString(m.source+":"+m.target+mode))
		default:
			t.leaveOut("the mount %s", raw)
		}
	}
	if len(mounts) > 0 {
		t.add("files", "mounts", "["+strings.Join(mounts, ", ")+"]")
	}
	if len(volumes) > 0 {
		t.add("files", "volumes", "["+strings.Join(volumes, ", ")+"]")
	}
}

type mountWords struct {
	kind, source, target string
	readOnly             bool
}

func mountOf(raw json.RawMessage) (m mountWords, ok bool) {
	var s string
	words := map[string]string{}
	if json.Unmarshal(raw, &s) == nil {
		for _, part := range strings.Split(s, ",") {
			name, value, _ := strings.Cut(part, "=")
			words[strings.TrimSpace(name)] = value
		}
	} else if json.Unmarshal(raw, &words) != nil {
		return m, false
	}
	_, ro := words["readonly"]
	m = mountWords{kind: words["type"], source: words["source"], target: words["target"], readOnly: ro && words["readonly"] != "false"}
	for _, other := range []struct {
		name string
		at   *string
	}{{"src", &m.source}, {"dst", &m.target}, {"destination", &m.target}} {
		if *other.at == "" {
			*other.at = words[other.name]
		}
	}
	if m.kind == "" {
		m.kind = "volume"
	}
	return m, true
}

// variables puts in the folder of the project and the home folder; whatever
// else is a variable leaves the value out.
func (t *taker) variables(s string, ok bool) (string, bool) {
	s = strings.NewReplacer(
		"${localWorkspaceFolder}", t.base.project, "${containerWorkspaceFolder}", t.base.project,
		"${localWorkspaceFolderBasename}", filepath.Base(t.base.project), "${containerWorkspaceFolderBasename}", filepath.Base(t.base.project),
		"${localEnv:HOME}", t.base.home, "${devcontainerId}", "devcontainer",
	).Replace(s)
	return s, ok && !strings.Contains(s, "${")
}

func (t *taker) ports(list []json.RawMessage) {
	var ports []string
	for _, raw := range list {
		var n int
		if json.Unmarshal(raw, &n) != nil {
			t.leaveOut("the forwarded port %s", raw)
			continue
		}
		ports = append(ports, fmt.Sprintf(`"127.0.0.1:%d:%d"`, n, n))
	}
	if len(ports) > 0 {
		t.add("network", "ports", "["+strings.Join(ports, ", ")+"]")
	}
}

// environment takes values; one that is a variable of the caller's passes that.
func (t *taker) environment(c devcontainer) {
	set := maps.Clone(c.ContainerEnv)
	if set == nil {
		set = map[string]string{}
	}
	for name, v := range c.RemoteEnv {
		if v == nil {
			delete(set, name)
			continue
		}
		set[name] = *v
	}
	var pass []string
	for _, name := range sortedNames(set) {
		value, ok := t.variables(set[name], true)
		switch {
		case value == "${localEnv:"+name+"}":
			pass = append(pass, tomlString(name))
		case !ok:
			t.leaveOut("the variable %s, which is made of others", name)
		default:
			t.add("env.set", tomlKey(name), tomlString(value))
		}
	}
	if len(pass) > 0 {
		t.add("env", "pass", "["+strings.Join(pass, ", ")+"]")
	}
}
