//go:build walls

package sandbox

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/userns"
)

// Namespaces that SBX_LEAVE_OUT can name.
var walls = map[string]uintptr{
	"pid namespace": unix.CLONE_NEWPID, "network namespace": unix.CLONE_NEWNET,
	"ipc namespace": unix.CLONE_NEWIPC, "uts namespace": unix.CLONE_NEWUTS, "mount namespace": unix.CLONE_NEWNS,
}

// copyWall is the name of the wall that is no step.
const copyWall = "copy of sbx"

func wallsLeftOut() []string {
	return strings.FieldsFunc(os.Getenv("SBX_LEAVE_OUT"), func(r rune) bool { return r == ';' })
}

// leftOut tells whether that one is left out.
func leftOut(wall string) bool { return slices.Contains(wallsLeftOut(), wall) }

// leaveOut takes walls out of a plan, to prove that the attacks on them attack. SBX_LEAVE_OUT names them, parted by
// semicolons: namespaces by name, steps by a regular expression for what they are for, a colon, and the call. It ends
// the process where one fits nothing, so that no proof holds by a misspelling.
func leaveOut(p *userns.Plan) *userns.Plan {
	for _, wall := range wallsLeftOut() {
		if wall == copyWall {
			continue
		}
		if flag := walls[wall]; flag != 0 {
			p.Namespaces &^= flag
			continue
		}
		init, payload := len(p.Init), len(p.Payload)
		p.Init, p.Payload = without(p.Init, wall), without(p.Payload, wall)
		if len(p.Init) == init && len(p.Payload) == payload {
			panic("no step of the plan matches SBX_LEAVE_OUT=" + wall)
		}
	}
	return p
}

func without(steps []userns.Step, wall string) []userns.Step {
	matches := regexp.MustCompile(wall)
	return slices.DeleteFunc(steps, func(s userns.Step) bool { return matches.MatchString(s.Do + ": " + s.String()) })
}
