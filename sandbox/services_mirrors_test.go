package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sbx/slirp"
)

// apt names a list of mirrors as it stands in its sources; what is on it is reached.
func TestAptMirrorLists(t *testing.T) {
	list := filepath.Join(t.TempDir(), "mirrors")
	if err := os.WriteFile(list, []byte("http://first.test/debian/\tpriority:1\n# http://no.test/\n\nhttps://second.test:8443/debian/ type:deb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"mirror+file:" + list, "mirror+file://" + list} {
		f := &finder{ask: func(...string) (string, error) { return form + "\nhttp://third.test/\n", nil }}
		found, err := f.apt()
		var names []string
		for _, e := range found {
			if r, ok := e.rule(); ok {
				names = append(names, ruleWords(r))
			}
		}
		if want := []string{"first.test:80", "second.test:8443", "third.test:80"}; err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %v, %v", form, names, err)
		}
	}
}

// npm is told not to try again where its registry is not on the allowlist, and only there.
func TestNpmWithoutItsRegistry(t *testing.T) {
	for _, c := range []struct {
		rule  slirp.Rule
		quick bool
	}{
		{slirp.Rule{Name: "other.test"}, true},
		{slirp.Rule{Name: "registry.test", Port: 8080}, true},
		{slirp.Rule{Name: "registry.test"}, false},
		{slirp.Rule{Name: "registry.test", Port: 443}, false},
		{slirp.Rule{Name: "test", Wildcard: true}, false},
		{slirp.Rule{Name: "registry.test", Wildcard: true}, true},
		{slirp.Rule{Prefix: "10.0.0.0/8"}, true},
	} {
		f := &finder{environ: map[string]string{"npm_config_registry": "https://registry.test/npm/"}, home: t.TempDir(), set: map[string]string{}}
		f.quickRefusal([]slirp.Rule{c.rule})
		if got := f.set[npmRetries] == "0"; got != c.quick || len(f.set) > 1 {
			t.Errorf("%+v: %v", c.rule, f.set)
		}
	}
}
