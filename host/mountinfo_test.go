package host

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const sampleMounts = `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:2 master:1 - proc proc rw,hidepid=2
40 27 0:40 /a\040b /home/u/my\040data ro,noatime - tmpfs none rw,size=4k
41 27 0:41 / /home/u/back\134slash\011tab\012line rw - fuse.x  rw
42 22 0:42 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
`

func TestParseMountInfo(t *testing.T) {
	got, err := ParseMountInfo(strings.NewReader(sampleMounts))
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{27, 1, "254:0", "/", "/", "rw,relatime", "shared:1", "ext4", "/dev/vda", "rw,discard"},
		{22, 27, "0:21", "/", "/proc", "rw,nosuid,nodev,noexec,relatime", "shared:2 master:1", "proc", "proc", "rw,hidepid=2"},
		{40, 27, "0:40", "/a b", "/home/u/my data", "ro,noatime", "", "tmpfs", "none", "rw,size=4k"},
		{41, 27, "0:41", "/", "/home/u/back\\slash\ttab\nline", "rw", "", "fuse.x", "", "rw"},
		{42, 22, "0:42", "/", "/proc/sys/fs/binfmt_misc", "rw", "", "autofs", "systemd-1", "rw"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseMountInfoRefusesNonsense(t *testing.T) {
	for _, text := range []string{"\n", "x\n", "1 2 3:4 / / rw ext4 /dev/x rw\n", "a 2 3:4 / / rw - ext4 /dev/x rw\n", "1 2 3:4 / - ext4 a b\n"} {
		if got, err := ParseMountInfo(strings.NewReader(text)); err == nil {
			t.Errorf("ParseMountInfo(%q) = %v, want an error", text, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		``: ``, `\`: `\`, `\04`: `\04`, `\040`: ` `, `a\134040`: `a\040`, `\777`: `\777`, `\09x`: `\09x`, `x\040`: `x `,
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMountQuestions(t *testing.T) {
	mounts, err := ParseMountInfo(strings.NewReader(sampleMounts))
	if err != nil {
		t.Fatal(err)
	}
	if below := MountsBelow(mounts, "/home/u"); len(below) != 2 {
		t.Errorf("mounts below /home/u: %v, want two", below)
	}
	if below := MountsBelow(mounts, "/hom"); below != nil {
		t.Errorf("mounts below /hom: %v, want none", below)
	}
	if m, ok := MountOf(mounts, "/home/u/my data/x"); !ok || m.ID != 40 {
		t.Errorf("mount of a file in a mounted folder: %v", m)
	}
	if m, ok := MountOf(mounts, "/home/u/my database"); !ok || m.ID != 27 {
		t.Errorf("mount of a file beside a mounted folder: %v", m)
	}
	if f := mounts[2].LockedFlags(); f != unix.MS_RDONLY|unix.MS_NOATIME {
		t.Errorf("flags of ro,noatime: %#x", f)
	}
	if f := mounts[3].LockedFlags(); f != unix.MS_STRICTATIME {
		t.Errorf("flags of a mount without any: %#x", f)
	}
	if mode := hidepidOf(mounts); mode != "invisible" {
		t.Errorf("hidepid=2 is %q, want invisible", mode)
	}
}

func TestMountsOfThisMachine(t *testing.T) {
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := MountOf(mounts, "/proc/self/mountinfo"); !ok || m.Type != "proc" {
		t.Errorf("the mount of /proc/self/mountinfo is %+v", m)
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add(sampleMounts)
	if real, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(real))
	}
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMountInfo(strings.NewReader(text))
		if err != nil {
			return
		}
		if lines := strings.Count(text, "\n"); len(mounts) < lines || len(mounts) > lines+1 {
			t.Errorf("%d mounts from %d lines", len(mounts), lines)
		}
		for _, m := range mounts {
			MountOf(mounts, m.Point)
			MountsBelow(mounts, m.Point)
			m.LockedFlags()
		}
		hidepidOf(mounts)
	})
}
