// Package slirp holds a sandbox's network: today its own loopback, or the host's network.
//
// In scope: which namespace a mode needs and the steps of the plan that make it usable. Not in
// scope: what a mode is called or allowed, which is the profile's.
package slirp

import (
	"strings"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Host is the mode that shares the host's network.
const Host = "host"

// joins tells whether a mode is another sandbox's network, which that one has made usable.
func joins[M ~string](mode M) bool { return strings.HasPrefix(string(mode), "join:") }

// Namespaces are the CLONE_NEW* flags of a mode.
func Namespaces[M ~string](mode M) uintptr {
	if mode == Host || joins(mode) {
		return 0
	}
	return unix.CLONE_NEWNET
}

// Steps make the network of a mode usable, inside it.
func Steps[M ~string](mode M) []userns.Step {
	if mode == Host || joins(mode) {
		return nil
	}
	return userns.LoopbackUp("bringing up the loopback interface")
}
