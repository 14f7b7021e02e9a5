//go:build cgo

package main

// withCgo: in such a build threads of the C library are none of the Go runtime's, which then cannot confine
// all of them (syscall.AllThreadsSyscall).
const withCgo = true
