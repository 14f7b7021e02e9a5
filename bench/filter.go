package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var openFilter = flag.Bool("open-filter", false, "execute the arguments under a filter that allows everything")

// underOpenFilter executes its arguments under the cheapest filter that there is, which the kernel never runs: what it costs,
// the kernel takes to see that there is one.
func underOpenFilter() error {
	filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := unix.SockFprog{Len: 1, Filter: &filter}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("loading a filter: %w", errno)
	}
	path, err := exec.LookPath(flag.Arg(0))
	if err != nil {
		return err
	}
	return unix.Exec(path, flag.Args(), os.Environ())
}

// filter is what the seccomp filter costs a payload that does nothing but system calls, reads and writes of a byte: under the
// default filter and under strict, against one that allows everything. What that one costs against none is the kernel's,
// and no filter can be cheaper.
func filter(u, _ runner, _ int) error {
	const calls = 2_000_000
	const rounds = 9
	config := filepath.Join(u.cwd, "filters")
	profiles := filepath.Join(config, "sbx/profiles")
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"strict", "off"} {
		text := "[harden]\nseccomp = \"" + name + "\"\n"
		if err := os.WriteFile(filepath.Join(profiles, name+"-filter.toml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	u.env = append([]string{}, append(u.env, "XDG_CONFIG_HOME="+config)...)
	dd := " dd if=/dev/zero of=/dev/null bs=1 count=1000000"
	t, err := u.inTurns(rounds, strings.Fields("sbx run --"+dd), strings.Fields("sbx run -p strict-filter --"+dd),
		strings.Fields("sbx run -p off-filter -- bench -open-filter"+dd), strings.Fields("sbx run -p off-filter --"+dd))
	if err != nil {
		return err
	}
	each := func(d time.Duration) string { return (d / calls).String() }
	ratio("a system call, against a filter that is empty", each(t[0]), each(t[2]), t[0].Seconds()/t[2].Seconds(), 1.05)
	ratio("the same under seccomp = \"strict\"", each(t[1]), each(t[2]), t[1].Seconds()/t[2].Seconds(), 1.05)
	fmt.Printf("%-44s %10s %10s %7.2f %7s\n", "a filter that is empty, against none", each(t[2]), each(t[3]), t[2].Seconds()/t[3].Seconds(), "")
	return nil
}
