package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"sbx/profiles"
)

// ReviewJob is the job of the program inside that opens files for whoever asks over its stdin.
const ReviewJob = "review"

// OpenForeign starts a process that opens files below a folder for who asks over the socket that is
// returned: those of sub-ids, and those that their own user may not read. It ends when the socket is closed.
func OpenForeign(folder string) (*os.File, error) {
	account, err := Caller()
	if err != nil {
		return nil, err
	}
	maps, _, err := IDMaps(account, profiles.User{Kind: profiles.UserRoot})
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "review"), os.NewFile(uintptr(pair[1]), "review")
	defer theirs.Close()
	work := Inside{Maps: maps, Args: []string{ReviewJob}, Folders: map[string]string{InsideFolder: folder}, Stdin: theirs}
	process, err := work.Start()
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("starting what reads files of sub-ids: %w", err)
	}
	go process.Wait()
	return ours, nil
}
