package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The test runs in the folder of its package, in the source tree or a copy of it.
const (
	profileDir = "../packaging/apparmor"
	profile    = profileDir + "/sbx"
)

// parser is apparmor_parser, told neither to load nor to cache. `make test` installs it, so that its absence is a
// failure.
func parser(t *testing.T, args ...string) string {
	t.Helper()
	path, err := FindHelper("apparmor_parser")
	if err != nil {
		t.Fatalf("%v: %s", err, Install("apparmor_parser"))
	}
	out, err := exec.Command(path, append([]string{"--skip-kernel-load", "--skip-cache"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("apparmor_parser %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestAppArmorProfileParses(t *testing.T) { parser(t, profile) }

func TestAppArmorProfileIsForSbx(t *testing.T) {
	if out := parser(t, "--names", profile); !strings.Contains(out, "sbx\n") {
		t.Errorf("names: %q", out)
	}
	b, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/usr/bin/sbx", "/usr/local/bin/sbx"} {
		if !strings.Contains(string(b), path) {
			t.Errorf("%s is not in the profile", path)
		}
	}
}

// With sbx.d installed the profile grants userns. An older parser cannot read that rule, so it gets stand-ins which
// show that both files are taken in at their places.
func TestAppArmorProfileTakesInTheRule(t *testing.T) {
	base := t.TempDir()
	if err := os.CopyFS(base, os.DirFS("/etc/apparmor.d")); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(filepath.Join(base, "sbx.d"))
	if err := os.CopyFS(filepath.Join(base, "sbx.d"), os.DirFS(profileDir+"/sbx.d")); err != nil {
		t.Fatal(err)
	}
	want := "userns,"
	if _, err := os.Stat("/etc/apparmor.d/abi/4.0"); err != nil {
		want = "capability sys_chroot,"
		for name, text := range map[string]string{"abi": "abi <abi/3.0>,\n", "userns": want + "\n"} {
			if err := os.WriteFile(filepath.Join(base, "sbx.d", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	parser(t, "--base", base, profile)
	_, body, _ := strings.Cut(parser(t, "--base", base, "--preprocess", profile), "profile sbx")
	if !strings.Contains(body, want) {
		t.Errorf("the rule %q is not in the profile:\n%s", want, body)
	}
}
