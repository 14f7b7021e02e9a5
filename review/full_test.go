package review

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A disk that is full from any step on, of the project, of the journals or of both, leaves what was before or what was
// agreed; and once there is room, the next call makes it one of the two, which undo takes back.
func TestDiskFullAtEveryStep(t *testing.T) {
	for name, disks := range map[string]struct{ mount, journals, fill string }{
		"one disk":             {"true", "$P/.journals", "$P/.full"},
		"that of the journals": {"mount -t tmpfs -o size=1m none $J", "$J/j", "$J/full"},
		"that of the project":  {"mount -t tmpfs -o size=1m none $J", "$J/j", "$P/.full"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, Overlay, someFiles+"; head -c 200k /dev/zero >large").sandbox(someChanges + "; head -c 200k /dev/urandom >large")
			other := filepath.Join(filepath.Dir(p.dir), "other")
			p.sh(p.dir, "mkdir "+other)
			for _, do := range []string{"overwrite", "undo"} {
				steps := 0
				for at := 2; ; at += 3 * stride() {
					script := fmt.Sprintf(`P=%s J=%s; %s; mount -t tmpfs -o size=1m none $P; cd $P; export REVIEW_JOURNALS=%s
						%s; head -c 200k /dev/zero >large
						sum() { find . -mindepth 1 \( -path './.[jf]*' -prune -o -printf '%%p %%y %%m %%l\n' \) | sort; find . -type f -not -path './.[jf]*' -print0 | sort -z | xargs -0 sha256sum; }
						call() { REVIEW_DO=$1 %s; }
						before=$(sum)
						call overwrite; after=$(sum); call undo; test "$before" = "$(sum)"
						test %s = overwrite || { call overwrite; }
						if REVIEW_STEP=%d REVIEW_FILL=%s call %s; then echo well; else echo failed; fi
						rm -f %s
						call recover
						now=$(sum)
						test "$now" = "$before" && echo before || { test "$now" = "$after" && echo after || { echo "between: $now, $before, $after"; exit 1; }; }
						test "$now" = "$before" || { call undo; test "$before" = "$(sum)"; }`,
						p.dir, other, disks.mount, disks.journals, someFiles, os.Args[0], do, at, disks.fill, do, disks.fill)
					cmd := exec.Command("unshare", "-Urm", "sh", "-euc", script)
					cmd.Env = append(os.Environ(), "REVIEW_HELD="+p.held)
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s, full at step %d: %v\n%s", do, at, err, out)
					}
					said := string(out)
					if !strings.Contains(said, "full") {
						break
					}
					want := map[string]string{"overwrite": "after", "undo": "before"}[do]
					if strings.Contains(said, "well") && !strings.Contains(said, want) {
						t.Fatalf("%s, full at step %d, said that all was well: %s", do, at, said)
					}
					steps++
				}
				t.Logf("%s: full at %d steps", do, steps)
				if steps < 2 {
					t.Errorf("%s was not interrupted: %d steps", do, steps)
				}
			}
		})
	}
}
