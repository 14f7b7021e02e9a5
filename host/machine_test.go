package host

import (
	"os"
	"path/filepath"
	"testing"
)

// machine is a fixture of another machine's files; only what is parsed comes from it.
func machine(t *testing.T, uid int, files map[string]string) *Env {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Env{Root: root, UID: uid}
}

// The files of machines that the tests ask about.
var (
	ubuntu2404 = map[string]string{
		"/etc/os-release": "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
		"/proc/self/attr/current":                                "unconfined\n",
	}
	debian10 = map[string]string{
		"/etc/os-release": "ID=debian\n",
		"/proc/sys/kernel/unprivileged_userns_clone": "0\n",
		"/proc/sys/kernel/osrelease":                 "4.19.0-27-amd64\n",
	}
	fedora = map[string]string{
		"/etc/os-release":                            "ID=fedora\n",
		"/sys/fs/selinux/enforce":                    "1",
		"/sys/fs/selinux/class/user_namespace/index": "93",
	}
	docker = map[string]string{
		"/.dockerenv": "",
		"/proc/self/mountinfo": "1 0 0:50 / / rw - overlay overlay rw\n2 1 0:51 / /proc rw - proc proc rw\n" +
			"3 2 0:51 /kcore /proc/kcore rw - tmpfs tmpfs rw\n",
	}
	initramfs = map[string]string{"/proc/self/mountinfo": "1 1 0:2 / / rw - rootfs rootfs rw\n2 1 0:5 / /proc rw - proc proc rw\n"}
	inChroot  = map[string]string{"/proc/self/mountinfo": "2 1 0:5 / /proc rw,relatime - proc proc rw,hidepid=invisible\n"}
)
