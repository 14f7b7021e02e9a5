package profiles

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var testBase = base{dir: "/dir", home: "/home/u", project: "/dir"}

func parseText(text string) (*Profile, error) {
	return parseProfile(text, Origin{File: "f.toml"}, testBase)
}

func TestErrorsSayPlaceAndHint(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown table", "[netwrok]\nmode = 'none'", `f.toml:1:2: unknown key "netwrok"; did you mean "network"?`},
		{"unknown key", "[network]\n  mod = 'none'", `f.toml:2:3: unknown key "mod" in [network]; did you mean "mode"?`},
		{"key of another table", "memory = 3", `f.toml:1:1: unknown key "memory"; it belongs to [limits]`},
		{"dotted", "files.raed = []", `f.toml:1:7: unknown key "raed" in [files]; did you mean "read"?`},
		{"inline", "files = { read = [],  wirte = [] }", `f.toml:1:23: unknown key "wirte" in [files]; did you mean "write"?`},
		{"quoted path of a key", `"files.read" = []`, `f.toml:1:1: unknown key "files.read"`},
		{"quoted key", "[files]\n\"r\\u0065ad\" = 1", `f.toml:2:15: files.read takes an array, not a whole number`},
		{"element", "[files]\nread = [ '/a',\n   # one\n   '~x' ]", `f.toml:4:4: files.read: the home of another user`},
		{"element after text of many bytes", "[env]\npass = ['ä', 'a=b']", `f.toml:2:14: env.pass: the name of a variable has no =`},
		{"wrong type", "[limits]\ntime = 30", `f.toml:2:8: limits.time: takes a length of time, not a whole number; write it with units`},
		{"element of a wrong type", "[env]\npass = ['CI', 3]", `f.toml:2:15: env.pass: takes a string, not a whole number`},
		{"table for a value", "[files.read]\nx = 1", `f.toml:1:8: files.read takes an array, not a table`},
		{"value for a table", "files = 3", `f.toml:1:9: [files] is a table, not a whole number`},
		{"array of tables", "[[files]]\nread = []", `f.toml:1:3: [files] is a table, not an array`},
		{"enum", "[files]\nproject = 'wriet'", `f.toml:2:11: files.project: no such value "wriet"; did you mean "write"?`},
		{"look-alike", "[files]\nproject = 'reаd'", `f.toml:2:11: files.project: no such value "reаd" (not all of it is ASCII: \u0430); did you mean "read"?`},
		{"look-alike of a key", "'fіles' = 3", `f.toml:1:1: unknown key "fіles" (not all of it is ASCII: \u0456); did you mean "files"?`},
		{"look-alike in syntax", "[fіles]", `(not all of it is ASCII: \u`},
		{"enum, all", "[files]\nproject = 'zzzzz'", `one of: none, read, review, write`},
		{"env.set", "[env]\nset = { A = 'x', B = 3 }", `f.toml:2:22: env.set.B: takes a string, not a whole number`},
		{"env.set name", "[env.set]\n'A=B' = 'x'", `f.toml:2:1: env.set: the name of a variable has no =`},
		{"task without run", "[tasks]\nx = { env = {} }", `f.toml:2:1: task "x" has no run`},
		{"task with tasks", "[tasks.x]\nrun = 'a'\ntasks = {}", `f.toml:3:1: unknown key "tasks"`},
		{"task empty", "[tasks]\nx = ''", `f.toml:2:5: tasks.x: is empty`},
		{"variant with extends", "[profiles.x]\nextends = 'host'", `f.toml:2:1: unknown key "extends"`},
		{"name of a variant", "[profiles.'../x']", `f.toml:1:11: no name for an entry of [profiles]: "../x"`},
		{"extends with a slash", "extends = '../x'", `f.toml:1:11: extends: no name of a profile: "../x"`},
		{"syntax", "[files]\nread = [", `f.toml:2:`},
		{"duplicate", "[files]\ngit = 'read'\ngit = 'read'", `f.toml:3:1: key 'files.git' has already been defined`},
		{"NUL", "extends = 'a\x00b'", `f.toml:1:`},
		{"crlf", "[files]\r\n\r\nraed = []\r\n", `f.toml:3:1: unknown key "raed"`},
		{"byte order mark", "\ufeffx = 1", `f.toml:1:1: unknown key "x"`},
		{"after multi-line string", "[env]\nset = { A = \"\"\"\nx\\\"\"\"\n\"\"\" }\nq = 1", `f.toml:5:1: unknown key "q"`},
		{"control characters are escaped", "\"a\\u001b[31m\" = 1", `unknown key "a\x1b[31m"`},
		{"mount", "[files]\nmounts = ['/a:/b:/c']", `f.toml:2:11: files.mounts: no such mount "/a:/b:/c"`},
		{"mount mode", "[files]\nmounts = ['/a:or']", `neither a path inside nor ro or rw: "or"`},
		{"relative target", "[files]\nmounts = ['/a:b/c']", `a path inside the sandbox is absolute: "b/c"`},
		{"relative tmpfs", "[files]\ntmpfs = ['scratch']", `a path inside the sandbox is absolute: "scratch"; start it with /`},
		{"tmpfs on proc", "[files]\ntmpfs = ['/proc/sys']", `the sandbox has a /proc of its own`},
		{"variable", "[files]\nread = ['$HOME/x']", `variables are not expanded in paths: "$HOME/x"; only ~/ is expanded`},
		{"NUL in a path", "[files]\nread = [\"/a\\u0000b\"]", `a path has no NUL byte`},
		{"hide outside", "[files]\nhide = ['../x']", `lies outside the project: "../x"`},
		{"hide all", "[files]\nhide = ['.']", `hides the whole project`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseText(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T is no *Error", err)
			}
		})
	}
}

