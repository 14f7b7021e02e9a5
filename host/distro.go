package host

import (
	"fmt"
	"slices"
	"strings"
)

// manager is a package manager, the distributions of os-release(5) that use it, and what it calls the packages whose
// names differ from the program's.
type manager struct {
	ids      []string
	install  string
	packages map[string]string
}

// managers is a function, not a variable: maps in a package variable are built at every start of sbx. The names are
// those of each distribution's package index; pasta comes in the package passt everywhere.
func managers() []manager {
	return []manager{
		{[]string{"debian", "ubuntu"}, "apt-get install",
			map[string]string{"newuidmap": "uidmap", "newgidmap": "uidmap", "getsubids": "uidmap", "pasta": "passt",
				"apparmor_parser": "apparmor", "user-bus": "dbus-user-session"}},
		{[]string{"fedora", "rhel", "centos", "rocky", "almalinux"}, "dnf install",
			map[string]string{"newuidmap": "shadow-utils", "newgidmap": "shadow-utils", "getsubids": "shadow-utils-subid",
				"pasta": "passt", "user-bus": "dbus-daemon"}},
		{[]string{"arch"}, "pacman -S",
			map[string]string{"newuidmap": "shadow", "newgidmap": "shadow", "getsubids": "shadow", "pasta": "passt",
				"apparmor_parser": "apparmor", "user-bus": "dbus"}},
		{[]string{"suse", "opensuse"}, "zypper install",
			map[string]string{"newuidmap": "shadow", "newgidmap": "shadow", "getsubids": "shadow", "pasta": "passt",
				"apparmor_parser": "apparmor-parser", "user-bus": "dbus-1"}},
		{[]string{"alpine"}, "apk add",
			map[string]string{"newuidmap": "shadow-uidmap", "newgidmap": "shadow-uidmap", "getsubids": "shadow-subids",
				"pasta": "passt"}},
	}
}

// Install is the command that installs a helper program with this distribution's package manager. It is a sentence
// where the distribution is not a known one.
func Install(program string) string { return Here().install(program) }

func (e *Env) install(program string) string {
	m, ok := e.manager()
	if !ok {
		return fmt.Sprintf("install the package of your distribution that holds %s", program)
	}
	pkg, ok := m.packages[program]
	if !ok {
		pkg = program
	}
	return e.asRoot(m.install + " " + pkg)
}

// manager goes by ID first and then by ID_LIKE, so that a derivative finds its parent's.
func (e *Env) manager() (manager, bool) {
	rel := e.osRelease()
	for _, id := range strings.Fields(rel["ID"] + " " + rel["ID_LIKE"]) {
		for _, m := range managers() {
			if slices.Contains(m.ids, id) || strings.HasPrefix(id, "opensuse") && slices.Contains(m.ids, "opensuse") {
				return m, true
			}
		}
	}
	return manager{}, false
}

// osRelease reads os-release(5): KEY=VALUE, values perhaps quoted, /usr/lib for images without an /etc.
func (e *Env) osRelease() map[string]string {
	text, ok := e.text("/etc/os-release")
	if !ok {
		text, _ = e.text("/usr/lib/os-release")
	}
	rel := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			rel[key] = strings.Trim(value, `"'`)
		}
	}
	return rel
}
