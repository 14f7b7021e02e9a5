package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/profiles"
	"sbx/userns"
)

// Inside is work of sbx's own on files of sub-ids, which can be neither read nor removed from outside:
// the program sbx-images, executed as root of a user namespace with the map of the sandboxes, on a root
// that holds nothing but some folders and the program itself, without a network, and with no more
// capabilities than files need. What it works on may be hostile.
type Inside struct {
	Maps userns.Maps
	// Args are the program's arguments.
	Args []string
	// Folders are those that it sees, by the names that it sees them under.
	Folders               map[string]string
	Stdin, Stdout, Stderr *os.File
}

// InsideError is such work that ended without success.
type InsideError struct{ Status int }

func (e *InsideError) Error() string {
	return fmt.Sprintf("the program in the user namespace ended with status %d", e.Status)
}

// ImagesProgram is the program that knows registries and layers.
const ImagesProgram = "sbx-images"

// InsideName is argv[0] of that program inside, by which it knows where it is, and InsideFolder the folder
// that its jobs work on.
const (
	InsideName   = "sbx-inside"
	InsideFolder = "/folder"
)

// Sibling is a program that was installed beside this one.
func Sibling(name string) (string, error) {
	own, err := OwnPath()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(own), name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", &UsageError{name + " is not beside " + own, "install the programs of sbx together: make install"}
	}
	return path, nil
}

// program is where the program lies inside.
const program = "/sbx"

// filePowers are the capabilities that making and removing files of any owner takes.
const filePowers = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_SETFCAP | 1<<unix.CAP_MKNOD

// Start starts it.
func (i *Inside) Start() (*userns.Process, error) {
	plan, err := i.plan()
	if err != nil {
		return nil, err
	}
	maps := i.Maps
	maps.UID, maps.GID = withRoot(maps.UID), withRoot(maps.GID)
	return userns.Start(plan, userns.Options{Stdin: i.Stdin, Stdout: i.Stdout, Stderr: i.Stderr, Maps: maps})
}

// withRoot has a map of one id call that 0, which makes files of the same owner outside: there is a root then.
func withRoot(ids []userns.Range) []userns.Range {
	if len(ids) != 1 || ids[0].Count != 1 {
		return ids
	}
	return []userns.Range{{Inside: 0, Outside: ids[0].Outside, Count: 1}}
}

func (i *Inside) plan() (*userns.Plan, error) {
	root, err := i.root()
	if err != nil {
		return nil, err
	}
	last, err := harden.LastCap()
	if err != nil {
		return nil, err
	}
	_, files := host.NoFile()
	steps := []userns.Step{userns.Barrier("waiting for the id maps")}
	if !i.Maps.DenySetgroups {
		steps = append(steps, userns.SetGroups("dropping supplementary groups"))
	}
	first, rest := root.Steps()
	steps = append(append(steps, first...), rest...)
	steps = append(steps, userns.SetIDs("becoming root of the user namespace", 0, 0)...)
	steps = append(steps, userns.Prctl("forbidding new privileges", unix.PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS"))
	steps = append(steps, capabilitySteps(&Spec{Harden: Harden{Capabilities: filePowers, Bounding: filePowers, LastCap: uint8(last)}})...)
	cores := min(noCores, hardCores())
	return &userns.Plan{
		Namespaces: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		Init:       steps,
		Payload: append([]userns.Step{
			userns.SetLimit("limiting cores", unix.RLIMIT_CORE, "RLIMIT_CORE", cores, cores),
			userns.SetLimit("raising the limit of open files", unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", files, files),
			userns.CloseOnExec("closing all other descriptors", 3),
		}, userns.Exec("executing sbx inside", []string{program}, append([]string{InsideName}, i.Args...), []string{"GOMAXPROCS=2"})...),
	}, nil
}

// root is the root file system with the folders and the program.
func (i *Inside) root() (*fuseoverlay.Root, error) {
	own, err := Sibling(ImagesProgram)
	if err != nil {
		return nil, err
	}
	l := &layout{}
	bind := func(source, target string, writable bool) error {
		real, err := filepath.EvalSymlinks(source)
		if err != nil {
			return err
		}
		return l.bind(real, target, writable)
	}
	err = bind(own, program, false)
	for target, source := range i.Folders {
		err = errors.Join(err, bind(source, target, true))
	}
	if err != nil {
		return nil, err
	}
	root := &fuseoverlay.Root{Size: 1 << 20, Inodes: 1 << 10}
	root.Entries, _ = l.sorted()
	if !host.MountSetattr.OK() {
		root.OldKernel = true
		err = l.oldKernel()
	}
	return root, err
}

// IDMaps are the maps of a caller's sandboxes whose payload is user, and whether the caller has no
// sub-ids, so that one id alone is known inside.
func IDMaps(account host.Account, user profiles.User) (maps userns.Maps, single bool, err error) {
	var s Spec
	s.Level.Name = profiles.LevelFull
	if err := resolveIDs(&s, account, user, profiles.GroupsDrop); err != nil {
		return maps, false, err
	}
	return s.IDs.Maps, s.Level.Name == profiles.LevelSingleID, nil
}
