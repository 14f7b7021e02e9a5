package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sbx/profiles"
	"sbx/slirp"
)

// A service name such as @npm stands for the hosts that a tool is configured to use, for this user and
// project: found in the caller's environment and in the tool's own files, else asked of the tool, inside a
// sandbox without a network. No address of any service is written here.

// endpoint is an address that a tool is configured to use.
type endpoint struct {
	address string // a URL, or git's USER@HOST:PATH
	// project says that a file of the project named it. Such a host may not be private.
	project bool
	// file is that file, where it comes with the repository: whoever wrote that chose the host.
	file string
}

// services are the tools, by their names without the @.
var services = map[string]func(*finder) ([]endpoint, error){
	"apt": (*finder).apt, "cargo": (*finder).cargo, "git": (*finder).git, "go": (*finder).golang, "npm": (*finder).npm, "pip": (*finder).pip,
}

// ServiceError is a service whose hosts are not known.
type ServiceError struct {
	Name string
	Err  error
}

func (e *ServiceError) Error() string {
	return "finding the hosts of @" + e.Name + ": " + e.Err.Error()
}

func (e *ServiceError) Unwrap() error { return e.Err }

// tools are the services that commands use.
var tools = map[string]string{
	"apt": "apt", "apt-get": "apt", "cargo": "cargo", "git": "git", "go": "go", "npm": "npm", "npx": "npm", "pip": "pip", "pip3": "pip",
}

// Service is the name of the service that the command uses, or nothing.
func (s *Spec) Service() string {
	if len(s.Command) == 0 {
		return ""
	}
	return tools[filepath.Base(s.Command[0])]
}

// finder looks for what a tool is configured to use.
type finder struct {
	environ map[string]string
	home    string
	project string // empty: none is shown
	ask     func(command ...string) (string, error)
	// set are the variables that give the tool inside the addresses that it would not find there.
	set map[string]string
	// told are the hosts that files of the repository have tools reach.
	told []told
}

// told is a host that a service reaches because a file of the repository says so.
type told struct{ service, host, file string }

