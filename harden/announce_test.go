package harden

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A filter that announces has the calls named wait, whatever their arguments, and nothing else, of no other ABI.
func TestAnnouncing(t *testing.T) {
	for _, arch := range bothArchs {
		filter, err := Announcing(arch, "rename", "renameat2")
		if err != nil {
			t.Fatal(err)
		}
		target, _ := abiOf(arch)
		for _, name := range []string{"rename", "renameat", "renameat2", "read"} {
			nr, _ := SyscallNumber(arch, name)
			if nr < 0 {
				continue
			}
			want := uint32(unix.SECCOMP_RET_ALLOW)
			if name == "rename" || name == "renameat2" {
				want = unix.SECCOMP_RET_USER_NOTIF
			}
			for audit, want := range map[uint32]uint32{target.audit: want, target.audit ^ 1: unix.SECCOMP_RET_ALLOW} {
				m, err := interpret(filter, call{nr: uint32(nr), audit: audit})
				if err != nil || m.verdict != want {
					t.Errorf("%s: %s of ABI %#x: %#x, want %#x (%v)", arch, name, audit, m.verdict, want, err)
				}
			}
		}
	}
}
