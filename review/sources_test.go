package review

import (
	"strings"
	"testing"
)

// A folder from which something came that runs later, and is told by itself, stays with it.
func TestHeldSources(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "mkdir -p a/deep b c; echo x >a/deep/run; chmod 755 a/deep/run; echo y >a/y; echo z >b/z; echo 12345 >c/run")
		p.sandbox("mkdir new; cp -a a new/a; echo more >new/a/more; chmod 777 new/a/deep/run; rm -r a b c")
		why := map[string]string{}
		for _, c := range p.changes() {
			if c.Kind == Deleted {
				why[c.Path] = c.Later
			}
		}
		if len(why) != 3 || why["a"] == "" || why["b"] != "" || why["c"] != "" {
			t.Errorf("deleted, with why they stay: %q", why)
		}
	})
}

// What the sandbox names its files cannot keep a review from being made: a path that is too long below a folder that goes.
// Nobody knows what that holds then, so it stays.
func TestHeldSourcesLongPath(t *testing.T) {
	goes := strings.Repeat("g", 100)
	p := newProject(t, Overlay, "mkdir "+goes+"; echo y >"+goes+"/y")
	p.sandbox("rm -r " + goes + "; for i in $(seq 20); do d=$(printf %0199d $i); mkdir $d; cd $d; done; echo 1 >run; chmod 755 run")
	for _, c := range p.changes() {
		if c.Path == goes && c.Later == "" {
			t.Error("a folder goes of which nobody knows what it holds")
		}
	}
}
