package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"sbx/fuseoverlay"
	"sbx/host"
)

// gpuNodes are the nodes of graphics processors: Mesa's, NVIDIA's and AMD's compute; gpuFolders is where the
// libraries find out which there are.
var (
	gpuNodes   = []string{"/dev/dri/*", "/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm*", "/dev/nvidia-modeset", "/dev/nvidia-caps/*", "/dev/kfd"}
	gpuFolders = []string{"/sys/class/drm", "/sys/dev/char", "/sys/devices/pci*", "/sys/bus/pci", "/sys/module/nvidia", "/sys/class/kfd"}
)

// grantedDevices shows what [files] devices grants.
func (l *layout) grantedDevices(s *Spec, names []string, account host.Account) error {
	for _, name := range names {
		if name == "gpu" {
			if err := l.gpu(s, account); err != nil {
				return err
			}
		} else if err := l.device(s, name, account); err != nil {
			return err
		}
	}
	return nil
}

// gpu shows the nodes of all graphics processors, and where libraries look for them.
func (l *layout) gpu(s *Spec, account host.Account) error {
	nodes := slices.DeleteFunc(globs(gpuNodes), func(path string) bool {
		info, err := os.Lstat(path)
		return err != nil || info.Mode()&os.ModeDevice == 0 // a folder of links, such as /dev/dri/by-path
	})
	if len(nodes) == 0 {
		return &UsageError{"showing the device gpu: this machine has none in /dev", "leave it out of [files] devices"}
	}
	for _, node := range nodes {
		if err := l.device(s, node, account); err != nil {
			return err
		}
	}
	for _, dir := range globs(gpuFolders) {
		if err := l.bind(dir, dir, false); err != nil {
			return err
		}
	}
	return nil
}

func globs(patterns []string) (list []string) {
	for _, p := range patterns {
		found, _ := filepath.Glob(p)
		for _, path := range found {
			if real, err := filepath.EvalSymlinks(path); err == nil && !slices.Contains(list, real) {
				list = append(list, real)
			}
		}
	}
	return list
}

// device shows one node, which the payload opens with the rights that the caller has without its groups.
func (l *layout) device(s *Spec, node string, account host.Account) error {
	real, err := filepath.EvalSymlinks(node)
	if err != nil {
		return &UsageError{fmt.Sprintf("showing the device %s: %v", node, plainError(err)), "leave it out of [files] devices"}
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return &os.PathError{Op: "showing the device", Path: real, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return &UsageError{"showing the device " + node + ": it is no device", "name a device below /dev"}
	}
	if s.IDs.DropGroups && byGroupAlone(real, &st, account) {
		s.Level.Warnings = append(s.Level.Warnings, fmt.Sprintf("the device %s is open to your group %d, which is dropped: it needs [root] groups = \"keep\"", real, st.Gid))
	}
	l.add(fuseoverlay.Entry{Kind: fuseoverlay.Device, Source: real, Target: node})
	return nil
}

// byGroupAlone tells whether it takes a supplementary group of the caller's to open a device.
func byGroupAlone(path string, st *unix.Stat_t, account host.Account) bool {
	if int(st.Uid) == account.UID || int(st.Gid) == account.GID || st.Mode&0o006 != 0 || !slices.Contains(account.Groups, int(st.Gid)) {
		return false
	}
	_, err := unix.Lgetxattr(path, "system.posix_acl_access", nil) // as logind lets a seat's user
	return err != nil
}
