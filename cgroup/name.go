package cgroup

import (
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// prefix is that of all groups that sbx makes, by which those that were left are found.
const prefix = "sbx-"

// unique is a name that no other group has, not even of a sandbox that starts in the same moment.
func unique(name string) (string, error) {
	var random [6]byte
	if n, err := unix.Getrandom(random[:], 0); n != len(random) {
		return "", fmt.Errorf("finding a name for the cgroup: %w", err)
	}
	if name == "" {
		name = "run"
	}
	return prefix + name + "-" + hex.EncodeToString(random[:]), nil
}
