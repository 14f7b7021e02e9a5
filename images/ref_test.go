package images

import (
	"errors"
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	aliases := map[string]string{"ubuntu": "mirror.example/base/ubuntu:24.04", "deep": "a.example/b@sha256:" + strings.Repeat("a", 64)}
	sum := "sha256:" + strings.Repeat("0", 64)
	for in, want := range map[string]string{
		"debian":                          "docker.io/library/debian:latest",
		"debian:12":                       "docker.io/library/debian:12",
		"user/app":                        "docker.io/user/app:latest",
		"localhost/app":                   "localhost/app:latest",
		"127.0.0.1:5000/a/b:c":            "127.0.0.1:5000/a/b:c",
		"[::1]:5000/a":                    "[::1]:5000/a:latest",
		"reg.example/a/b__c.d-e":          "reg.example/a/b__c.d-e:latest",
		"debian@" + sum:                   "docker.io/library/debian@" + sum,
		"debian:12@" + sum:                "docker.io/library/debian@" + sum,
		"index.docker.io/library/x":       "docker.io/library/x:latest",
		"ubuntu":                          "mirror.example/base/ubuntu:24.04",
		"ubuntu:22.04":                    "mirror.example/base/ubuntu:22.04",
		"deep":                            aliases["deep"],
		"other.example:443/ubuntu:latest": "other.example:443/ubuntu:latest",
	} {
		got, err := ParseRef(in, aliases)
		if err != nil || got.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", "@", "UPPER", "a//b", "/a", "a/", "a b", "a:b:c", "a@sha256:12", "a@md5:" + strings.Repeat("0", 64), "a:" + strings.Repeat("t", 129),
		"../x", "a/../b", "a.example/../../etc", "reg.example:port/a", "reg.example:/a", "-a.example/x", "a\x00b", "a\x1b[31m", strings.Repeat("a", 300), "a:.b", "[::1/x",
	} {
		var wrong *RefError
		if got, err := ParseRef(in, nil); !errors.As(err, &wrong) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// What is in a record is filed below the store, whatever the name.
func TestFilesStayInTheStore(t *testing.T) {
	s := &Store{Dir: "/store"}
	for _, path := range []string{s.RefFile("../../etc/passwd"), s.Layout("x") + "/" + LayerName("../../x")} {
		if strings.Contains(path, "..") {
			t.Error(path)
		}
	}
}

func TestParseManifest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("1", 64)
	layer := `{"digest":"` + digest + `","size":1}`
	good := `{"schemaVersion":2,"config":` + layer + `,"layers":[` + layer + `]}`
	if _, err := ParseManifest([]byte(good)); err != nil {
		t.Error(err)
	}
	for name, in := range map[string]string{
		"empty":            ``,
		"html":             `<html>login</html>`,
		"both":             `{"schemaVersion":2,"manifests":[],"layers":[],"config":` + layer + `}`,
		"index":            `{"schemaVersion":2,"manifests":[]}`,
		"schema 1":         `{"schemaVersion":1,"fsLayers":[]}`,
		"version":          `{"schemaVersion":3,"config":` + layer + `,"layers":[]}`,
		"digest of a path": `{"schemaVersion":2,"config":{"digest":"sha256:../../../../etc/passwd"},"layers":[]}`,
		"negative size":    `{"schemaVersion":2,"config":{"digest":"` + digest + `","size":-1},"layers":[]}`,
		"no config":        `{"schemaVersion":2,"layers":[]}`,
		"500 layers":       `{"schemaVersion":2,"config":` + layer + `,"layers":[` + strings.Repeat(layer+",", 499) + layer + `]}`,
	} {
		var damaged *DamagedError
		if _, err := ParseManifest([]byte(in)); !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"config":{"digest":"x"},"layers":[{}]}`,
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"x","platform":{"os":"linux","architecture":"amd64"}}]}`,
		`{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":1},"layers":[{"digest":"sha256:` + strings.Repeat("1", 64) + `","size":9,"urls":["file:///etc/passwd"]}],
		"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("2", 64) + `"]},"os":"linux","config.User":"-1"}`,
		`{"config":{"User":"0:0:0","Env":["A","=B","LD_PRELOAD=x"],"WorkingDir":"/proc/self/fd/7","Volumes":{"/":{}}},"rootfs":{"diff_ids":null}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err == nil && !IsDigest(m.Config.Digest) {
			t.Errorf("a manifest with the configuration %q", m.Config.Digest)
		}
		NewImage(Record{}, data, data)
		IsIndex(data)
		ParseIndex(data)
	})
}

func TestTopLinksAndAccounts(t *testing.T) {
	first, second := "first", "second"
	metas := []Meta{
		{Passwd: &first, Links: map[string]string{"lib": "usr/lib", "bin": "usr/bin", "var/run": "/run"}},
		{Folders: []string{"bin"}, Gone: []string{"var/"}},
	}
	links := TopLinks(metas)
	if len(links) != 1 || links["/lib"] != "usr/lib" {
		t.Errorf("links are %v", links)
	}
	if got := Account(metas, "etc/passwd"); got != first {
		t.Errorf("passwd is %q", got)
	}
	if got := Account(append(metas, Meta{Gone: []string{"etc"}}), "etc/passwd"); got != "" {
		t.Errorf("passwd of a folder that is gone is %q", got)
	}
	if got := Account(append(metas, Meta{Passwd: &second}), "etc/passwd"); got != second {
		t.Errorf("passwd is %q", got)
	}
}
