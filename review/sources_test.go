package review

import "testing"

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
