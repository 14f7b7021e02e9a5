package profiles

// EnvInput is what BuildEnv builds from, weakest first: the safe names of
// Caller, then Base, Pass, Set, Flags.
type EnvInput struct {
	Caller []string          // KEY=VALUE, as of os.Environ
	Base   map[string]string // what is true inside: HOME, USER, LOGNAME, SHELL, PATH
	Pass   []string          // [env] pass: names, or a prefix and *
	Set    map[string]string // [env] set
	Flags  []string          // --env: KEY passes the caller's value, KEY=VALUE sets
}

// BuildEnv returns the environment of the payload, sorted by name.
func BuildEnv(in EnvInput) []string { return nil }
