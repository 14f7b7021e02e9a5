package sandbox

import (
	"errors"
	"os"
	"slices"
	"strings"

	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// resolveIDs finds the maps of the user namespace and says what they lack.
func resolveIDs(s *Spec, account host.Account, user profiles.User, groups profiles.Groups) error {
	s.IDs.UID, s.IDs.GID = idsInside(account, user)
	uids, gids, helpers, err := subIDs(account)
	var noSubIDs host.NoSubIDs
	var noHelper host.NoHelper
	switch {
	case errors.As(err, &noSubIDs), errors.As(err, &noHelper):
		why := "one user id inside, the caller's own: " + err.Error()
		s.IDs.Maps.DenySetgroups = account.UID != 0 || setgroupsDenied()
		if s.IDs.Maps.DenySetgroups && supplementary(account) {
			why += "; the caller's supplementary groups remain"
		}
		s.Level.lower(profiles.LevelSingleID, why)
	case err != nil:
		return err
	default:
		s.IDs.Maps.UIDHelper, s.IDs.Maps.GIDHelper = helpers[0], helpers[1]
	}
	s.IDs.Maps.UID = idMap(s.IDs.UID, uint32(account.UID), uids)
	s.IDs.Maps.GID = idMap(s.IDs.GID, uint32(account.GID), gids)
	s.IDs.DropGroups = groups != profiles.GroupsKeep && !s.IDs.Maps.DenySetgroups
	if account.UID == 0 {
		s.Level.Warnings = append(s.Level.Warnings, "started as root: the payload is root outside as well and may read what root may of what is shown, but for passwords and host keys; an ordinary user's sandbox is stronger")
	}
	return nil
}

// setgroupsDenied tells whether an outer user namespace forbids setgroups(2), which the inner one
// inherits: user_namespaces(7).
func setgroupsDenied() bool {
	data, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(data)) == "deny"
}

// supplementary tells whether the caller is in groups beside its own.
func supplementary(account host.Account) bool {
	return slices.ContainsFunc(account.Groups, func(g int) bool { return g != account.GID })
}

// idsInside are the payload's ids as a profile names them.
func idsInside(account host.Account, user profiles.User) (uid, gid uint32) {
	switch user.Kind {
	case profiles.UserRoot:
		return 0, 0
	case profiles.UserID:
		if user.HasGID {
			return user.UID, user.GID
		}
		return user.UID, uint32(account.GID)
	}
	return uint32(account.UID), uint32(account.GID)
}

// subIDs are the caller's sub-ids and the helpers that map them. Root writes its maps itself.
func subIDs(account host.Account) (uids, gids []host.IDRange, helpers [2]string, err error) {
	uids, gids, _, err = host.SubIDs(account.UID, account.Name)
	if err != nil || account.UID == 0 {
		return uids, gids, helpers, err
	}
	for i, name := range []string{"newuidmap", "newgidmap"} {
		if helpers[i], err = host.FindHelper(name); err != nil {
			return nil, nil, helpers, err
		}
	}
	return uids, gids, helpers, nil
}

// idMap maps one id inside to the caller's own and gives the others, in order, the sub-ids.
func idMap(inside, own uint32, sub []host.IDRange) []userns.Range {
	ranges := []userns.Range{{Inside: inside, Outside: own, Count: 1}}
	next := uint32(0)
	for _, r := range sub {
		for r.Count > 0 {
			if next == inside {
				next++
			}
			n := r.Count
			if next < inside {
				n = min(n, inside-next)
			}
			ranges = append(ranges, userns.Range{Inside: next, Outside: r.Start, Count: n})
			next, r.Start, r.Count = next+n, r.Start+n, r.Count-n
		}
	}
	return ranges
}
