package profiles

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestFindProject(t *testing.T) {
	for _, c := range []struct {
		what, cwd, home string
		files           map[string]string
		want            Project
	}{
		{"no mark", "home/proj/a", "home", map[string]string{"home/proj/a/x": ""}, Project{Dir: "home/proj/a"}},
		{"git above", "home/proj/a/b", "home", map[string]string{"home/proj/a/b/x": "", "home/proj/.git/HEAD": ""}, Project{Dir: "home/proj"}},
		{"a worktree's .git file", "home/proj/a", "home", map[string]string{"home/proj/a/x": "", "home/proj/.git": "gitdir: x"}, Project{Dir: "home/proj"}},
		{"file above", "home/proj/a", "home", map[string]string{"home/proj/a/x": "", "home/proj/sbx.toml": ""}, Project{Dir: "home/proj", HasFile: true}},
		{"nearest wins", "home/proj/a", "home", map[string]string{"home/proj/a/.git/x": "", "home/proj/sbx.toml": ""}, Project{Dir: "home/proj/a"}},
		{"both", "home/proj", "home", map[string]string{"home/proj/.git/x": "", "home/proj/sbx.toml": ""}, Project{Dir: "home/proj", HasFile: true}},
		{"home does not count", "home/proj", "home", map[string]string{"home/.git/x": "", "home/sbx.toml": ""}, Project{Dir: "home/proj"}},
		{"above home does not count", "home/proj", "home", map[string]string{"sbx.toml": ""}, Project{Dir: "home/proj"}},
		{"home itself", "home", "home", map[string]string{"home/sbx.toml": ""}, Project{Dir: "home", HasFile: true, HoldsHome: true}},
		{"above home", "", "home", nil, Project{Dir: "", HoldsHome: true}},
		{"home by a link", "home/proj", "link", map[string]string{"link": "-> home", "home/sbx.toml": ""}, Project{Dir: "home/proj"}},
		{"cwd by a link", "link/a", "home", map[string]string{"link": "-> home/proj", "home/proj/a/x": "", "home/proj/.git/x": ""}, Project{Dir: "home/proj"}},
		{"a link as file counts", "home/proj", "home", map[string]string{"home/proj/sbx.toml": "-> /etc/passwd"}, Project{Dir: "home/proj", HasFile: true}},
	} {
		h := newHouse(t, c.files)
		c.want.Dir = h.path(c.want.Dir)
		if strings.HasPrefix(c.what, "a link as file") && os.Geteuid() == 0 {
			h.must(os.Lchown(h.path("home/proj/sbx.toml"), 0, 0))
		}
		got, err := FindProject(h.path(c.cwd), h.path(c.home))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
}

// A file further in extends those above it, up to the top of the repository.
func TestOuterFiles(t *testing.T) {
	for _, c := range []struct {
		what, cwd string
		files     map[string]string
		want      []string
	}{
		{"one above", "home/m/a", map[string]string{"home/m/.git/x": "", "home/m/sbx.toml": "", "home/m/a/sbx.toml": ""}, []string{"home/m"}},
		{"two above, one folder without", "home/m/a/b/c", map[string]string{"home/m/.git/x": "", "home/m/sbx.toml": "", "home/m/a/sbx.toml": "", "home/m/a/b/c/sbx.toml": ""}, []string{"home/m/a", "home/m"}},
		{"no further than the repository", "home/m/a", map[string]string{"home/sbx.toml": "", "home/w/sbx.toml": "", "home/m/.git/x": "", "home/m/a/sbx.toml": "", "home/m/a/.git/x": "", "home/m/sbx.toml": ""}, nil},
		{"not from home", "home/m", map[string]string{"home/sbx.toml": "", "sbx.toml": "", "home/m/sbx.toml": ""}, nil},
		{"no file of its own", "home/m/a", map[string]string{"home/m/sbx.toml": "", "home/m/a/.git/x": ""}, nil},
	} {
		h := newHouse(t, c.files)
		got, err := FindProject(h.path(c.cwd), h.path("home"))
		for i := range c.want {
			c.want[i] = h.path(c.want[i])
		}
		if err != nil || !reflect.DeepEqual(got.Outer, c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.what, got.Outer, err, c.want)
		}
	}
}

