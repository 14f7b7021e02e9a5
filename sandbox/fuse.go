package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/harden"
	"sbx/host"
	"sbx/userns"
)

// The drivers of storage.driver.
const (
	driverAuto = "auto"
	driverFuse = "fuse-overlayfs"
)

// fuseServer is the fuse-overlayfs of one sandbox. It runs in a user namespace of its own with the same id
// map, outside of the sandbox's namespaces, and ends when the sandbox's mounts do.
type fuseServer struct {
	process *userns.Process
	gone    chan struct{} // closed when it has ended
}

// startFuse starts it. files are what the walk of the sandbox has handed out.
func (s *Spec) startFuse(files map[userns.Slot]*os.File) (*fuseServer, error) {
	path, err := host.FindHelper(driverFuse)
	if err != nil {
		return nil, err
	}
	last, err := harden.LastCap()
	if err != nil {
		return nil, err
	}
	steps := []userns.Step{userns.Barrier("waiting for the id maps")}
	if !s.IDs.Maps.DenySetgroups {
		steps = append(steps, userns.SetGroups("dropping supplementary groups"))
	}
	if !s.singleID() {
		steps = append(steps, userns.SetIDs("becoming root of the user namespace", 0, 0)...)
	}
	steps = append(steps, userns.Prctl("forbidding new privileges", unix.PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS"))
	powers := uint64(filePowers | 1<<unix.CAP_DAC_READ_SEARCH)
	steps = append(steps, capabilitySteps(&Spec{Harden: Harden{Capabilities: powers, Bounding: powers, LastCap: uint8(last)}})...)
	plan := &userns.Plan{
		Namespaces: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Init:       steps, Payload: s.Root.Overlay.ServeSteps(path),
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	log, err := os.Create(filepath.Join(s.Root.Overlay.Upper, serverLog))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p, err := userns.Start(plan, userns.Options{
		Stdin: null, Stdout: null, Stderr: log, Maps: s.IDs.Maps,
		Inputs: map[userns.Slot]*os.File{fuseoverlay.FuseSlot: files[fuseoverlay.FuseSlot]},
	})
	if err != nil {
		return nil, fmt.Errorf("starting fuse-overlayfs: %w", err)
	}
	f := &fuseServer{p, make(chan struct{})}
	go func() {
		p.Wait()
		close(f.gone)
	}()
	return f, nil
}

// serverLog is where the server's messages go, beside the upper.
const serverLog = "fuse-overlayfs.log"

// serverSaid adds to an error of the start what the server said at its end, where it is gone.
func (s *Spec) serverSaid(err error) error {
	var step *userns.StepError
	if s.Root.Overlay == nil || !s.Root.Overlay.Fuse || !errors.As(err, &step) || step.Errno != unix.ENOTCONN {
		return err
	}
	return fmt.Errorf("%w: fuse-overlayfs ended: %s", err, s.serverWords())
}

// singleID tells whether one id alone is known inside.
func (s *Spec) singleID() bool { return len(s.IDs.Maps.UID) == 1 }

// end waits for the server to see that its mount is gone, and ends it where it does not.
func (f *fuseServer) end() {
	if f == nil {
		return
	}
	killer := time.AfterFunc(grace, func() { f.process.Kill() })
	defer killer.Stop()
	<-f.gone
}

// LayersGoneError is a fuse-overlayfs that ended before its sandbox did, which has no files without it.
type LayersGoneError struct{ Said string }

func (e *LayersGoneError) Error() string {
	text := "fuse-overlayfs has ended, and the sandbox with it, whose files it served"
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// watchFuse ends the sandbox when what serves its files has ended. A sandbox that ends by itself ends in the
// same moment: it is waited for.
func (r *Running) watchFuse() {
	if r.fuse == nil {
		return
	}
	go func() {
		select {
		case <-r.ended:
			return
		case <-r.fuse.gone:
		}
		if r.endedWithin(slow) {
			return
		}
		r.layersGone.Store(true)
		r.kill()
	}()
}

// serverWords are the last that the server said.
func (s *Spec) serverWords() string {
	data, _ := os.ReadFile(filepath.Join(s.Root.Overlay.Upper, serverLog))
	return strings.TrimSpace(string(data[:min(len(data), 500)]))
}

// overlayRefused tells whether an error says that the kernel does not lay these layers over each other.
func overlayRefused(err error) bool {
	var step *userns.StepError
	return errors.As(err, &step) && step.Step.Do == fuseoverlay.MountingLayers && step.Step.Name() == "mount"
}
