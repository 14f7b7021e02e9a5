package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/dynidtools"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
)

// IDRange is a run of Count ids from Start on, as in subuid(5).
type IDRange struct{ Start, Count uint32 }

// NoSubIDs is the error for a user to whom nobody gave sub-ids: no fault of the machine, and reason for a single-id
// map. A file that cannot be read or parsed is another error.
type NoSubIDs struct {
	UID  int
	User string
}

func (e NoSubIDs) Error() string {
	return fmt.Sprintf("looking up sub-ids of user %d (%q): none in /etc/subuid and /etc/subgid, nor from getsubids",
		e.UID, e.User)
}

// Where sub-ids came from.
const (
	FromFiles     = "/etc/subuid, /etc/subgid"
	FromGetsubids = "getsubids"
)

// SubIDs finds the sub-ids of a user, uids and gids, in the order of the files, without doubles. Source says where
// they were found. It asks getsubids, which costs four processes, only where /etc/nsswitch.conf names a service for
// sub-ids: without that line getsubids reads the same two files again.
func SubIDs(uid int, username string) (uids, gids []IDRange, source string, err error) {
	u, g, err := idtools.GetSubIDRanges(uid, username)
	source = FromFiles
	if noneFound(err) && serviceHasSubIDs(Here()) {
		u, g, err = getsubids(uid, username)
		source = FromGetsubids
	}
	if noneFound(err) || err == nil && (len(u) == 0 || len(g) == 0) {
		return nil, nil, "", NoSubIDs{uid, username}
	}
	if err == nil {
		uids, gids, err = bothRanges(u, g)
	}
	if err != nil {
		return nil, nil, "", fmt.Errorf("looking up sub-ids of user %d (%q) from %s: %w", uid, username, source, err)
	}
	return uids, gids, source, nil
}

// getsubids runs the host's own. dynidtools looks for it by $GETSUBIDS, else in PATH, and gives it the environment of
// this process, all of which may lead into a hostile project: so that is another one meanwhile.
func getsubids(uid int, username string) (u, g []idtools.SubIDRange, err error) {
	path, err := FindHelper("getsubids")
	if err != nil {
		return nil, nil, err
	}
	defer swapEnvironment(append(cleanEnv(), "GETSUBIDS="+path))()
	return dynidtools.GetSubIDRanges(uid, username)
}

// swapEnvironment replaces the environment of this process, and returns what brings the old one back.
func swapEnvironment(env []string) (restore func()) {
	old := os.Environ()
	set := func(env []string) {
		os.Clearenv()
		for _, kv := range env {
			name, value, _ := strings.Cut(kv, "=")
			os.Setenv(name, value)
		}
	}
	set(env)
	return func() { set(old) }
}

// noneFound tells "this user has none" from a broken file. idtools has no error value for it; the test of this
// function holds its wording against the version in go.mod.
func noneFound(err error) bool {
	if err == nil {
		return false
	}
	return errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(err.Error(), "No subuid ranges found") ||
		strings.HasPrefix(err.Error(), "No subgid ranges found")
}

// serviceHasSubIDs: nsswitch.conf(5) has a line "subid: SERVICE" with another service than the files (libsubid, since
// shadow 4.9).
func serviceHasSubIDs(e *Env) bool {
	b, _ := os.ReadFile(e.path("/etc/nsswitch.conf"))
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if services, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:"); ok {
			s := strings.TrimSpace(services)
			return s != "" && s != "files"
		}
	}
	return false
}

func bothRanges(u, g []idtools.SubIDRange) (uids, gids []IDRange, err error) {
	if uids, err = ranges(u); err != nil {
		return nil, nil, err
	}
	gids, err = ranges(g)
	return uids, gids, err
}

// ranges checks what idtools does not: an id map with an empty, huge or overlapping range is EINVAL as a whole, and a
// user may stand in the file by name and by number.
func ranges(in []idtools.SubIDRange) ([]IDRange, error) {
	var out []IDRange
	for _, r := range in {
		if r.Start < 0 || r.Length <= 0 || r.Length > math.MaxUint32 || r.Start > math.MaxUint32-r.Length {
			return nil, fmt.Errorf("range %d:%d is not a range of ids", r.Start, r.Length)
		}
		if n := (IDRange{uint32(r.Start), uint32(r.Length)}); !overlaps(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

func overlaps(all []IDRange, n IDRange) bool {
	for _, r := range all {
		if n.Start < r.Start+r.Count && r.Start < n.Start+n.Count {
			return true
		}
	}
	return false
}
