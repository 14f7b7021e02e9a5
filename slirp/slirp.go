// Package slirp holds a sandbox's network: today its own loopback, or the host's network.
//
// In scope: which namespace a mode needs and the steps of the plan that make it usable. Not in
// scope: what a mode is called or allowed, which is the profile's.
package slirp

import (
	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Host is the mode that shares the host's network.
const Host = "host"

// Namespaces are the CLONE_NEW* flags of a mode.
func Namespaces[M ~string](mode M) uintptr {
	if mode == Host {
		return 0
	}
	return unix.CLONE_NEWNET
}

// Steps make the network of a mode usable, inside it.
func Steps[M ~string](mode M) []userns.Step {
	if mode == Host {
		return nil
	}
	return userns.LoopbackUp("bringing up the loopback interface")
}