// Whatever stands in the place of a key's value, it is taken as one of its kind or refused with its place: no key takes a date,
// a table of tables, or a list of lists.
func TestEveryKeyRefusesOtherTypes(t *testing.T) {
	for _, k := range profileKeys {
		for _, value := range []string{"1979-05-27", "07:32:00", "[[['x']]]", "[{x = {y = 1}}]", "nan", "-1", "[1979-05-27]", "\"\\u0000\"", "[\"\\u0000\"]", "[true]", "{x = [1]}"} {
			_, err := parseText(k.path() + " = " + value)
			want := "f.toml:1:"
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), k.path()) && !strings.Contains(err.Error(), "unknown key") {
				t.Errorf("%s = %s: %v", k.path(), value, err)
			}
		}
	}
}

func TestSeveralErrorsComeInOrder(t *testing.T) {
	_, err := parseText("zz = 1\n[files]\ngit = 3\nq = 1\nread = 'x'")
	var es Errors
	if !errors.As(err, &es) || len(es) != 4 {
		t.Fatalf("got %v", err)
	}
	for i, line := range []int{1, 3, 4, 5} {
		if es[i].Line != line {
			t.Errorf("error %d is at line %d, want %d", i, es[i].Line, line)
		}
	}
}

// parsed runs the parser of one key on a value.
func parsed(key string, raw any) (string, error) {
	src := &source{origin: Origin{File: "f"}, base: testBase}
	p := &Profile{}
	for _, k := range profileKeys {
		if k.path() == key {
			k.read(node{raw: raw, at: &place{}, src: src}, p)
			if es := k.entries(p); len(es) > 0 && len(src.errs) == 0 {
				return es[0].Value, nil
			}
		}
	}
	return "", src.errs.orNil()
}

