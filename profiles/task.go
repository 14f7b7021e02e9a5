package profiles

import "strings"

// Command is the argv of a task: the shell inside runs its line. The arguments
// of the one who runs it come at the end of the line, unless the line says
// itself where they go.
func (t Task) Command(name string, args []string) []string {
	line := t.Run.V
	if len(args) > 0 && !namesArguments(line) {
		line += ` "$@"`
	}
	return append([]string{"/bin/sh", "-c", line, name}, args...)
}

// namesArguments finds $@, $*, $# and $1 to $9, with or without braces.
func namesArguments(line string) bool {
	for _, s := range strings.Split(line, "$")[1:] {
		s = strings.TrimLeft(s, "{")
		if s != "" && strings.ContainsRune("@*#123456789", rune(s[0])) {
			return true
		}
	}
	return false
}
