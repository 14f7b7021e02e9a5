package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long a sandbox has to live before its supervisor gives memory back.
const settled = 300 * time.Millisecond

// shrinkLater gives back what the supervisor needed for the start alone, once the sandbox turns out
// to be no short one: some stay open beside the editor all day.
func (r *Running) shrinkLater() {
	go func() {
		if !r.endedWithin(settled) {
			debug.FreeOSMemory()
			dropProgram()
		}
	}()
}

// dropProgram lets go of the pages of this program's own file (madvise(2), MADV_DONTNEED). They are
// clean: those that are needed again come back from the page cache.
func dropProgram() {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[4] == "0" || strings.HasPrefix(fields[1], "rw") {
			continue
		}
		var start, end uintptr
		if n, _ := fmt.Sscanf(fields[0], "%x-%x", &start, &end); n == 2 {
			unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
		}
	}
}
