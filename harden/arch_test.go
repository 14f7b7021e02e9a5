package harden

import (
	"slices"
	"strings"
	"testing"
)

func TestNumbersOfThisArchitecture(t *testing.T) {
	for name, want := range unixNumbers {
		if got, known := SyscallNumber(HostArch(), name); got != want || !known {
			t.Errorf("%s: %d, golang.org/x/sys/unix says %d", name, got, want)
		}
		if got := SyscallName(HostArch(), want); got != name {
			t.Errorf("%d: %q, want %q", want, got, name)
		}
	}
	for _, row := range syscalls {
		if _, ok := unixNumbers[row.name]; !ok && row.number(HostArch()) != absent {
			t.Errorf("%s: not in golang.org/x/sys/unix", row.name)
		}
	}
}

// The kernel numbers what came with 5.1 and later the same everywhere (scripts/syscall.tbl).
func TestYoungNumbersAgree(t *testing.T) {
	for _, row := range syscalls {
		if max(row.amd64, row.arm64) >= 424 && row.amd64 != row.arm64 {
			t.Errorf("%s: %d and %d", row.name, row.amd64, row.arm64)
		}
	}
}

// Some numbers of arm64 by heart, since the constants above are those of the machine that runs the test.
func TestNumbersOfTheOther(t *testing.T) {
	for name, want := range map[string][2]int{
		"clone": {56, 220}, "ioctl": {16, 29}, "mount": {165, 40}, "umount2": {166, 39}, "keyctl": {250, 219},
		"unshare": {272, 97}, "setns": {308, 268}, "bpf": {321, 280}, "open": {2, absent}, "clone3": {435, 435},
	} {
		amd, _ := SyscallNumber(AMD64, name)
		arm, _ := SyscallNumber(ARM64, name)
		if amd != want[0] || arm != want[1] {
			t.Errorf("%s: %d and %d, want %d", name, amd, arm, want)
		}
	}
}

func TestTableIsSorted(t *testing.T) {
	if !slices.IsSortedFunc(syscalls, func(a, b syscallRow) int { return strings.Compare(a.name, b.name) }) {
		t.Error("the search by halves needs sorted names")
	}
}

func TestUnknownCalls(t *testing.T) {
	if nr, known := SyscallNumber(AMD64, "zzz"); nr >= 0 || known {
		t.Error(nr, known)
	}
	for _, nr := range []int{-1, 511} {
		if name := SyscallName(AMD64, nr); name != "" {
			t.Errorf("%d: %q", nr, name)
		}
	}
}
