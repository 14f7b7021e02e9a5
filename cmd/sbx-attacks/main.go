// Command sbx-attacks tries, one by one, what a hostile payload would try. Each attack prints one line:
//
//	SAFE name: what stopped it
//	RISK name: what it got
//
// and the program exits with 1 when any line says RISK. Scripts in tests/e2e run it inside a sandbox, where all must be
// SAFE, and outside of one, where the same attack must be a RISK: an attack that always fails proves nothing. `sbx
// selfcheck` is this program as well, with both halves: see selfcheck.go.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"time"
)

// An attack returns what it got; an error is what stopped it. args are the words after the attack's name and `=`.
type attack func(arg string) (got string, err error)

var attacks = map[string]attack{
	"userns":        userNamespace,
	"userns-clone3": userNamespaceByClone3,
	"mount":         mountTmpfs,
	"mount-api":     mountAPI,
	"keyring":       sessionKeyring,
	"keyring-i386":  sessionKeyringI386,
	"keyring-x32":   sessionKeyringX32,
	"io_uring":      ioUring,
	"bpf":           bpf,
	"perf":          perf,
	"userfaultfd":   userfaultfd,
	"vsock":         vsock,
	"tiocsti":       injectInput,
	"tiocsti-high":  injectInputHighBits,
	"tioclinux":     tioclinux,
	"proc1":         readProc1,
	"proc-of":       readProcOf,
	"ptrace":        ptrace,
	"capabilities":  capabilities,
	"new-privs":     newPrivileges,
	"device":        makeDevice,
	"descriptors":   descriptors,
	"connect":       connect,
	"writable":      writable,
	"tls":           overTLS,
	"send":          sendRaw,
	"dns":           askDNS,
	"mapped":        mapped,
	"raw-socket":    rawSocket,
	"ping":          ping,
	"configure":     configure,
	"flood":         flood,
	"flood-dns":     floodDNS,
	"read":          readFile,
	"append":        appendTo,
	"process":       findProcess,
	"environ":       findVariable,
	"stay":          stay,
	"remount":       remount,
	"chroot":        changeRoot,
	"setns":         joinNamespaces,
	"vm-readv":      readMemory,
	"pidfd-getfd":   takeDescriptor,
	"kcmp":          compareProcesses,
	"file-handle":   fileHandle,
	"families":      families,
	"settings":      kernelSettings,
	"key":           readKey,
	"shm":           sharedMemory,
	"own-program":   changeOwnProgram,
	"above":         readAbove,
	"by-processes":  readByProcesses,
	"devices":       openDevices,
	"open":          openDevice,
	"fuse":          mountFuse,
	"desktop":       connectDesktop,
	"systemd-run":   runByManager,
	"windows":       runWindows,
	"set-uid":       setUserIDs,
	"file-caps":     fileCapabilities,
	"ids":           otherIDs,
	"move-mount":    moveMount,
	"pivot-root":    pivotRoot,
	"leave-root":    leaveRoot,
	"setns-fd":      joinByDescriptor,
	"signal":        signalProcess,
	"loop":          attachLoop,
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: sbx-attacks NAME[=ARG]... | selfcheck [--json]")
		fmt.Fprintln(os.Stderr, strings.Join(names(), " "))
		os.Exit(2)
	}
	switch os.Args[1] {
	case inChild: // see alone
		childMain(os.Args[2])
	case sleeper:
		time.Sleep(20 * time.Second)
	case selfcheckVerb:
		os.Exit(selfcheck(os.Args[2:]))
	default:
		os.Exit(tryAll(os.Args[1:]))
	}
}

func tryAll(words []string) int {
	status := 0
	for _, word := range words {
		name, arg, _ := strings.Cut(word, "=")
		try, ok := attacks[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no attack %q; there are: %s\n", name, strings.Join(names(), " "))
			return 2
		}
		got, err := try(arg)
		if err == nil {
			fmt.Printf("RISK %s: %s\n", name, got)
			status = 1
			continue
		}
		fmt.Printf("SAFE %s: %v\n", name, err)
	}
	return status
}

func names() []string {
	var list []string
	for name := range attacks {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}