func TestValues(t *testing.T) {
	l := func(s string) any { return []any{s} }
	for _, c := range []struct {
		key  string
		raw  any
		want string // empty: refused
	}{
		{"limits.memory", "512M", "536870912"}, {"limits.memory", "4GiB", "4294967296"}, {"limits.memory", "4GB", "4000000000"},
		{"limits.memory", "1.5k", "1536"}, {"limits.memory", "512m", "536870912"}, {"limits.memory", int64(4096), "4096"}, {"limits.memory", "100B", "100"},
		{"limits.memory", "0", ""}, {"limits.memory", "-1", ""}, {"limits.memory", "", ""}, {"limits.memory", "1X", ""}, {"limits.memory", "G", ""},
		{"limits.memory", "1e3", ""}, {"limits.memory", "99999999999T", ""}, {"limits.memory", 1.5, ""}, {"limits.memory", "nan", ""}, {"limits.memory", "0x10", ""}, {"limits.memory", "1.2.3M", ""},
		{"limits.time", "30m", "30m0s"}, {"limits.time", "1h30m", "1h30m0s"}, {"limits.time", "0s", ""}, {"limits.time", "-1m", ""}, {"limits.time", "30", ""}, {"limits.time", "soon", ""},
		{"limits.cpus", 2.5, "2.5"}, {"limits.cpus", int64(2), "2"}, {"limits.cpus", int64(0), ""}, {"limits.cpus", "2", ""}, {"limits.cpus", -1.0, ""}, {"limits.cpus", true, ""},
		{"limits.pids", int64(512), "512"}, {"limits.pids", int64(0), ""}, {"limits.pids", 1.5, ""}, {"limits.pids", int64(1) << 40, ""},
		{"limits.swap", "0", "0"}, {"limits.swap", int64(0), "0"}, {"limits.swap", "1G", "1073741824"}, {"limits.swap", "-1", ""}, {"limits.io_read", "0", ""},
		{"limits.cpu_weight", int64(1), "1"}, {"limits.cpu_weight", int64(0), ""}, {"limits.io_weight", int64(10001), ""}, {"limits.io_weight", "100", ""},
		{"limits.cpuset", "0-3,6", "0-3,6"}, {"limits.cpuset", "2", "2"}, {"limits.cpuset", "", ""}, {"limits.cpuset", "3-1", ""}, {"limits.cpuset", "0,", ""}, {"limits.cpuset", "-1", ""}, {"limits.cpuset", "0-99999", ""}, {"limits.cpuset", int64(0), ""},
		{"root.user", "me", "me"}, {"root.user", "root", "root"}, {"root.user", "1000", "1000"}, {"root.user", "0:0", "0:0"}, {"root.user", "4294967294", "4294967294"},
		{"root.user", "4294967295", ""}, {"root.user", "-1", ""}, {"root.user", "+1", ""}, {"root.user", "1:", ""}, {"root.user", "alice", ""}, {"root.user", int64(1000), ""},
		{"files.mounts", l("~/a"), "/home/u/a:/home/u/a:rw"}, {"files.mounts", l("~/go/pkg/mod:ro"), "/home/u/go/pkg/mod:/home/u/go/pkg/mod:ro"},
		{"files.mounts", l("./a:/b:rw"), "/dir/a:/b:rw"}, {"files.mounts", l("../a:/b/../c"), "/a:/c:rw"}, {"files.mounts", l("~"), "/home/u:/home/u:rw"},
		{"files.mounts", l("a:/b"), ""}, {"files.mounts", l(":/b"), ""}, {"files.mounts", l("/a:/"), ""}, {"files.mounts", l("/dev/shm"), ""}, {"files.mounts", l("/a:"), ""}, {"files.mounts", l(""), ""},
		{"files.volumes", l("cache:/var/cache"), "cache:/var/cache:rw"}, {"files.volumes", l("../x:/y"), ""}, {"files.volumes", l("x"), ""},
		{"files.devices", l("gpu"), "gpu"}, {"files.devices", l("/dev/kvm"), "/dev/kvm"}, {"files.devices", l("/dev/../etc/shadow"), ""}, {"files.devices", l("/dev"), ""},
		{"files.tmpfs", l("~/x"), "/home/u/x"}, {"files.tmpfs", l("/"), ""}, {"files.tmpfs", l("/a/../proc"), ""},
		{"files.hide", l("secrets/"), "/dir/secrets"}, {"files.read", l("~"), "/home/u"}, {"files.read", l("~/"), "/home/u"}, {"files.read", l("~root/x"), ""}, {"files.read", l("${X}"), ""}, {"files.read", l(""), ""}, {"files.read", l("a$b"), ""}, {"files.read", l("a$1"), "/dir/a$1"},
		{"network.ports", l("3000:3000"), "3000:3000"}, {"network.ports", l("127.0.0.1:80:8080/udp"), "127.0.0.1:80:8080/udp"}, {"network.ports", l("[::1]:80:80"), "[::1]:80:80"},
		{"network.ports", l("3000"), ""}, {"network.ports", l("0:80"), ""}, {"network.ports", l("65536:1"), ""}, {"network.ports", l("::1:80:80"), ""}, {"network.ports", l("host:80:80"), ""},
		{"network.allow", l("@npm"), "@npm"}, {"network.allow", l("Example.ORG.:443"), "example.org:443"}, {"network.allow", l("*.example.net"), "*.example.net"},
		{"network.allow", l("ntp.example.org:123/udp"), "ntp.example.org:123/udp"}, {"network.allow", l("10.1.0.0/16:5432"), "10.1.0.0/16:5432"}, {"network.allow", l("10.1.0.0/16"), "10.1.0.0/16"},
		{"network.allow", l("::1"), "::1"}, {"network.allow", l("[::1]:80"), "[::1]:80"}, {"network.allow", l("fd00::/8:443"), "fd00::/8:443"}, {"network.allow", l("10.0.0.1:22"), "10.0.0.1:22"},
		{"network.allow", l("*"), ""}, {"network.allow", l("*.*.org"), ""}, {"network.allow", l("a.*.org"), ""}, {"network.allow", l("https://x.org"), ""}, {"network.allow", l("1.2.3"), ""}, {"network.allow", l("10.1.2.3/16"), ""},
		{"network.allow", l("x.org:0"), ""}, {"network.allow", l("x.org:http"), ""}, {"network.allow", l("exämple.org"), ""}, {"network.allow", l(""), ""}, {"network.allow", l("@"), ""}, {"network.allow", l("fe80::1%eth0"), ""}, {"network.allow", l("-x.org"), ""}, {"network.allow", l("a..b"), ""},
		{"network.mode", "join:a", "join:a"}, {"network.mode", "join:", ""}, {"network.mode", "join:../a", ""}, {"network.mode", "nonn", ""},
		{"env.pass", l("CI"), "CI"}, {"env.pass", l("npm_*"), "npm_*"}, {"env.pass", l("*"), ""}, {"env.pass", l("a*b"), ""}, {"env.pass", l(""), ""}, {"env.pass", l("a\x00"), ""},
		{"harden.syscalls", l("io_uring_setup"), "io_uring_setup"}, {"harden.syscalls", l("Bpf"), ""}, {"harden.syscalls", l(""), ""}, {"harden.cap_add", l("net_raw"), "CAP_NET_RAW"}, {"harden.cap_add", l("cap_SYS_admin"), "CAP_SYS_ADMIN"}, {"harden.cap_add", l("CAP_ALL"), ""}, {"harden.cap_add", l("NET_RAV"), ""},
		{"harden.require", "outer-proc", "outer-proc"}, {"harden.require", "best", ""}, {"harden.nested", "true", ""}, {"harden.nested", true, "true"}, {"harden.set_uid", "yes", ""}, {"harden.set_uid", true, "true"},
	} {
		got, err := parsed(c.key, c.raw)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s = %v: got %q, %v; want %q", c.key, c.raw, got, err, c.want)
		}
	}
}

