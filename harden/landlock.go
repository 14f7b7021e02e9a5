package harden

import "golang.org/x/sys/unix"

// Landlock is the second wall before files: whatever descriptor or path the payload gets hold of, it
// can open only what lies below its own root. So a file that is its stdin cannot be opened again for
// writing through /proc/self/fd, and a folder outside that a descriptor leads to stays shut.
// Landlock(7), Documentation/userspace-api/landlock.rst.
type Landlock struct {
	// ABI is the kernel's; 0 where there is no Landlock.
	ABI int `json:"abi"`
	// Files are the LANDLOCK_ACCESS_FS_* rights that are handled; all are given below the root.
	Files uint64 `json:"files"`
	// Scopes are the LANDLOCK_SCOPE_* bits.
	Scopes uint64 `json:"scopes"`
}

// Rights to a single file, for the streams that the caller hands in.
const (
	LandlockReadFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	LandlockWriteFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	LandlockTruncate  = unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// landlockSteps is what each ABI adds. ABI 1 is left out: under it every rename from one folder to
// another fails (no LANDLOCK_ACCESS_FS_REFER).
var landlockSteps = []struct {
	abi           int
	files, scopes uint64
}{
	{2, 1<<14 - 1, 0}, // EXECUTE to MAKE_SYM, and REFER
	{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0},
	{6, 0, landlockScopes},
}

// landlockScopes: abstract sockets and signals, both only within the domain.
const landlockScopes = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL

// LandlockFor is the wall that a kernel of this ABI can build.
func LandlockFor(abi int) Landlock {
	l := Landlock{ABI: abi}
	for _, s := range landlockSteps {
		if abi >= s.abi {
			l.Files |= s.files
			l.Scopes |= s.scopes
		}
	}
	return l
}

// LandlockABI asks the kernel: landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION.
func LandlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}
