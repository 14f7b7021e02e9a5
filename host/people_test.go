package host

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
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
	for _, bad := range []string{"relative", "/nonexistent", "/etc/passwd"} {
		t.Setenv("HOME", bad)
		if who, _ := User(); who.Home != plain.Home {
			t.Errorf("HOME=%q gave home %q, want %q", bad, who.Home, plain.Home)
		}
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir+"/")
	if who, _ := User(); who.Home != dir {
		t.Errorf("HOME=%q gave home %q", dir+"/", who.Home)
	}
}

func TestFindHelper(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sh"), []byte("#!/bin/true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", ".:"+dir) // relative, and a file that is not executable
	if path, err := FindHelper("sh"); err != nil || filepath.Dir(path) == dir || !filepath.IsAbs(path) {
		t.Errorf("sh is %q, %v", path, err)
	}
	if err := os.Chmod("sh", 0o755); err != nil {
		t.Fatal(err)
	}
	if path, _ := FindHelper("sh"); path != filepath.Join(dir, "sh") {
		t.Errorf("sh is %q, want the one in PATH", path)
	}
	var absent NoHelper
	if _, err := FindHelper("no-such-helper"); !errors.As(err, &absent) || absent.Name != "no-such-helper" {
		t.Errorf("a missing helper gave %v", err)
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
