package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Announcing is a filter that has the calls named wait until who listens to it lets them go on
// (seccomp_unotify(2)), and lets all others pass. It refuses nothing, so it is no wall: a call of another ABI
// passes unannounced. A name that an architecture lacks is none of its calls.
func Announcing(arch Arch, names ...string) ([]unix.SockFilter, error) {
	target, known := abiOf(arch)
	if !known {
		return nil, fmt.Errorf("a filter that announces calls: no table of system calls for architecture %q", arch)
	}
	var numbers []uint32
	for _, name := range names {
		if nr, known := SyscallNumber(arch, name); known && nr >= 0 {
			numbers = append(numbers, uint32(nr))
		}
	}
	jump := func(k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(yes), Jf: uint8(no), K: k}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(verdict uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
	}
	filter := []unix.SockFilter{load(offArch), jump(target.audit, 0, len(numbers)+1), load(offNr)}
	for i, nr := range numbers {
		filter = append(filter, jump(nr, len(numbers)-i, 0))
	}
	return append(filter, ret(unix.SECCOMP_RET_ALLOW), ret(unix.SECCOMP_RET_USER_NOTIF)), nil
}