// With HOME=/tmp the folder that passwd names is home no less.
func TestFindProjectKnowsEveryHome(t *testing.T) {
	for _, c := range []struct {
		what, cwd string
		homes     []string
		files     map[string]string
		want      Project
	}{
		{"the other home", "home", []string{"tmp", "home"}, nil, Project{Dir: "home", HoldsHome: true}},
		{"the first home", "home", []string{"home", "tmp"}, nil, Project{Dir: "home", HoldsHome: true}},
		{"above the other", "", []string{"tmp", "home"}, nil, Project{Dir: "", HoldsHome: true}},
		{"below the other", "home/proj", []string{"tmp", "home"}, map[string]string{"home/.git/x": ""}, Project{Dir: "home/proj"}},
		{"the other by a link", "home", []string{"tmp", "link"}, map[string]string{"link": "-> home"}, Project{Dir: "home", HoldsHome: true}},
		{"a home that is not there, by a link", "", []string{"link/gone/u"}, map[string]string{"link": "-> home"}, Project{Dir: "", HoldsHome: true}},
		{"one home in the other", "home/proj/a", []string{"home/proj", "home"}, map[string]string{"home/proj/a/x": "", "home/proj/.git/x": ""}, Project{Dir: "home/proj/a"}},
		{"no home", "home/proj", nil, map[string]string{"home/.git/x": ""}, Project{Dir: "home"}},
	} {
		h := newHouse(t, c.files)
		h.must(os.Mkdir(h.path("tmp"), 0o755))
		c.want.Dir = h.path(c.want.Dir)
		for i := range c.homes {
			c.homes[i] = h.path(c.homes[i])
		}
		got, err := FindProject(h.path(c.cwd), append(c.homes, "", "relative")...)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
	h := newHouse(t, nil)
	got, err := FindProject(h.path("home"), "/", h.path("home"))
	if err != nil || !reflect.DeepEqual(got, Project{Dir: h.path("home"), HoldsHome: true}) {
		t.Errorf("home at / and another: got %+v, %v", got, err)
	}
	if got, err := FindProject(h.path("home/proj"), "/"); err != nil || !reflect.DeepEqual(got, Project{Dir: h.path("home/proj")}) {
		t.Errorf("home at /: got %+v, %v", got, err)
	}
}

// What is the kernel's or the system's is told by the folder alone; /bin is a link to /usr/bin on most hosts.
func TestProjectsThatAreTheSystems(t *testing.T) {
	for dir, want := range map[string]Project{
		"/etc": {System: true}, "/tmp": {System: true}, "/var/tmp": {System: true}, "/usr": {System: true}, "/bin": {System: true}, "/lib": {System: true},
		"/proc": {System: true, Kernel: true}, "/proc/self": {Kernel: true}, "/proc/sys/kernel": {Kernel: true},
		"/sys": {System: true, Kernel: true}, "/sys/kernel": {Kernel: true}, "/dev": {System: true, Kernel: true}, "/dev/pts": {Kernel: true},
		"/usr/share": {}, "/etc/ssl": {}, "/": {HoldsHome: true},
	} {
		got, err := FindProject(dir, "/home/nobody-here/x")
		if err != nil || got.System != want.System || got.Kernel != want.Kernel || got.HoldsHome != want.HoldsHome {
			t.Errorf("%s: got %+v, %v", dir, got, err)
		}
	}
	for dir, want := range map[string]bool{"/dev/shm": true, "/dev/shm/x": false, "/dev/shmx": true, "/device": false, "/processes": false, "/system": false} {
		if got := ofKernel(dir); got != want {
			t.Errorf("ofKernel(%q) = %v", dir, got)
		}
	}
}

func TestFindProjectAtTheRoot(t *testing.T) {
	if p, err := FindProject("/", ""); err != nil || p.Dir != "/" || !p.HoldsHome {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := FindProject("/no/such/folder", "/"); err == nil || !strings.Contains(err.Error(), `finding the project of "/no/such/folder"`) {
		t.Errorf("got %v", err)
	}
}

func TestSearchStopsAtMountPoints(t *testing.T) {
	for dir, want := range map[string]bool{"/proc": true, "/proc/self": false, "/": true} {
		if got := isMountPoint(dir); got != want {
			t.Errorf("isMountPoint(%q) = %v", dir, got)
		}
	}
}

// Files of another user need root to make; without root, root's own do.
func TestSearchStopsAtOtherOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		p, err := FindProject("/usr/lib", "/home/u")
		if err != nil || p.HasFile || p.Dir != "/usr/lib" && !strings.HasPrefix(p.Dir, "/usr/") {
			t.Errorf("got %+v, %v", p, err)
		}
		return
	}
	h := newHouse(t, map[string]string{"home/proj/a/x": "", "home/proj/sbx.toml": "", "home/proj/a/y": ""})
	h.must(os.Chown(h.path("home/proj/sbx.toml"), 12345, 12345))
	p, err := FindProject(h.path("home/proj/a"), h.path("home"))
	if err != nil || !reflect.DeepEqual(p, Project{Dir: h.path("home/proj/a"), Skipped: h.path("home/proj/sbx.toml")}) {
		t.Errorf("a file: got %+v, %v", p, err)
	}
	h.must(os.Chown(h.path("home/proj/sbx.toml"), 0, 0))
	h.must(os.Chown(h.path("home/proj"), 12345, 12345))
	p, err = FindProject(h.path("home/proj/a"), h.path("home"))
	if err != nil || !reflect.DeepEqual(p, Project{Dir: h.path("home/proj/a"), Skipped: h.path("home/proj/sbx.toml")}) {
		t.Errorf("a folder: got %+v, %v", p, err)
	}
}
