//go:build cgo

package userns

// withCgo: the C library of such a build registers memory of its own with the kernel (rseq(2)), which
// the kernel writes to in every thread, the child of a clone included.
const withCgo = true