// ServiceHosts are the hosts, with ports, that a service stands for in a project: those that a file of the repository
// names are told from the user's own. Its error is a *UsageError or a *ServiceError.
func ServiceHosts(name, project, home string, environ []string) ([]string, error) {
	f := &finder{environ: environment(environ), home: home, project: project, ask: askInside, set: map[string]string{}}
	rules, err := f.resolveService(profiles.Rule{Service: name})
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, r := range rules {
		host := ruleWords(r)
		if i := slices.IndexFunc(f.told, func(t told) bool { return t.host == host }); i >= 0 {
			host += ", since the project's " + f.told[i].file + " says so"
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// resolveService turns a service name into rules.
func (f *finder) resolveService(rule profiles.Rule) (rules []slirp.Rule, err error) {
	find := services[rule.Service]
	if find == nil {
		known := slices.Sorted(maps.Keys(services))
		return nil, &UsageError{Problem: "@" + rule.Service + ": this version of sbx has no such service", Hint: "there are @" + strings.Join(known, ", @") + "; else name the hosts"}
	}
	endpoints, err := find(f)
	if err != nil {
		return nil, &ServiceError{rule.Service, err}
	}
	for _, e := range endpoints {
		r, ok := e.rule()
		if ok && !slices.Contains(rules, r) {
			rules = append(rules, r)
			f.tell(rule, e, endpoints)
		}
	}
	if len(rules) == 0 {
		return nil, &ServiceError{rule.Service, fmt.Errorf("its configuration names none")}
	}
	return rules, nil
}

// tell notes a host that a file of the repository names, and nothing of the user's own does.
func (f *finder) tell(rule profiles.Rule, e endpoint, all []endpoint) {
	r, _ := e.rule()
	if e.file == "" || slices.ContainsFunc(all, func(o endpoint) bool {
		own, ok := o.rule()
		return ok && !o.project && own.Name == r.Name && own.Port == r.Port
	}) {
		return
	}
	f.told = append(f.told, told{rule.String(), ruleWords(r), e.file})
}

// portOf are the ports of what URLs begin with.
var portOf = map[string]uint16{"http": 80, "https": 443, "ssh": 22, "git": 9418, "git+ssh": 22, "sparse+https": 443}

// rule is what lets the endpoint be reached.
func (e endpoint) rule() (slirp.Rule, bool) {
	u, err := url.Parse(e.address)
	if err != nil || u.Host == "" {
		host, _, ok := strings.Cut(e.address, ":") // git's short form of ssh
		_, host, _ = cutLastAt(host)
		if !ok || strings.Contains(e.address, "://") || strings.Contains(host, "/") {
			return slirp.Rule{}, false
		}
		u = &url.URL{Scheme: "ssh", Host: host}
	}
	port := portOf[u.Scheme]
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	}
	text := u.Hostname()
	if strings.Contains(text, ":") {
		text = "[" + text + "]"
	}
	parsed, err := profiles.ParseRule(text + ":" + strconv.Itoa(int(port)))
	if err != nil || port == 0 || parsed.Wildcard || parsed.Service != "" {
		return slirp.Rule{}, false
	}
	r := slirp.Rule{Name: parsed.Name, Port: port, Private: !e.project}
	if parsed.Prefix.IsValid() {
		if e.project {
			return slirp.Rule{}, false // an address needs a rule of the user's
		}
		r = slirp.Rule{Prefix: parsed.Prefix.String(), Port: port}
	}
	return r, true
}

func cutLastAt(s string) (user, host string, ok bool) {
	i := strings.LastIndexByte(s, '@')
	return s[:max(i, 0)], s[i+1:], i >= 0
}

// withoutCredentials is a URL that may be told to the payload.
func withoutCredentials(address string) string {
	u, err := url.Parse(address)
	if err != nil { // a password that would have to be escaped, mostly
		scheme, rest, _ := strings.Cut(address, "://")
		_, host, there := cutLastAt(rest)
		if there {
			return scheme + "://" + host
		}
		return address
	}
	if u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

// listWithoutCredentials is withoutCredentials for a list as go has it: URLs with commas, bars or spaces between them.
func listWithoutCredentials(list string) string {
	var told strings.Builder
	for list != "" {
		end := strings.IndexAny(list, ",| ")
		if end < 0 {
			return told.String() + withoutCredentials(list)
		}
		told.WriteString(withoutCredentials(list[:end]) + list[end:end+1])
		list = list[end+1:]
	}
	return told.String()
}

// npm: the registry, and those of scopes; npmrc(5). The environment comes first, then the project's file.
func (f *finder) npm() (found []endpoint, err error) {
	registry := endpoint{address: f.variable("npm_config_registry", "NPM_CONFIG_REGISTRY")}
	userFile := cmp.Or(f.variable("npm_config_userconfig", "NPM_CONFIG_USERCONFIG"), filepath.Join(f.home, ".npmrc"))
	for _, file := range []endpoint{{f.inProject(".npmrc"), true, ".npmrc"}, {address: userFile}} {
		for key, value := range settings(file.address) {
			switch {
			case key == "registry" && registry.address == "":
				registry = endpoint{value, file.project, file.file}
			case strings.HasPrefix(key, "@") && strings.HasSuffix(key, ":registry"):
				found = append(found, endpoint{value, file.project, file.file})
				f.give("npm_config_"+key, found[len(found)-1])
			}
		}
	}
	if registry.address != "" {
		f.give("npm_config_registry", registry)
		return append(found, registry), nil
	}
	said, err := f.ask("npm", "config", "get", "registry")
	return append(found, endpoint{address: said}), err
}

// quickRefusal keeps npm from trying for more than a minute to reach a registry that is refused.
func (f *finder) quickRefusal(allowed []slirp.Rule) {
	registry := &finder{environ: f.environ, home: f.home, project: f.project, ask: f.ask, set: map[string]string{}}
	found, err := registry.npm()
	if err != nil || len(found) == 0 {
		return
	}
	rule, ok := found[len(found)-1].rule()
	if ok && !slices.ContainsFunc(allowed, func(r slirp.Rule) bool { return r.Covers(rule) }) {
		f.set[npmRetries] = "0"
	}
}

const npmRetries = "npm_config_fetch_retries"

// give sets a variable inside to an address; what the project's files say is seen there anyway.
func (f *finder) give(name string, e endpoint) {
	if !e.project {
		f.set[name] = withoutCredentials(e.address)
	}
}

// golang: the module proxies and the checksum database; go help environment.
func (f *finder) golang() (found []endpoint, err error) {
	file := f.variable("GOENV")
	if file == "" {
		file = filepath.Join(f.home, ".config", "go", "env")
	}
	own := settings(file)
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB"} {
		if value := f.variable(name); value != "" {
			own[name] = value
		}
		if own[name] != "" {
			f.set[name] = listWithoutCredentials(own[name])
		}
	}
	if own["GOPROXY"] == "" || own["GOSUMDB"] == "" {
		said, err := f.ask("go", "env", "GOPROXY", "GOSUMDB")
		if err != nil {
			return nil, err
		}
		proxy, sum, _ := strings.Cut(said, "\n")
		if own["GOPROXY"] == "" {
			own["GOPROXY"] = proxy
		}
		if own["GOSUMDB"] == "" {
			own["GOSUMDB"] = sum
		}
	}
	for _, proxy := range strings.FieldsFunc(own["GOPROXY"], func(r rune) bool { return r == ',' || r == '|' }) {
		if strings.Contains(proxy, "://") {
			f.set["GOPROXY"] = listWithoutCredentials(own["GOPROXY"])
			found = append(found, endpoint{address: proxy})
		}
	}
	if words := strings.Fields(own["GOSUMDB"]); len(words) > 1 {
		found = append(found, endpoint{address: words[1]})
	} else if len(words) == 1 && words[0] != "off" {
		name, _, _ := strings.Cut(words[0], "+")
		found = append(found, endpoint{address: "https://" + name})
	}
	return found, nil
}

// apt: the sites of the package sources; apt-get(8), indextargets. A list of mirrors on this machine stands for those
// on it: apt-transport-mirror(1).
func (f *finder) apt() (found []endpoint, err error) {
	said, err := f.ask("apt-get", "indextargets", "--no-release-info", "--format", "$(SITE)")
	for _, site := range strings.Fields(said) {
		list, isList := strings.CutPrefix(site, "mirror+file:")
		if !isList {
			found = append(found, endpoint{address: site})
			continue
		}
		for _, address := range mirrors(readPlain("/" + strings.TrimLeft(list, "/"))) {
			found = append(found, endpoint{address: address})
		}
	}
	return found, err
}

// mirrors are those of a list, one a line, with what is said of each behind it.
func mirrors(list string) (addresses []string) {
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			addresses = append(addresses, words[0])
		}
	}
	return addresses
}

