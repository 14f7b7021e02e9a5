package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// What a sandbox leaves may belong to sub-ids, and be shut to everybody. Links in it are removed, not followed.
func TestRemoveForeign(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	outside := filepath.Join(t.TempDir(), "outside")
	for _, path := range []string{dir, outside} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	account, err := Caller()
	if err != nil {
		t.Fatal(err)
	}
	maps, single, err := IDMaps(account, profiles.User{Kind: profiles.UserRoot})
	if err != nil {
		t.Fatal(err)
	}
	owner := "42"
	if single {
		owner = "0"
	}
	asRoot(t, maps, `cd "$1" && mkdir -p a/b && echo x >a/b/f && ln -s "$2" a/b/link && ln -s "$2"/kept a/file && mkfifo a/b/p && chown -h -R `+owner+` a && chmod 0 a/b/f a/b a`,
		dir, outside)
	var st unix.Stat_t
	if err := unix.Stat(dir+"/a", &st); err != nil || st.Mode&0o777 != 0 || !single && int(st.Uid) == os.Getuid() {
		t.Fatalf("the tree is not as it should be: uid %d, mode %o, %v", st.Uid, st.Mode, err)
	}
	if !single && os.Getuid() != 0 && os.RemoveAll(dir) == nil {
		t.Fatal("anybody can remove it")
	}
	if err := RemoveForeign(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := RemoveForeign("/proc/self/nothing-to-remove/x"); err != nil && !strings.Contains(err.Error(), "removing /proc") {
		t.Errorf("an error that does not say what was being done: %v", err)
	}
}

// asRoot runs a script as root of a user namespace with these maps.
func asRoot(t *testing.T, maps userns.Maps, script string, args ...string) {
	t.Helper()
	sh, err := host.FindHelper("sh")
	if err != nil {
		if sh, err = exec.LookPath("sh"); err != nil {
			t.Fatal(err)
		}
	}
	process, err := userns.Start(&userns.Plan{
		Namespaces: unix.CLONE_NEWUSER | unix.CLONE_NEWPID,
		Init:       []userns.Step{userns.Barrier("waiting for the id maps")},
		Payload:    userns.Exec("running a script", []string{sh}, append([]string{"sh", "-c", script, "sh"}, args...), []string{"PATH=/usr/bin:/bin"}),
	}, userns.Options{Maps: maps, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := process.Wait(); err != nil || status != 0 {
		t.Fatalf("the script ended with %v: %v", status, err)
	}
}
