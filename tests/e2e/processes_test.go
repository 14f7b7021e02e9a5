package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type process struct {
	pid, parent   int
	comm, cmdline string
}

// processes lists every process that is not a zombie.
func processes() []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var list []process
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		// The name stands in parentheses and may itself hold any.
		open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		fields := strings.Fields(string(stat[end+1:]))
		if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		parent, _ := strconv.Atoi(fields[1])
		list = append(list, process{pid, parent, string(stat[open+1 : end]),
			strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))})
	}
	return list
}

// descendants lists the processes below this one. As it is a subreaper, orphans and daemons are among them; what it was
// born with is not: a service manager leaves the keeper of a PAM session there.
func descendants() []process {
	below := map[int]bool{os.Getpid(): true}
	all := processes()
	var list []process
	for range 100 { // children may stand before their parents
		found := false
		for _, p := range all {
			if below[p.parent] && !below[p.pid] && !bornWith[p.pid] {
				below[p.pid], found = true, true
				list = append(list, p)
			}
		}
		if !found {
			break
		}
	}
	return list
}

// bornWith are the children that this process had when it became a test.
var bornWith = map[int]bool{}

func rememberChildren() {
	for _, p := range descendants() {
		bornWith[p.pid] = true
	}
}

// withToken lists the processes whose command line holds token.
func withToken(token string) []process {
	var list []process
	for _, p := range processes() {
		if strings.Contains(p.cmdline, token) {
			list = append(list, p)
		}
	}
	return list
}