// pip: the index and the further ones. Its default is in none of its settings, but in itself, with the host
// that the default's files are on.
func (f *finder) pip() (found []endpoint, err error) {
	file := f.variable("PIP_CONFIG_FILE")
	values := map[string]string{}
	for _, path := range []string{"/etc/pip.conf", filepath.Join(f.home, ".pip", "pip.conf"), filepath.Join(f.home, ".config", "pip", "pip.conf"), file} {
		maps.Copy(values, pipSettings(path))
	}
	for key, name := range map[string]string{"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL"} {
		value := values[key]
		if own := f.variable(name); own != "" {
			value = own
		}
		for _, address := range strings.Fields(value) {
			found = append(found, endpoint{address: address})
			f.set[name] = strings.TrimSpace(f.set[name] + " " + withoutCredentials(address))
		}
	}
	// Without it pip passes over an index that is not asked by https, or whose certificate nobody vouches for.
	if trusted := cmp.Or(f.variable("PIP_TRUSTED_HOST"), values["trusted-host"]); trusted != "" {
		f.set["PIP_TRUSTED_HOST"] = trusted
	}
	if f.set["PIP_INDEX_URL"] != "" {
		return found, nil
	}
	said, err := f.ask("python3", "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url, 'https://' + PyPI.file_storage_domain)")
	for _, address := range strings.Fields(said) {
		found = append(found, endpoint{address: address})
	}
	return found, err
}

