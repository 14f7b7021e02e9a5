package profiles

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// parser reads one value as the TOML library gives it: string, int64, float64,
// bool, time.Time, []any or map[string]any. Flags give strings.
type parser[T any] func(b base, raw any) (T, error)

// typeName names the TOML type of a value.
func typeName(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	case time.Time:
		return "a date"
	}
	return "something else"
}

func text(raw any, like string) (string, error) {
	s, ok := raw.(string)
	if !ok {
		return "", faultf("write it in quotes, as in "+strconv.Quote(like), "takes a string, not %s", typeName(raw))
	}
	return s, nil
}

// word makes a parser out of one that reads a string; like is an example.
func word[T any](like string, parse func(s string) (T, error)) parser[T] {
	return func(_ base, raw any) (T, error) {
		s, err := text(raw, like)
		if err != nil {
			var zero T
			return zero, err
		}
		return parse(s)
	}
}

// oneOf parses one of the words given.
func oneOf[T ~string](words ...T) parser[T] {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return word(names[0], func(s string) (T, error) {
		for _, w := range words {
			if s == string(w) {
				return w, nil
			}
		}
		return "", faultf(didYouMean(s, names), "no such value %q", s)
	})
}

func parseBool(_ base, raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case string:
		return false, faultf("write true or false without quotes", "takes true or false, not a string")
	}
	return false, faultf("write true or false", "takes true or false, not %s", typeName(raw))
}

var sizeUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

const sizeHint = `write it as "512M", "4GiB" (1024s), "4GB" (1000s), or a number of bytes`

// parseSize reads a size: K, M, G and T, and KiB and so on, count in 1024s; KB
// and so on in 1000s.
func parseSize(_ base, raw any) (Size, error) {
	switch v := raw.(type) {
	case int64:
		return checkSize(float64(v), fmt.Sprint(v))
	case string:
		return sizeOf(v)
	}
	return 0, faultf(sizeHint, "takes a size, not %s", typeName(raw))
}

func sizeOf(s string) (Size, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	n := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '-' })
	if n < 0 {
		n = len(t)
	}
	unit, known := sizeUnits[strings.TrimSpace(t[n:])]
	v, err := strconv.ParseFloat(t[:n], 64)
	if err != nil || !known {
		return 0, faultf(sizeHint, "no such size %q", s)
	}
	return checkSize(v*unit, s)
}

func checkSize(v float64, wrote string) (Size, error) {
	switch {
	case v < 1:
		return 0, faultf(sizeHint, "size %q is not above zero", wrote)
	case v > 1<<60:
		return 0, faultf(sizeHint, "size %q is more than any machine has", wrote)
	}
	return Size(v), nil
}

// parseSwap reads a size that may be 0.
func parseSwap(b base, raw any) (Size, error) {
	if raw == int64(0) || raw == "0" {
		return 0, nil
	}
	return parseSize(b, raw)
}

// Text writes a size as people do: in the largest unit of 1024s that leaves at most one digit behind the point.
func (s Size) Text() string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(s), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + units[unit]
}

const timeHint = `write it with units, as in "90s", "30m" or "1h30m"`

// parseTime reads a length of time above zero.
func parseTime(_ base, raw any) (time.Duration, error) {
	s, ok := raw.(string)
	if !ok {
		return 0, faultf(timeHint, "takes a length of time, not %s", typeName(raw))
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, faultf(timeHint, "no such length of time %q", s)
	}
	if d <= 0 {
		return 0, faultf(timeHint, "length of time %q is not above zero", s)
	}
	return d, nil
}

const cpusHint = "write a number above zero, as in 2 or 0.5"

func parseCPUs(b base, raw any) (float64, error) {
	v, ok := b.number(raw).(float64)
	if n, whole := b.number(raw).(int64); whole {
		v, ok = float64(n), true
	}
	if !ok {
		return 0, faultf(cpusHint, "takes a number, not %s", typeName(raw))
	}
	if math.IsNaN(v) || v <= 0 || v > 1e5 {
		return 0, faultf(cpusHint, "no such number of processors %v", raw)
	}
	return v, nil
}

