// Package nofile knows the limit on open files that this process was started with.
//
// The Go runtime raises the soft RLIMIT_NOFILE to the hard one in package syscall's init, and a payload must get what
// its caller had (programs that close every possible descriptor in a loop take minutes otherwise). So the limit is
// read before that: Go initialises packages in the order of their dependencies and, where these leave a choice, of
// their import paths. This package depends on nothing, and sbx/host/nofile sorts before syscall. Hence the rule of
// this package: no imports but unsafe, and the system call in assembly.
//
// Not in scope: setting limits.
package nofile

import "unsafe"

// Limit is struct rlimit64 of getrlimit(2).
type Limit struct{ Soft, Hard uint64 }

// AtStart is the limit before the runtime raised it; zero if the kernel refused to tell.
var AtStart = read()

func read() (l Limit) {
	if prlimitNoFile(unsafe.Pointer(&l)) != 0 {
		return Limit{}
	}
	return l
}

// prlimitNoFile is prlimit64(0, RLIMIT_NOFILE, NULL, limit); it returns the raw result, a negative errno on failure.
//
//go:noescape
func prlimitNoFile(limit unsafe.Pointer) int
