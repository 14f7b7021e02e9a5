package profiles

// Lookup is what Toolchains asks of the host.
type Lookup struct {
	Home    string
	Project string                    // PATH folders below it are left to [files] project
	Getenv  func(string) string       // the caller's environment
	Exists  func(path string) bool    // symlinks followed
	Glob    func(pat string) []string // as filepath.Glob
}

// Shown is a path that is shown read-only because of a PATH folder.
type Shown struct {
	Path string
	For  string // the PATH folder
	Tool string // the row of the table; "PATH" for the folder itself
	Env  string // the variable that moved the tool there, which the tool needs inside; may be empty
}

// Toolchains returns what is to be shown for the folders of PATH that lie
// outside the system folders, without duplicates, in the order of PATH.
func Toolchains(path []string, look Lookup) []Shown { return nil }