func TestLargeAndDeepFilesAreRefusedQuickly(t *testing.T) {
	half := maxFile / 2
	for name, text := range map[string]string{
		"ten megabytes":  strings.Repeat("# x\n", 10<<20/4),
		"deep arrays":    "x = " + strings.Repeat("[", half),
		"deep tables":    "x = " + strings.Repeat("{a=", half/2),
		"dotted key":     strings.Repeat("a.", half-1) + "a = 1",
		"dotted header":  "[" + strings.Repeat("a.", half-1) + "a]",
		"many keys":      numbered("k%d = 1\n", 50000),
		"many tables":    numbered("[t%d]\n", 50000),
		"many tasks":     "[tasks]\n" + numbered("t%d = 'x'\n", maxNamed+1),
		"many variants":  numbered("[profiles.v%d]\n", maxNamed+1),
		"array tables":   strings.Repeat("[[a]]\n", 50000),
		"long list":      "files.read = [" + strings.Repeat("'/a',", 100000) + "]",
		"long bad list":  "files.read = [" + strings.Repeat("'$A',", 900) + "]",
		"open string":    "a = \"" + strings.Repeat("\\n", half/2),
		"unknown syntax": "x = 1 2 3\ny = " + strings.Repeat("[", half),
	} {
		from := processorTime(t)
		if _, err := parseText(text); err == nil {
			t.Errorf("%s: no error", name)
		} else if len(err.Error()) > 20000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		// Of the processor, not of the clock: a busy machine is no fault. What takes the square of a file's size takes longer.
		if d := processorTime(t) - from; d > 2*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

// processorTime is what this process has used of the processors.
func processorTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"extends = 'host'\n[files]\nread = ['~/x', \"a\\u0000\"]", "a.b.'c.d'.\"e\" = [{x=1},\n{y=2}]", "[[a.b]]\nx=1\n[a.b.c]\ny = 1979-05-27 07:32:00",
		"x = \"\"\"\na\\\nb\"\"\"\"\"", "[limits]\ntime = '30m'\nmemory=1e3", "\ufeff[tasks]\nt = {run='x', env.set={A='b'}}", "x = {\n a = 1, # c\n}\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseText(text)
		if p == nil {
			t.Fatal("no profile")
		}
		var es Errors
		if err != nil && !errors.As(err, &es) {
			t.Fatalf("%T: %v", err, err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, e := range es {
			if e.Line > lines+1 || e.Line > 0 && e.Column < 1 {
				t.Fatalf("place %s of %d lines: %q", e.Place(), lines, text)
			}
		}
	})
}
