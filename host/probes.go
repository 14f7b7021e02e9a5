package host

// All lists the probes in the order in which doctor shows them: what the main job needs, then what makes it stronger,
// then what explains the answers.
func All() []*Probe {
	return []*Probe{
		KernelVersion, UserNamespaces, UsernsMounts,
		MaxUserNamespaces, UsernsClone, AppArmorUserns, SELinux,
		SubIDsGiven, Newuidmap, Newgidmap, NoNewPrivs,
		FreshProc, HiddenProcesses, RootFilesystem,
		MountSetattr, CloseRange, Openat2, NewMountAPI, TimeNamespace,
		Overlay, FuseDevice, FuseOverlayfs,
		TunDevice, Slirp4netns, Pasta,
		Cgroups, UserBus,
		Seccomp, Landlock, Keyrings, TIOCSTI,
		RunningAsRoot, Container, WSL,
	}
}
