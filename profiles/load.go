package profiles

import "errors"

// Options says where to load from.
type Options struct {
	ConfigHome string   // $XDG_CONFIG_HOME/sbx; empty or absent: no configuration of the user's
	Home       string   // what ~ stands for
	Project    Project  // from FindProject
	Name       string   // of -p; empty: none
	Flags      *Profile // from FromFlags; may be nil
	// Protected names places of the project, relative to it, that the host
	// executes later and that are therefore read-only inside. A `write` of the
	// project's own file in, at or above one is a grant.
	Protected []string
}

// Loaded is what Load found.
type Loaded struct {
	Profile Profile // merged, with every default filled in
	Config  Config
	Grants  []Grant // what the merged profile asks for beyond the default sandbox
}

// Load reads all layers, merges them and holds the project's file against the
// user's own layers. Its errors are Errors (places in files), *GrantError (the
// project's file asks for more than the user's own profiles give) or plain.
func Load(o Options) (*Loaded, error) { return nil, errors.New("not built yet") }

// Flag is one flag of the command line that speaks for a key of the profile.
type Flag struct {
	Name   string   // as typed: "--net", "-v"
	Key    string   // as in "network.mode"
	Values []string // one for a scalar
}

// FromFlags checks flags as the keys of a profile are checked. Relative paths
// are relative to dir, the folder that the command was typed in.
func FromFlags(flags []Flag, dir, home string) (*Profile, error) {
	return nil, errors.New("not built yet")
}
