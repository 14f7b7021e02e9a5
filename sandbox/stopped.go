package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
	"sbx/profiles"
	"sbx/state"
	"sbx/userns"
)

// UseStoppedRoot lays out the files of a kept sandbox that does not run, as it would see them, and calls use
// with its root folder, below which openat2(2) finds them. They are laid in namespaces of their own, in which
// nothing of the sandbox runs, and which go when use returns. What the payload left is followed by nobody
// outside. The caller holds the folder's lock.
func UseStoppedRoot(folder *state.Folder, use func(root *os.File) error) error {
	s, err := specOf(folder)
	if err != nil {
		return err
	}
	empty := folder.Path("empty")
	if err := makeFolder(empty, 0o555); err != nil {
		return err
	}
	defer os.Remove(empty)
	s.withoutPayload(empty)
	s.moveKept(folder)
	if err := MakeUpper(s, folder); err != nil {
		return err
	}
	upper, err := makeUpper(s)
	if err != nil {
		return err
	}
	return errors.Join(s.lookInto(use), upper.end())
}

// lookSlot is the root of a sandbox that is looked into.
const lookSlot userns.Slot = "look"

// lookInto makes the namespaces, whose first process waits for the end of use and is ended then.
func (s *Spec) lookInto(use func(root *os.File) error) error {
	const do = "opening the sandbox's root"
	first, rest := s.Root.Steps()
	steps := append(beginning(s, first, len(rest)), userns.Barrier("waiting for what is made outside"))
	steps = append(append(steps, rest...),
		userns.Open(do, "/", userns.How{Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS}).To(lookSlot),
		userns.Send(do, lookSlot), userns.Close(do, lookSlot),
		userns.Prctl("hiding PID 1", unix.PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE"),
		userns.Barrier("waiting for who looks into it"))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	var server *fuseServer
	options := userns.Options{Stdin: null, Stdout: null, Stderr: null, Maps: s.IDs.Maps}
	if s.Root.Overlay != nil && s.Root.Overlay.Fuse {
		options.ServeSlot, options.Serve = fuseoverlay.FuseSlot, func(files map[userns.Slot]*os.File) (err error) {
			server, err = s.startFuse(files)
			files[fuseoverlay.FuseSlot].Close()
			return err
		}
	}
	var used error
	options.Beside = func(p *userns.Process) error {
		root, err := p.Await(lookSlot)
		if err != nil {
			return err
		}
		used = use(root)
		root.Close()
		return errLooked
	}
	_, err = userns.Start(&userns.Plan{Namespaces: namespaces(s), Init: steps, Payload: []userns.Step{userns.Barrier("ending")}}, options)
	server.end()
	if errors.Is(err, errLooked) {
		return used
	}
	return s.serverSaid(err)
}

// errLooked ends what was made to be looked into.
var errLooked = errors.New("all has been looked at")

// withoutPayload leaves of a spec what its files need: no network, no terminal, and nothing that the kernel
// tells of processes. The host's folders that are not there any more, and those whose changes are held back,
// which review has the say of, show as the folder empty, read-only: what would be copied there would be seen
// by nobody.
func (s *Spec) withoutPayload(empty string) {
	s.Network, s.NetProgram, s.Join, s.Terminals, s.BootTimeZero = profiles.NetNone, "", Join{}, [3]bool{}, false
	gone := []string{"/proc"}
	for i := range s.Root.Entries {
		e := &s.Root.Entries[i]
		if e.Kind != fuseoverlay.Capture && e.Kind != fuseoverlay.Cache && (e.Kind != fuseoverlay.Bind || exists(e.Source)) {
			continue
		}
		gone = append(gone, e.Target)
		if e.Mode&unix.S_IFMT == unix.S_IFDIR {
			*e = fuseoverlay.Entry{Kind: fuseoverlay.Bind, Source: empty, Target: e.Target, Mode: unix.S_IFDIR}
		}
	}
	s.Root.Entries = slices.DeleteFunc(s.Root.Entries, func(e fuseoverlay.Entry) bool {
		switch e.Kind {
		case fuseoverlay.Cgroup, fuseoverlay.Device, fuseoverlay.Proc, fuseoverlay.Pts:
			return true
		}
		return e.Source != empty && slices.ContainsFunc(gone, func(dir string) bool { return host.Within(e.Target, dir) })
	})
}

// moveKept names the kept files where they lie by now: the sandbox may have been renamed.
func (s *Spec) moveKept(folder *state.Folder) {
	all := filepath.Dir(folder.Path("")) + "/"
	moved := func(path string) string {
		rest, below := strings.CutPrefix(path, all)
		_, inside, deep := strings.Cut(rest, "/")
		if !below || !deep {
			return path
		}
		return folder.Path(inside)
	}
	for i := range s.Root.Entries {
		e := &s.Root.Entries[i]
		if e.Kind != fuseoverlay.Kept {
			continue
		}
		e.Source = moved(e.Source)
		if !exists(e.Source) && host.Within(e.Source, CapturesFolder(folder.Upper())) {
			*e = fuseoverlay.Entry{Kind: fuseoverlay.Scratch, Target: e.Target, Mode: e.Mode} // it was discarded
		}
	}
	if s.Root.Overlay != nil {
		s.Root.Overlay.Upper = moved(s.Root.Overlay.Upper)
	}
}
