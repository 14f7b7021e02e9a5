package profiles

import (
	"slices"
	"strings"
	"testing"
)

func TestBuildEnv(t *testing.T) {
	got := BuildEnv(EnvInput{
		Caller: []string{
			"TERM=xterm", "LANG=C", "HOME=/home/u", "PATH=/a", "CI=1", "AWS_SECRET_ACCESS_KEY=s", "SSH_AUTH_SOCK=/x", "LC_TOKEN=t", "LC_ALL=C",
			"npm_config_x=1", "npm_config__authToken=s", "broken", "=x", "EDITOR=vi", "FLAG=f", "CI=2", "EQ=a=b",
		},
		Base:  map[string]string{"HOME": "/home/inside", "PATH": "/usr/bin", "USER": "u"},
		Pass:  []string{"CI", "npm_config_*", "NOT_THERE", "EQ"},
		Set:   map[string]string{"NODE_ENV": "dev", "EDITOR": "nano", "LANG": "de"},
		Flags: []string{"FLAG", "X=1=2", "LANG=fr", "EMPTY=", "GONE", ""},
	})
	want := []string{
		"CI=1", "EDITOR=nano", "EMPTY=", "EQ=a=b", "FLAG=f", "HOME=/home/inside", "LANG=fr", "LC_ALL=C", "NODE_ENV=dev",
		"PATH=/usr/bin", "TERM=xterm", "USER=u", "X=1=2", "npm_config_x=1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := BuildEnv(EnvInput{}); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestNamingASecretPassesIt(t *testing.T) {
	in := EnvInput{Caller: []string{"GH_TOKEN=t", "GH_HOST=h"}, Pass: []string{"GH_*"}}
	if got := BuildEnv(in); !slices.Equal(got, []string{"GH_HOST=h"}) {
		t.Errorf("by prefix: %q", got)
	}
	in.Pass = []string{"GH_TOKEN"}
	if got := BuildEnv(in); !slices.Equal(got, []string{"GH_TOKEN=t"}) {
		t.Errorf("by name: %q", got)
	}
}

func TestSafeEnvHoldsNoSecret(t *testing.T) {
	for _, s := range SafeEnv {
		if isSecret(s.Name) || strings.ContainsAny(s.Name, "*=") || s.Why == "" {
			t.Errorf("%+v", s)
		}
	}
	for _, n := range []string{
		"SSH_AUTH_SOCK", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "XAUTHORITY", "GPG_AGENT_INFO", "DOCKER_HOST", "HTTPS_PROXY", "http_proxy",
		"PIP_INDEX_URL", "GOPROXY", "GITHUB_TOKEN", "AWS_PROFILE", "KUBECONFIG", "LD_PRELOAD", "BASH_ENV", "ENV", "NODE_OPTIONS", "PYTHONPATH", "HOME", "PATH",
	} {
		if isSafe(n) {
			t.Errorf("%s passes by default", n)
		}
	}
}

func TestCheckEnvFlag(t *testing.T) {
	for s, ok := range map[string]bool{"A": true, "A=": true, "A=b=c": true, "A_*": true, "": false, "=x": false, "A=\x00": false, "*": false,
		"A*=x": false, "A*=": false, "*=x": false, "FOO\nBAR=x": false, "FOO\nBAR": false, "A\x1b=x": false, "A=x\ny*": true} {
		if err := CheckEnvFlag(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"network", "files", "limits", "mode"}
	for wrote, want := range map[string]string{"netwrok": "network", "Files": "files", "limit": "limits", "mod": "mode", "zzz": "", "": "", strings.Repeat("x", 1000): ""} {
		if got := nearest(wrote, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", wrote, got, want)
		}
	}
}
