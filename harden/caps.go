package harden

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Cap is a capability by its number.
type Cap uint8

// capNames are the capabilities in order of their numbers, which are the indices
// (include/uapi/linux/capability.h, as of Linux 5.9; none came since).
var capNames = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// String is the kernel's name of the capability, such as CAP_NET_ADMIN.
func (c Cap) String() string {
	if int(c) < len(capNames) {
		return "CAP_" + strings.ToUpper(capNames[c])
	}
	return fmt.Sprintf("CAP_%d", uint8(c))
}

// CapNames are the names of the capabilities of a set: bit n stands for capability n.
func CapNames(set uint64) (names []string) {
	for c := Cap(0); c < 64; c++ {
		if set>>c&1 != 0 {
			names = append(names, c.String())
		}
	}
	return names
}

// An UnknownCapError is a name that no capability has.
type UnknownCapError struct {
	Name       string
	Suggestion string // the nearest name, or ""
}

func (e *UnknownCapError) Error() string {
	text := fmt.Sprintf("no capability %q", e.Name)
	if e.Suggestion != "" {
		text += fmt.Sprintf(": did you mean %q?", e.Suggestion)
	}
	return text
}

// ParseCap reads a name such as net_admin or CAP_NET_ADMIN, in either case. The error is an *UnknownCapError.
func ParseCap(name string) (Cap, error) {
	short := strings.TrimPrefix(strings.ToLower(name), "cap_")
	for i, n := range capNames {
		if n == short {
			return Cap(i), nil
		}
	}
	return 0, &UnknownCapError{name, nearestCap(short)}
}

// nearestCap is the name with the fewest edits, if a third of its letters at most are wrong.
func nearestCap(short string) string {
	best, least := "", len(short)
	for _, n := range capNames {
		if d := edits(short, n); d < least && 3*d <= len(n) {
			best, least = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// LastCap is the highest capability of the running kernel: the bounding set goes from 0 to here. A kernel
// younger than this table has more than it has names for, and those have to go as well.
func LastCap() (Cap, error) {
	const file = "/proc/sys/kernel/cap_last_cap"
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading the last capability: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 8)
	if err != nil {
		return 0, fmt.Errorf("reading the last capability from %s: %w", file, err)
	}
	return Cap(n), nil
}
