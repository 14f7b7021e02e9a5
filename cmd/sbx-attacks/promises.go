package main

// A check is one promise and the attacks on it: words of this program's command line, in which {name} stands for
// what the stage has of that name.
type check struct {
	promise string
	control control
	attacks []string
	// shows is what runs as the control, where that is not the same words.
	shows []string
}

// A control is where the same attack is made without the walls, to show that it attacks.
type control int

const (
	outside   control = iota // as the caller, without a sandbox
	privately                // in a user and a mount namespace of its own, where the caller has all capabilities
	inside                   // in the sandbox as well, on something that it may have
)

// promises is what SECURITY.md promises, as far as an attack on it does no harm to a machine in use.
var promises = []check{
	{promise: "read a file that was not shown to it", attacks: []string{"read={secret}", "by-processes={secret}", "above={secret}"}},
	{promise: "write a file that was not given to it", attacks: []string{"append={secret}"}},
	{promise: "write to the host's system", control: inside, attacks: []string{"writable={project}:~"}, shows: []string{"writable"}},
	{promise: "read sbx's own folders, where one that holds them is shown", attacks: []string{"read={own}"}},
	{promise: "change what the host executes later", attacks: []string{"append={project}/.git/config", "append={project}/.envrc"}},
	{promise: "widen its sandbox at the next run", attacks: []string{"append={project}/sbx.toml"}},
	{promise: "connect to a socket of the host", attacks: []string{"connect=unix:{project}/s.sock", "connect=unix:@{nonce}"}},
	{promise: "reach what a desktop or a session serves: buses, displays, agents", attacks: []string{"desktop={desktop}", "systemd-run"}},
	{promise: "run programs of Windows under WSL", attacks: []string{"windows={program}"}},
	{promise: "reach the host's loopback", attacks: []string{"connect=tcp:{tcp}"}},
	{promise: "see a process outside", attacks: []string{"process={nonce}"}},
	{promise: "read or trace PID 1, which is sbx's own", control: inside, attacks: []string{"proc1", "ptrace"}, shows: []string{"proc-of"}},
	{promise: "get a variable of yours that is not on the list", attacks: []string{"environ={variable}"}},
	{promise: "get an open file besides 0, 1 and 2", attacks: []string{"descriptors"}},
	{promise: "keep running after its sandbox ended", attacks: []string{"stay={stay}"}},
	{promise: "type into the terminal that started it", attacks: []string{"tiocsti", "tiocsti-high", "tioclinux"}},
	{promise: "make a user namespace, where it would have all capabilities", attacks: []string{"userns", "userns-clone3"}},
	{promise: "gain another user's rights by a set-user-ID program", attacks: []string{"set-uid"}},
	{promise: "give files capabilities, or become or give them to others", control: privately, attacks: []string{"file-caps", "ids"}},
	{promise: "mount, or undo a mount", control: privately, attacks: []string{"mount", "mount-api", "move-mount", "remount", "fuse"}},
	{promise: "change its root, or enter a namespace", control: privately, attacks: []string{"chroot", "leave-root={secret}", "pivot-root", "setns"}},
	{promise: "have capabilities, or gain them by executing", attacks: []string{"capabilities", "new-privs"}},
	{promise: "use your keys in the kernel", attacks: []string{"key={nonce}", "keyring", "keyring-i386"}},
	{promise: "find shared memory of the host", attacks: []string{"shm={shm}"}},
	{promise: "use io_uring, bpf, perf or userfaultfd", attacks: []string{"io_uring", "bpf", "perf", "userfaultfd"}},
	{promise: "read memory, files or books of other processes", attacks: []string{"vm-readv", "pidfd-getfd", "kcmp", "file-handle"}},
	{promise: "use raw sockets, or families that few need", control: privately, attacks: []string{"raw-socket", "families", "vsock"}},
	{promise: "change settings of the whole machine", attacks: []string{"settings"}},
	{promise: "make a device, or open one of the host's", attacks: []string{"device", "devices"}},
}
