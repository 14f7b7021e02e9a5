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

// dropProgram lets go of the pages of this program's own file, and of its libraries' (madvise(2),
// MADV_DONTNEED). They are clean: those that are needed again come back from the page cache.
func dropProgram() {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer maps.Close()
	var start, end uintptr
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			if start, end = 0, 0; droppable(fields) {
				fmt.Sscanf(fields[0], "%x-%x", &start, &end)
			}
		case end > 0 && fields[0] == "Anonymous:" && fields[1] == "0":
			unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
		}
	}
}

// droppable tells of a mapping, by the first line that proc_pid_smaps(5) has for it, whether it is of a file
// and not written to. Its pages may be changed all the same: what a loader has relocated is made read-only after.
// Only a mapping in which none is (Anonymous: 0) comes back as it was.
func droppable(fields []string) bool {
	return len(fields) >= 6 && fields[4] != "0" && !strings.HasPrefix(fields[1], "rw")
}