// cargo: the registries and sources of its configuration, and its default index, which it tells when it does
// not reach it. Where files are downloaded from is in the configuration of the index, of which cargo keeps
// a copy: https://doc.rust-lang.org/cargo/reference/registry-index.html.
func (f *finder) cargo() (found []endpoint, err error) {
	home := cmp.Or(f.variable("CARGO_HOME"), filepath.Join(f.home, ".cargo"))
	replaced := false
	for _, file := range []endpoint{{f.inProject(".cargo/config.toml"), true, ".cargo/config.toml"}, {address: filepath.Join(home, "config.toml")}, {address: filepath.Join(home, "config")}} {
		for line := range strings.Lines(readPlain(file.address)) {
			key, value, _ := strings.Cut(line, "=")
			value = strings.Trim(strings.TrimSpace(value), `"'`)
			switch key = strings.TrimSpace(key); {
			case key == "index" || key == "registry":
				found = append(found, endpoint{strings.TrimPrefix(value, "sparse+"), file.project, file.file})
			case key == "replace-with":
				replaced = true
			}
		}
	}
	for name, value := range f.environ {
		if strings.HasPrefix(name, "CARGO_REGISTRIES_") && strings.HasSuffix(name, "_INDEX") {
			found = append(found, endpoint{address: strings.TrimPrefix(value, "sparse+")})
			f.set[name] = withoutCredentials(value)
		}
	}
	// What cargo keeps of an index may be a cache that sandboxes write to: it is no more the user's word than a file of
	// the project, and leads to no private address.
	copies, _ := filepath.Glob(filepath.Join(home, "registry/index/*/config.json"))
	for _, file := range copies {
		var index struct{ DL, API string }
		if json.Unmarshal([]byte(readPlain(file)), &index) == nil {
			found = append(found, endpoint{address: index.DL, project: true})
		}
	}
	if replaced {
		return found, nil
	}
	said, err := f.ask("sh", "-c", "CARGO_NET_RETRY=0 cargo search x 2>&1 || true")
	if _, after, ok := strings.Cut(said, "failed to download from `"); ok {
		address, _, _ := strings.Cut(after, "`")
		found = append(found, endpoint{address: address})
	}
	return found, err
}

// git: the project's remotes; git-config(1).
func (f *finder) git() (found []endpoint, err error) {
	for line := range strings.Lines(readPlain(f.inProject(".git/config"))) {
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && (key == "url" || key == "pushurl") {
			found = append(found, endpoint{address: strings.Trim(strings.TrimSpace(value), `"`), project: true})
		}
	}
	return found, nil
}

func (f *finder) variable(names ...string) string {
	for _, name := range names {
		if value := f.environ[name]; value != "" {
			return value
		}
	}
	return ""
}

func (f *finder) inProject(name string) string {
	if f.project == "" {
		return ""
	}
	return filepath.Join(f.project, name)
}

// settings are the lines KEY = VALUE of a file; none where it cannot be read.
func settings(path string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(readPlain(path)) {
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && key != "" && !strings.ContainsAny(key[:1], "#;[") {
			values[key] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return values
}

// pipSettings are those of pip's file, in which a value goes on in lines that are indented: configparser in Python's
// library, which also has it that such lines may be comments.
func pipSettings(path string) map[string]string {
	values := map[string]string{}
	last := ""
	for line := range strings.Lines(readPlain(path)) {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.ContainsAny(text[:1], "#;"):
		case last != "" && strings.ContainsAny(line[:1], " \t"):
			values[last] = strings.TrimSpace(values[last] + " " + text)
		default:
			i := strings.IndexAny(text, "=:")
			if last = ""; i < 0 || text[0] == '[' {
				continue
			}
			last = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(text[:i])), "_", "-")
			values[last] = strings.TrimSpace(text[i+1:])
		}
	}
	return values
}

// maxPlain is how much is read of a file, in bytes.
const maxPlain = 1 << 20

// readPlain reads a plain file, at most maxPlain of it: a project may have anything there.
func readPlain(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	data, _ := io.ReadAll(io.LimitReader(f, maxPlain))
	return string(data)
}

// askTime is how long a tool may take for an answer.
const askTime = 20 * time.Second

// askInside runs a command in a sandbox without a network and without a project, and returns what it says:
// the tool may come from a folder that nobody should execute from outside of one.
func askInside(command ...string) (string, error) {
	args := append([]string{"run", "--net", "none", "--project", "none", "--workdir", "/", "--timeout", askTime.String(), "--"}, command...)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", strings.Join(command, " "), err)
	}
	return strings.TrimSpace(string(said[:min(len(said), 64<<10)])), nil
}
