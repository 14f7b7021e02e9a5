package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
	"golang.org/x/sys/unix"
)

const passwd = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/zsh\nbad:1000\n"

func TestFindUID(t *testing.T) {
	for _, c := range []struct {
		uid             int
		preferred, want string
	}{
		{0, "", "root:x:0:0:root:/root:/bin/bash"},
		{1000, "", "ann:x:1000:1000::/home/ann:/bin/sh"},
		{1000, "anna", "anna:x:1000:1000::/home/anna:/bin/zsh"},
		{1000, "root", "ann:x:1000:1000::/home/ann:/bin/sh"},
		{7, "ann", ""},
	} {
		if got := findUID(passwd, c.uid, c.preferred); got != c.want {
			t.Errorf("findUID(%d, %q) = %q, want %q", c.uid, c.preferred, got, c.want)
		}
	}
}

func TestUserOfThisProcess(t *testing.T) {
	who, err := User()
	if err != nil {
		t.Fatal(err)
	}
	if who.UID != os.Getuid() || who.GID != os.Getgid() || who.Name == "" || !filepath.IsAbs(who.Home) || !filepath.IsAbs(who.Shell) {
		t.Errorf("User() = %+v", who)
	}
}

func TestHomeIsNotTakenBlindly(t *testing.T) {
	t.Setenv("HOME", "")
	plain, _ := User()
	if plain.Home != plain.PasswdHome || !filepath.IsAbs(plain.Home) {
		t.Fatalf("without HOME: %+v", plain)
	}
	for _, bad := range []string{"relative", "/nonexistent", "/etc/passwd", "/", "//", "/tmp/..", "/proc/self/root"} {
		t.Setenv("HOME", bad)
		if who, _ := User(); who.Home != plain.Home || who.PasswdHome != plain.Home {
			t.Errorf("HOME=%q gave home %q and %q, want %q", bad, who.Home, who.PasswdHome, plain.Home)
		}
	}
	dir := t.TempDir()
	for home, want := range map[string]string{dir + "/": dir, "/tmp": "/tmp"} { // the caller's, and root's
		t.Setenv("HOME", home)
		if who, _ := User(); who.Home != want || who.PasswdHome != plain.Home {
			t.Errorf("HOME=%q gave home %q and %q", home, who.Home, who.PasswdHome)
		}
	}
}

