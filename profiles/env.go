package profiles

import (
	"maps"
	"slices"
	"strings"
)

// SafeName is a variable that passes into a sandbox by default.
type SafeName struct{ Name, Why string }

// SafeEnv lists every variable of the caller's that passes without being
// named. HOME, USER, LOGNAME, SHELL and PATH are set to what is true inside.
// Nothing is here that may hold a token, a socket (SSH_AUTH_SOCK, DISPLAY,
// XDG_RUNTIME_DIR, DBUS_*) or an address with credentials in it (*_PROXY,
// *_INDEX_URL), and no pattern, since anybody may name a variable LC_TOKEN.
var SafeEnv = []SafeName{
	{"TERM", "what the terminal understands"},
	{"COLORTERM", "what the terminal understands"},
	{"LANG", "language"},
	{"LANGUAGE", "language"},
	{"LC_ALL", "language"},
	{"LC_ADDRESS", "language"},
	{"LC_COLLATE", "language"},
	{"LC_CTYPE", "language"},
	{"LC_IDENTIFICATION", "language"},
	{"LC_MEASUREMENT", "language"},
	{"LC_MESSAGES", "language"},
	{"LC_MONETARY", "language"},
	{"LC_NAME", "language"},
	{"LC_NUMERIC", "language"},
	{"LC_PAPER", "language"},
	{"LC_TELEPHONE", "language"},
	{"LC_TIME", "language"},
	{"TZ", "time zone"},
	{"NO_COLOR", "whether output has colours"},
	{"CLICOLOR", "whether output has colours"},
	{"CLICOLOR_FORCE", "whether output has colours"},
	{"FORCE_COLOR", "whether output has colours"},
	{"LS_COLORS", "which colours"},
	{"EDITOR", "which program edits"},
	{"VISUAL", "which program edits"},
	{"PAGER", "which program pages"},
	{"LESS", "how the pager behaves"},
	{"SOURCE_DATE_EPOCH", "the date that reproducible builds use"},
}

func isSafe(name string) bool {
	return slices.ContainsFunc(SafeEnv, func(s SafeName) bool { return s.Name == name })
}

// secretParts mark names that a prefix with * never passes; such a variable
// must be named in full.
var secretParts = []string{
	"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "AUTH", "APIKEY", "API_KEY",
	"ACCESS_KEY", "PRIVATE_KEY", "SESSION", "COOKIE", "_PAT", "_KEY", "_SOCK", "_PROXY", "_DSN", "_URL", "_URI",
}

func isSecret(name string) bool {
	upper := strings.ToUpper(name)
	return slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(upper, p) })
}

// EnvInput is what BuildEnv builds from, weakest first: the safe names of
// Caller, then Base, Pass, Set, Flags.
type EnvInput struct {
	Caller []string          // KEY=VALUE, as of os.Environ
	Base   map[string]string // what is true inside: HOME, USER, LOGNAME, SHELL, PATH
	Pass   []string          // [env] pass: names, or a prefix and *, which passes no secret
	Set    map[string]string // [env] set
	Flags  []string          // --env: KEY passes the caller's value, KEY=VALUE sets
}

// BuildEnv returns the environment of the payload, sorted by name. A name that
// the caller does not have is not passed.
func BuildEnv(in EnvInput) []string {
	caller := callerEnv(in.Caller)
	env := map[string]string{}
	for _, s := range SafeEnv {
		pass(env, caller, s.Name)
	}
	maps.Copy(env, in.Base)
	for _, p := range in.Pass {
		pass(env, caller, p)
	}
	maps.Copy(env, in.Set)
	for _, f := range in.Flags {
		if name, value, sets := strings.Cut(f, "="); sets {
			env[name] = value
		} else {
			pass(env, caller, name)
		}
	}
	return sortedEnv(env)
}

// CheckEnvFlag says what is wrong with a value of --env.
func CheckEnvFlag(s string) error {
	if err := checkEnvFlag(s); err != nil {
		return Errors{errorAt(Origin{Layer: LayerFlag, Flag: "--env"}, err)}
	}
	return nil
}

func checkEnvFlag(s string) error {
	name, value, sets := strings.Cut(s, "=")
	if _, err := parsePass(name); err != nil {
		return err
	}
	if sets && strings.HasSuffix(name, "*") {
		return faultf("name the variable in full", "a * passes variables and sets none: %q", name)
	}
	_, err := parseEnvValue(value)
	return err
}

// callerEnv keeps the first of two variables with one name, as getenv does.
func callerEnv(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		name, value, ok := strings.Cut(kv, "=")
		if _, seen := env[name]; ok && name != "" && !seen {
			env[name] = value
		}
	}
	return env
}

// pass copies a variable, or by prefix all that are no secrets.
func pass(env, caller map[string]string, pattern string) {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		if v, ok := caller[pattern]; ok {
			env[pattern] = v
		}
		return
	}
	for name, v := range caller {
		if prefix != "" && strings.HasPrefix(name, prefix) && !isSecret(name) {
			env[name] = v
		}
	}
}

func sortedEnv(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name != "" {
			out = append(out, name+"="+env[name])
		}
	}
	return out
}
