package harden

// The system calls of syscalls.go, each in one list: needed or wider, which pass by default; refusedCalls,
// mountCalls, keyringCalls or kernelCalls, which are EPERM; or absentCalls, which are ENOSYS like all that no
// table knows. A test holds that none is forgotten and none stands twice. What arguments decide is in
// default.go: clone, unshare, socket, socketpair, ioctl and personality.

// needed is what any program may need: files, memory, processes, signals, time, sockets, and walls that a
// program builds around itself (seccomp, landlock).
var needed = []string{
	// Files by descriptor and by path.
	"access", "cachestat", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
	"faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl",
	"fdatasync", "fgetxattr", "file_getattr", "file_setattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstatfs",
	"fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "getxattrat", "inotify_add_watch",
	"inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl", "lchown", "lgetxattr", "link", "linkat", "listmount", "listxattr",
	"listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat",
	"open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read",
	"readahead", "readlink", "readlinkat", "readv", "removexattr", "removexattrat", "rename", "renameat", "renameat2", "rmdir",
	"sendfile", "setxattr", "setxattrat", "splice", "stat", "statfs", "statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
	"syncfs", "tee", "truncate", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes", "vmsplice", "write", "writev",
	// Waiting for files.
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "poll", "ppoll",
	"pselect6", "select", "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
	// Memory. map_shadow_stack is the C library's, for CET.
	"brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap",
	"mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise", "process_mrelease",
	// Processes and threads. Those of probes are the kernel's own, and kill who does not get them.
	"arch_prctl", "capget", "capset", "chroot", "clone", "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue",
	"futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "getcpu", "getegid", "geteuid", "getgid", "getgroups", "getpgid",
	"getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid",
	"kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lsm_get_self_attr", "lsm_list_modules",
	"lsm_set_self_attr", "pause", "personality", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64", "restart_syscall", "rseq",
	"rseq_slice_yield", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
	"sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_yield", "seccomp", "set_robust_list", "set_tid_address",
	"setfsgid", "setfsuid", "setgid", "setgroups", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
	"setrlimit", "setsid", "setuid", "sysinfo", "times", "uname", "unshare", "uprobe", "uretprobe", "vfork", "wait4", "waitid",
	// Signals.
	"rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_tgsigqueueinfo", "sigaltstack", "tgkill", "tkill",
	// Time.
	"alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "nanosleep", "setitimer", "time", "timer_create",
	"timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
	// Sockets, and random numbers.
	"accept", "accept4", "bind", "connect", "getpeername", "getrandom", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg", "recvmsg",
	"sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "socket", "socketpair",
}

// wider is what only some programs need: debuggers, data bases, servers under test, numeric libraries.
var wider = []string{
	"get_mempolicy", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioprio_get", "ioprio_set", "mbind",
	"memfd_secret", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv",
	"msgsnd", "ptrace", "remap_file_pages", "sched_setattr", "sched_setparam", "sched_setscheduler", "semctl", "semget", "semop", "semtimedop",
	"set_mempolicy", "set_mempolicy_home_node", "shmat", "shmctl", "shmdt", "shmget",
}

// mountCalls is the mount API, old and new: with a namespace of one's own it uncovers what the sandbox hid.
var mountCalls = []string{
	"mount", "umount2", "pivot_root", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
}

// keyringCalls is all of the keyring API: keys are found by number, whoever's namespace they come from.
var keyringCalls = []string{"add_key", "request_key", "keyctl"}

// kernelCalls are those whose code is large, young or powerful, and which builds do without.
var kernelCalls = []string{
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	"bpf", "perf_event_open", "userfaultfd",
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
}

// refusedCalls reach other processes or files past the ways that are watched (memory of others, files by handle),
// are the administrator's, or are old code that is seldom asked for.
var refusedCalls = []string{
	"process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "name_to_handle_at", "open_by_handle_at", "setns",
	"fanotify_init", "fanotify_mark", "listns", "lookup_dcookie", "migrate_pages", "move_pages",
	"acct", "adjtimex", "clock_adjtime", "clock_settime", "settimeofday", "ioperm", "iopl", "modify_ldt", "nfsservctl", "quotactl", "quotactl_fd",
	"reboot", "setdomainname", "sethostname", "swapoff", "swapon", "syslog", "vhangup",
}

// absentCalls are answered as if the kernel did not have them: clone3 since its flags lie in memory, which a
// filter cannot read (the C library falls back to clone); the others since kernels have them no more, or only
// for 32-bit programs.
var absentCalls = []string{
	"clone3", "_sysctl", "afs_syscall", "arch_specific_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms",
	"get_thread_area", "getpmsg", "putpmsg", "query_module", "security", "set_thread_area", "sysfs", "tuxcall", "uselib", "ustat", "vserver",
}