func TestWhoMayLiveWhere(t *testing.T) {
	own, dir := os.Getuid(), t.TempDir()
	for _, c := range []struct {
		account Account
		dir     string
		want    bool
	}{
		{Account{UID: own}, dir, true},
		{Account{UID: own + 1}, dir, own == 0}, // root's may be anybody's
		{Account{UID: own + 1}, "/usr", true},
		{Account{UID: own}, "/", false},
		{Account{UID: own, PasswdHome: "/root"}, "/", false},
		{Account{UID: own, PasswdHome: "/"}, "/", true},
		{Account{UID: own, PasswdHome: "/"}, dir, true},
	} {
		if got := c.account.mayLiveIn(c.dir); got != c.want {
			t.Errorf("%+v in %q: %v", c.account, c.dir, got)
		}
	}
	if own == 0 {
		if err := os.Chown(dir, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		if (&Account{UID: 0}).mayLiveIn(dir) {
			t.Error("another user's folder is taken for root's home")
		}
	}
}

func TestFillKeepsThePasswdHome(t *testing.T) {
	for line, want := range map[string]string{
		"ann:x:1:1::/home/ann/:/bin/sh": "/home/ann", "ann:x:1:1::/:/bin/sh": "/", "ann:x:1:1::here:/bin/sh": "", "ann:x:1:1:::/bin/sh": "", "": "",
	} {
		a := Account{Home: "/"}
		if a.fill(line); a.PasswdHome != want || want != "" && a.Home != want || want == "" && a.Home != "/" {
			t.Errorf("%q: %+v", line, a)
		}
	}
}

// plant makes an executable script that leaves a mark when it runs.
func plant(t *testing.T, path string) (mark string) {
	t.Helper()
	mark = path + ".ran"
	if err := os.WriteFile(path, []byte("#!/bin/sh\n: >'"+mark+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return mark
}

// What a sandbox left in a project's .venv/bin, or whatever else PATH leads to, is never a helper.
func TestFindHelperDoesNotAskPATH(t *testing.T) {
	dir := t.TempDir()
	plant(t, filepath.Join(dir, "sh"))
	plant(t, filepath.Join(dir, "sbx-planted"))
	t.Chdir(dir)
	t.Setenv("PATH", dir+":.")
	if path, err := FindHelper("sh"); err != nil || !slices.Contains(systemFolders, filepath.Dir(path)) {
		t.Errorf("sh is %q, %v", path, err)
	}
	for _, name := range []string{"sbx-planted", "no-such-helper", "../bin/sh", "/bin/sh", ".", "..", ""} {
		var absent NoHelper
		if path, err := FindHelper(name); !errors.As(err, &absent) || absent.Name != name {
			t.Errorf("FindHelper(%q) = %q, %v", name, path, err)
		}
	}
}

func TestFindHelperTakesOnlyWhatIsRoots(t *testing.T) {
	dir := t.TempDir()
	plant(t, filepath.Join(dir, "sh"))
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if path, err := findIn([]string{dir, "/bin"}, "sh"); err != nil || path != "/bin/sh" {
		t.Errorf("sh is %q, %v", path, err)
	}
	for want, list := range map[bool][]unix.Stat_t{
		true: {{Mode: unix.S_IFREG | 0o755}, {Mode: unix.S_IFREG | unix.S_ISUID | 0o4711}, {Mode: unix.S_IFDIR | 0o755},
			{Mode: unix.S_IFLNK | 0o777}, {Mode: unix.S_IFDIR | unix.S_ISVTX | 0o775}},
		false: {{Mode: unix.S_IFREG | 0o755, Uid: 1000}, {Mode: unix.S_IFREG | 0o755, Uid: 65534}, {Mode: unix.S_IFREG | 0o775},
			{Mode: unix.S_IFREG | 0o757}, {Mode: unix.S_IFREG | unix.S_ISVTX | 0o757}, {Mode: unix.S_IFDIR | 0o775},
			{Mode: unix.S_IFDIR | 0o757}, {Mode: unix.S_IFLNK | 0o777, Uid: 1000}, {Mode: unix.S_IFDIR | unix.S_ISVTX | 0o775, Uid: 1}},
	} {
		for _, st := range list {
			if rootsAlone(&st) != want {
				t.Errorf("mode %o of %d: want %v", st.Mode, st.Uid, want)
			}
		}
	}
}

// Folders and links on the way count as much as the file; only root can make what is right, and then spoil it.
func TestTrusted(t *testing.T) {
	for path, want := range map[string]bool{"/bin/sh": true, "/usr/../bin/./sh": true, "/etc/passwd": true, "/no/such": false} {
		if got := trusted(path); got != want {
			t.Errorf("trusted(%q) = %v", path, got)
		}
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink("/bin/sh", dir+"/link"))
	if os.Geteuid() != 0 {
		if trusted(dir + "/link") {
			t.Error("a link of another than root is trusted")
		}
		return
	}
	must(os.MkdirAll(dir+"/a/b", 0o755))
	plant(t, dir+"/a/b/tool")
	must(os.Symlink("../b/tool", dir+"/a/b/link"))
	must(os.Symlink(dir+"/a/b/link", dir+"/far"))
	must(os.Symlink("loop", dir+"/loop"))
	all := []string{dir + "/a/b/tool", dir + "/a/b/link", dir + "/far"}
	hold := func(what string, want bool) {
		t.Helper()
		for _, path := range all {
			if trusted(path) != want {
				t.Errorf("%s: trusted(%q) = %v", what, path, !want)
			}
		}
	}
	hold("all of root", true)
	for _, c := range []struct {
		what        string
		spoil, mend func() error
	}{
		{"a folder for all", func() error { return os.Chmod(dir+"/a", 0o777) }, func() error { return os.Chmod(dir+"/a", 0o755) }},
		{"a folder of a user's", func() error { return os.Chown(dir+"/a/b", 1000, 0) }, func() error { return os.Chown(dir+"/a/b", 0, 0) }},
		{"a file for a group", func() error { return os.Chmod(dir+"/a/b/tool", 0o775) }, func() error { return os.Chmod(dir+"/a/b/tool", 0o755) }},
		{"a file of a user's", func() error { return os.Chown(dir+"/a/b/tool", 1000, 0) }, func() error { return os.Chown(dir+"/a/b/tool", 0, 0) }},
	} {
		must(c.spoil())
		hold(c.what, false)
		must(c.mend())
	}
	hold("mended", true)
	must(os.Lchown(dir+"/a/b/link", 1000, 0))
	if trusted(dir+"/far") || trusted(dir+"/a/b/link") || trusted(dir+"/loop") {
		t.Error("a link of a user's, or a loop, is trusted")
	}
}

func TestWhich(t *testing.T) {
	dir := t.TempDir()
	plant(t, filepath.Join(dir, "tool"))
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", ":.:/no/such:"+dir)
	if path, err := Which("tool"); err != nil || path != filepath.Join(dir, "tool") {
		t.Errorf("tool is %q, %v", path, err)
	}
	for _, command := range []string{"plain", "no-such", "", ".", "./tool", filepath.Join(dir, "tool"), "tool/"} {
		if path, err := Which(command); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("Which(%q) = %q, %v", command, path, err)
		}
	}
	t.Setenv("PATH", ":.")
	if path, err := Which("tool"); err == nil {
		t.Errorf("by relative folders tool is %q", path)
	}
}

// A caller's PATH, GETSUBIDS or LD_LIBRARY_PATH decides neither which program runs nor what it loads.
func TestHelpersRunWithoutTheCallersEnvironment(t *testing.T) {
	dir := t.TempDir()
	mark := plant(t, filepath.Join(dir, "getsubids"))
	t.Setenv("PATH", dir)
	t.Setenv("GETSUBIDS", filepath.Join(dir, "getsubids"))
	t.Setenv("LD_LIBRARY_PATH", dir)
	before := os.Environ()
	getsubids(os.Getuid(), "root")
	if _, err := os.Stat(mark); err == nil {
		t.Error("a getsubids of the caller's choice was run")
	}
	if after := os.Environ(); !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
		t.Errorf("the environment was %q and is %q", before, after)
	}
	restore := swapEnvironment([]string{"A=b=c"})
	if got := os.Environ(); !slices.Equal(got, []string{"A=b=c"}) {
		t.Errorf("meanwhile the environment is %q", got)
	}
	restore()
	path, err := FindHelper("env")
	if err != nil {
		t.Fatal(err)
	}
	out, err := helper(context.Background(), path).Output()
	if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, cleanEnv()) {
		t.Errorf("a helper's environment is %q, %v", got, err)
	}
}

