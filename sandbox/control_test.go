package sandbox

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What comes with a message that nobody needs is let go of: a caller that goes on sending uses up no descriptors.
func TestSkipClosesWhatCame(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*conn
	for i, fd := range pair {
		if ends[i], err = newConn(fd); err != nil {
			t.Fatal(err)
		}
		defer ends[i].close()
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := ends[0].send(call{Op: "ping"}, in); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := ends[1].skip(); err != nil {
		t.Fatal(err)
	}
	end := int(out.Fd())
	unix.SetNonblock(end, true)
	if n, err := unix.Read(end, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the pipe that was passed is open still: read %d, %v, want its end", n, err)
	}
}
