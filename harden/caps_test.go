package harden

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseCap(t *testing.T) {
	for name, want := range map[string]Cap{
		"chown": unix.CAP_CHOWN, "net_admin": unix.CAP_NET_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
		"Cap_Setfcap": unix.CAP_SETFCAP, "audit_read": unix.CAP_AUDIT_READ, "bpf": unix.CAP_BPF,
		"checkpoint_restore": unix.CAP_CHECKPOINT_RESTORE,
	} {
		if got, err := ParseCap(name); got != want || err != nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestUnknownCap(t *testing.T) {
	for name, want := range map[string]string{
		"net_admn": "net_admin", "CAP_NETADMIN": "net_admin", "sysadmin": "sys_admin", "setuids": "setuid",
		"all": "", "": "", "everything": "", "cap_": "",
	} {
		_, err := ParseCap(name)
		var unknown *UnknownCapError
		if !errors.As(err, &unknown) || unknown.Suggestion != want {
			t.Errorf("%q: %v, want the suggestion %q", name, err, want)
		}
	}
}

func TestCapNames(t *testing.T) {
	if len(capNames) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, %d capabilities", len(capNames), unix.CAP_LAST_CAP+1)
	}
	for i := range capNames {
		if c, err := ParseCap(Cap(i).String()); err != nil || c != Cap(i) {
			t.Errorf("%v: %d, %v", Cap(i), c, err)
		}
	}
	if got := Cap(63).String(); got != "CAP_63" {
		t.Error(got)
	}
}

// The kernel itself is asked where its capabilities end.
func TestLastCap(t *testing.T) {
	last, err := LastCap()
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[Cap]bool{last: true, last + 1: false} {
		_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if (err == nil) != want {
			t.Errorf("%v: %v", c, err)
		}
	}
}
