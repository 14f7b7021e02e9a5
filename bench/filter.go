package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// filter is what the seccomp filter costs a payload that does nothing but system calls: reads and writes of a byte,
// under the default filter, under strict, and under none.
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
	t, err := u.inTurns(rounds, strings.Fields("sbx run --"+dd), strings.Fields("sbx run -p strict-filter --"+dd), strings.Fields("sbx run -p off-filter --"+dd))
	if err != nil {
		return err
	}
	each := func(d time.Duration) string { return (d / calls).String() }
	ratio("a system call under the filter, against none", each(t[0]), each(t[2]), t[0].Seconds()/t[2].Seconds(), 1.1)
	ratio("the same under seccomp = \"strict\"", each(t[1]), each(t[2]), t[1].Seconds()/t[2].Seconds(), 1.1)
	return nil
}
