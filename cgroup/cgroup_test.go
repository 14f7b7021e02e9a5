package cgroup

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sbx/host"
)

func ptr(n uint64) *uint64 { return &n }

// all is a limit of each kind.
var all = Limits{
	Memory: 512 << 20, MemoryHigh: 256 << 20, Swap: ptr(1 << 30), CPUs: 1.5, CPUWeight: 50, CPUSet: []int{0, 1, 9},
	Pids: 100, IOWeight: 20, IORead: 1000, IOWrite: 2000, Disks: []string{"254:0"},
}

func TestLimitsAsFilesOfACgroup(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		want   string
	}{
		{Limits{}, ""},
		{all, "memory.max 536870912; memory.high 268435456; memory.swap.max 1073741824; cpu.max 150000 100000; cpu.weight 50; cpuset.cpus 0,1,9; " +
			"pids.max 101; io.weight 20; io.max 254:0 rbps=1000; io.max 254:0 wbps=2000"},
		{Limits{Memory: 4096}, "memory.max 4096; memory.swap.max 0"},
		{Limits{Swap: ptr(0)}, "memory.swap.max 0"},
		{Limits{CPUs: 0.0001}, "cpu.max 1000 100000"},
		{Limits{Pids: 1}, "pids.max 2"},
	} {
		if got := strings.Join(c.limits.Words(), "; "); got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.limits, got, c.want)
		}
	}
}

func TestLimitsAsPropertiesOfAUnit(t *testing.T) {
	want := map[string]any{
		"MemoryMax": uint64(512 << 20), "MemoryHigh": uint64(256 << 20), "MemorySwapMax": uint64(1 << 30), "CPUQuotaPerSecUSec": uint64(1_500_000),
		"CPUWeight": uint64(50), "AllowedCPUs": []byte{3, 2}, "TasksMax": uint64(101), "IOWeight": uint64(20),
		"IOReadBandwidthMax": []diskLimit{{"/dev/block/254:0", 1000}}, "IOWriteBandwidthMax": []diskLimit{{"/dev/block/254:0", 2000}},
	}
	got := map[string]any{}
	for _, p := range all.properties() {
		got[p.Name] = p.Value.Value()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Every limit has a controller, and can be left out by its name.
func TestEveryLimitIsNeededAndCanBeLeftOut(t *testing.T) {
	rest := all
	for _, n := range all.needs() {
		rest = rest.Without(n.key)
		if reflect.DeepEqual(rest, all) || !hasWord(strings.Join(controllers, " "), n.controller) {
			t.Errorf("%s by %s", n.key, n.controller)
		}
	}
	if !rest.None() || len(all.needs()) != 10 {
		t.Errorf("left: %+v of %d", rest, len(all.needs()))
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	facts := host.CgroupFacts{Way: host.CgroupScope, Controllers: []string{"memory", "pids"}, Why: "why", Mend: "mend"}
	got := Check(Limits{Memory: 1, CPUs: 1, CPUSet: []int{0}, CPUSetOptional: true}, facts)
	if len(got) != 1 || got[0].Limit != "cpus" || got[0].Controller != "cpu" || got[0].Mend != "mend" {
		t.Errorf("got %v", got)
	}
	if want := "the limit cpus cannot be enforced here without the cgroup controller cpu: why"; got[0].Error() != want {
		t.Errorf("got %q", got[0])
	}
	if got := Check(all, host.CgroupFacts{Way: host.CgroupNone}); len(got) != 10 {
		t.Errorf("%d of 10 limits cannot be had where there is no cgroup", len(got))
	}
}

// What a kernel writes, new and old.
func TestStats(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  Stats
	}{
		{map[string]string{
			"cpu.stat":       "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 4\nthrottled_usec 500\n",
			"memory.current": "4096\n", "memory.peak": "8192\n", "memory.events": "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\n",
			"pids.current": "3\n", "pids.peak": "51\n", "pids.events": "max 9\n", "inside/pids.events": "max 12\n",
			"io.stat": "254:0 rbytes=100 wbytes=200 rios=1 wios=2\n254:16 rbytes=1 wbytes=2\n",
		}, Stats{Memory: ptr(4096), Throttled: 500 * time.Microsecond, Pids: ptr(2), Used: Used{
			MemoryPeak: ptr(8192), CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second,
			PidsPeak: ptr(50), Read: ptr(101), Written: ptr(202), OOMKills: 2, PidsRefused: 12}}},
		{map[string]string{"cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\n", "inside/cgroup.threads": "10\n11\n12\n"},
			Stats{Pids: ptr(2), Used: Used{CPU: 5 * time.Microsecond, User: 3 * time.Microsecond, System: 2 * time.Microsecond}}},
	} {
		g := &Group{Dir: folder(t, c.files)}
		got, err := g.Stats()
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, c.want)
		}
	}
	if _, err := (&Group{Dir: "/nonexistent"}).Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a group that is gone: %v", err)
	}
}

func folder(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A file of a cgroup that is not there is an error: nothing is made in its place.
func TestWriteMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.max")
	if err := write(path, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file was made")
	}
}

func TestNamesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		name, err := unique("x")
		if err != nil || seen[name] || !strings.HasPrefix(name, "sbx-x-") {
			t.Fatalf("name %q, error %v", name, err)
		}
		seen[name] = true
	}
}

// Sockets at which no systemd answers. The process that a group is asked for must be none.
func TestBusesThatAreOutOfOrder(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"hangs":            func(net.Conn) {},
		"hangs up":         func(c net.Conn) { c.Close() },
		"speaks otherwise": func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"refuses": func(c net.Conn) {
			c.Write([]byte("REJECTED EXTERNAL\r\nREJECTED EXTERNAL\r\n"))
		},
	} {
		path := filepath.Join(t.TempDir(), "bus")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
			}
		}()
		for _, private := range []bool{true, false} {
			began := time.Now()
			s := newScopes(host.CgroupFacts{Way: host.CgroupScope, Mount: "/sys/fs/cgroup", Buses: []host.Bus{{Path: path, Private: private}}}, 300*time.Millisecond)
			_, err := s.create("", 1<<30, Limits{})
			var scope *ScopeError
			if !errors.As(err, &scope) || !strings.Contains(err.Error(), path) || time.Since(began) > 5*time.Second {
				t.Errorf("%s: error %v after %v", name, err, time.Since(began))
			}
		}
		l.Close()
	}
}

// A bus that is not there, and one that nobody asks after all.
func TestBusesThatAreGone(t *testing.T) {
	facts := host.CgroupFacts{Way: host.CgroupScope, Buses: []host.Bus{{Path: filepath.Join(t.TempDir(), "bus")}}}
	s := newScopes(facts, 300*time.Millisecond)
	var scope *ScopeError
	if _, err := s.create("", 1<<30, Limits{}); !errors.As(err, &scope) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	m := Begin(facts)
	m.Discard()
	m.Discard()
	(*Maker)(nil).Discard()
}
