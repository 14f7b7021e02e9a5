package sandbox

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sbx/userns"
)

// A wall is a step whose absence lets an attack through: the scripts walls* leave out each, by this
// pattern, and show the attack. A step that is none either builds what the payload needs, so that the start fails without it, or is said
// here to be no wall.
var planWalls = []string{
	"dropping supplementary groups", "cutting mount propagation", "making a cgroup namespace", "showing.*RDONLY", "showing.*NODEV", "hiding",
	"hiding /proc", "hiding PID 1", "locking", "making the root file system: fsconfig.*size", "entering the root file system: mount_setattr",
	"detaching the old root", "joining a fresh session keyring", "forbidding new privileges", "dropping capabilities for good",
	"dropping capabilities: ", "confining files with Landlock", "installing the seccomp filter", "making a session", "limiting cores",
	"limiting open files", "limiting processes",
}

var noWalls = []string{
	"waiting for ", "bringing up the loopback interface", "making the root file system: ", "making /", "linking /", "showing ", "writing /",
	"mounting ", "entering the ", "setting the host name", "restoring the umask", "executing ", "opening ", "making the sandbox's own layer",
	"holding back what changes in ", "detaching the file system in memory", "taking the ", "making the network device", "making a time namespace",
	"handing out ",
	// The kernel empties the set with a new user namespace: nothing shows whether this is done.
	"dropping ambient capabilities",
	// The process of the clone has closed all others before, and each of the plan's own closes on exec.
	"closing all other descriptors",
	// For layers, what the size is for the host's root.
	"limiting what is in memory",
}

// A new kind of step has to be said to be a wall or none, and a wall to have its attack.
func TestEveryWallIsAttacked(t *testing.T) {
	var script []byte
	for _, name := range []string{"walls", "walls_shown", "walls_steps", "walls_root"} {
		b, err := os.ReadFile("../tests/e2e/" + name + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		script = append(script, b...)
	}
	seen := map[string]bool{}
	for name, s := range specs() {
		plan := Compile(s)
		for _, step := range append(append([]userns.Step{}, plan.Init...), plan.Payload...) {
			text := step.Do + ": " + step.String()
			known := false
			for _, wall := range planWalls {
				if regexp.MustCompile(wall).MatchString(text) {
					known, seen[wall] = true, true
				}
			}
			for _, no := range noWalls {
				known = known || strings.HasPrefix(text, no)
			}
			if !known {
				t.Errorf("%s: is %q a wall, which tests/e2e/walls.txtar leaves out, or none?", name, text)
			}
		}
	}
	for _, wall := range planWalls {
		if !seen[wall] {
			t.Errorf("no step is the wall %q", wall)
		}
		if !regexp.MustCompile(`(?m)^env SBX_LEAVE_OUT='?(.*;)?` + regexp.QuoteMeta(wall) + `(;.*)?'?$`).Match(script) {
			t.Errorf("no tests/e2e/walls*.txtar leaves %q out", wall)
		}
	}
}
