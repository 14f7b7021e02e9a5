package host

import "sbx/host/nofile"

// NoFile is the limit on open files that sbx was started with (getrlimit(2), RLIMIT_NOFILE), before the Go runtime
// raised the soft one: what a payload must get.
func NoFile() (soft, hard uint64) { return nofile.AtStart.Soft, nofile.AtStart.Hard }