func TestSubIDsOfNobodyInParticular(t *testing.T) {
	_, _, _, err := SubIDs(4242424, "no-such-user-here")
	var none NoSubIDs
	if !errors.As(err, &none) || none.UID != 4242424 {
		t.Errorf("a user without sub-ids gave %v, want NoSubIDs", err)
	}
}

// The wording that noneFound goes by is idtools' own: this fails when a new version words it otherwise.
func TestNoneFoundKnowsIdtools(t *testing.T) {
	if _, _, err := idtools.GetSubIDRanges(4242424, "no-such-user-here"); !noneFound(err) {
		t.Errorf("idtools says %v, which is not known", err)
	}
	if noneFound(nil) || noneFound(errors.New("Cannot parse subuid/gid information")) {
		t.Error("noneFound takes something else for it")
	}
}

// Every user of /etc/subuid has ranges that are not empty and lie apart.
func TestSubIDsOfThisMachine(t *testing.T) {
	b, _ := os.ReadFile("/etc/subuid")
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, ":")
		uids, gids, source, err := SubIDs(4242424, name)
		if err != nil || total(uids) == 0 || total(gids) == 0 || source != FromFiles {
			t.Errorf("SubIDs(%q) = %v, %v, %q, %v", name, uids, gids, source, err)
		}
	}
}

func TestRanges(t *testing.T) {
	in := func(n ...int) (all []idtools.SubIDRange) {
		for i := 0; i < len(n); i += 2 {
			all = append(all, idtools.SubIDRange{Start: n[i], Length: n[i+1]})
		}
		return all
	}
	got, err := ranges(in(200000, 10, 100000, 65536, 200000, 10, 100500, 1, 4294967290, 5))
	want := []IDRange{{200000, 10}, {100000, 65536}, {4294967290, 5}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range [][]int{{-1, 5}, {5, 0}, {5, -1}, {1 << 33, 1}, {1, 1 << 33}, {4294967290, 6}} {
		if got, err := ranges(in(bad...)); err == nil {
			t.Errorf("ranges(%v) = %v, want an error", bad, got)
		}
	}
}

func TestServiceHasSubIDs(t *testing.T) {
	for text, want := range map[string]bool{
		"":                               false,
		"passwd: files\n":                false,
		"subid: files\n":                 false,
		"# subid: sss\n":                 false,
		"passwd: files\nsubid:\tsss # x": true,
	} {
		if got := serviceHasSubIDs(machine(t, 1000, map[string]string{"/etc/nsswitch.conf": text})); got != want {
			t.Errorf("nsswitch.conf %q: %v, want %v", text, got, want)
		}
	}
	if serviceHasSubIDs(machine(t, 1000, nil)) {
		t.Error("no nsswitch.conf: true")
	}
}