// number turns what a flag gives into a number; in a file a number in quotes
// is a wrong type.
func (b base) number(raw any) any {
	s, ok := raw.(string)
	if !ok || !b.flag {
		return raw
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return raw
}

const (
	pidsHint = "write a whole number above zero, as in 512"
	maxPids  = 1 << 22 // the kernel's PID_MAX_LIMIT
)

func parsePids(b base, raw any) (int64, error) {
	n, ok := b.number(raw).(int64)
	if !ok {
		return 0, faultf(pidsHint, "takes a whole number, not %s", typeName(raw))
	}
	if n <= 0 || n > maxPids {
		return 0, faultf(pidsHint, "no such number of processes %d", n)
	}
	return n, nil
}

const weightHint = "write a whole number from 1 to 10000; what sets none has 100"

// parseWeight reads a share of what several want: cpu.weight and io.weight of cgroup v2.
func parseWeight(b base, raw any) (int64, error) {
	n, ok := b.number(raw).(int64)
	if !ok {
		return 0, faultf(weightHint, "takes a whole number, not %s", typeName(raw))
	}
	if n < 1 || n > 10000 {
		return 0, faultf(weightHint, "no such weight %d", n)
	}
	return n, nil
}

const (
	cpuSetHint = `write numbers and ranges, as in "0-3,6"`
	maxCPU     = 8192 // above the largest CONFIG_NR_CPUS
)

func parseCPUSet(s string) (CPUSet, error) {
	if list, ok := CPUSet(s).numbers(); !ok || len(list) == 0 {
		return "", faultf(cpuSetHint, "no such set of processors %q", s)
	}
	return CPUSet(s), nil
}

// Numbers are the processors of a set, in ascending order.
func (c CPUSet) Numbers() []int {
	list, _ := c.numbers()
	return list
}

func (c CPUSet) numbers() (list []int, ok bool) {
	for part := range strings.SplitSeq(string(c), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || last < first || last >= maxCPU {
			return nil, false
		}
		for n := first; n <= last; n++ {
			list = append(list, int(n))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), true
}

const userHint = `write "me", "root", or a number as in "1000" or "1000:1000"`

// parseUser reads me, root or UID[:GID]. The highest 32-bit number means "no
// change" to the kernel, so it is no id.
// ParseUser reads me, root or UID[:GID].
func ParseUser(s string) (User, error) {
	u, err := parseUser(s)
	if err != nil {
		return u, Errors{errorAt(Origin{Layer: LayerFlag, Flag: "--user"}, err)}
	}
	return u, nil
}

func parseUser(s string) (User, error) {
	switch s {
	case "me", "root":
		return User{Kind: UserKind(s)}, nil
	}
	u := User{Kind: UserID}
	uid, gid, hasGID := strings.Cut(s, ":")
	var err error
	if u.UID, err = parseID(uid); err != nil {
		return User{}, faultf(userHint, "no such user %q", s)
	}
	if !hasGID {
		return u, nil
	}
	u.HasGID = true
	if u.GID, err = parseID(gid); err != nil {
		return User{}, faultf(userHint, "no such group in %q", s)
	}
	return u, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == math.MaxUint32 || strings.HasPrefix(s, "+") {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// isName accepts what may name a profile, task, variant or volume: no slash,
// no leading dot, nothing that a terminal would not show.
func isName(s string) bool {
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", r)) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// IsVolumeName tells whether a volume can have this name.
func IsVolumeName(s string) bool { return isName(s) }

const nameHint = "a name has letters, digits, dots, dashes and underscores, and starts with a letter or digit"

func parseName(s string) (string, error) {
	if !isName(s) {
		return "", faultf(nameHint, "no name of a profile: %q", s)
	}
	return s, nil
}

// parseLine reads a string of the user's that must have something in it and
// must not be able to end early.
func parseLine(s string) (string, error) {
	if s == "" {
		return "", faultf("", "is empty")
	}
	if strings.ContainsRune(s, 0) {
		return "", faultf("", "has a NUL byte in it")
	}
	return s, nil
}

// parseReference reads a name of an image, or a registry's HOST[:PORT].
func parseReference(s string) (string, error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", faultf(`write it as in "ubuntu:24.04"`, "no name of an image or registry: %q", s)
	}
	return s, nil
}

// parseEnvName reads the name of a variable.
func parseEnvName(s string) (string, error) {
	switch {
	case s == "":
		return "", faultf("", "a variable without a name")
	case strings.ContainsRune(s, '='):
		return "", faultf("values are given by [env] set", "the name of a variable has no =: %q", s)
	case strings.ContainsRune(s, 0):
		return "", faultf("", "the name of a variable has no NUL byte: %q", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", faultf("", "the name of a variable has no line breaks or other control characters: %q", s)
	}
	return s, nil
}

// parsePass reads an entry of [env] pass: a name, or a prefix and *. A lone *
// would pass everything, secrets not known as such included.
func parsePass(s string) (string, error) {
	prefix, _ := strings.CutSuffix(s, "*")
	if prefix == "" && s != "" {
		return "", faultf("name each variable, or a prefix as in \"npm_config_*\"", "passing every variable is not possible")
	}
	if strings.ContainsRune(prefix, '*') {
		return "", faultf("", "a * may only end the name of a variable: %q", s)
	}
	return parseEnvName(s)
}

func parseEnvValue(s string) (string, error) {
	if strings.ContainsRune(s, 0) {
		return "", faultf("", "a variable's value has no NUL byte")
	}
	return s, nil
}

// parseCap reads a capability in any case, with or without CAP_.
func parseCap(s string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	for _, c := range capabilities {
		if c == name {
			return "CAP_" + c, nil
		}
	}
	return "", faultf(didYouMeanCap(name), "no such capability %q", s)
}

// parseSyscall reads a name; whether the kernel has it, and may be asked, is known where the filter is made.
func parseSyscall(s string) (string, error) {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
			return "", faultf("a name as in syscalls(2)", "no name of a system call: %q", s)
		}
	}
	if s == "" {
		return "", faultf("a name as in syscalls(2)", "no name of a system call")
	}
	return s, nil
}

func didYouMeanCap(name string) string {
	if n := nearest(name, capabilities); n != "" {
		return fmt.Sprintf("did you mean %q?", "CAP_"+n)
	}
	return "capabilities(7) lists them"
}

var capabilities = strings.Fields(`
	CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
	AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
	PERFMON BPF CHECKPOINT_RESTORE`)
