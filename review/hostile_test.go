package review

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Names are any bytes: none is lost, and no two become one.
func TestHostileNames(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "true")
		p.sandbox(`printf x >"$(printf 'a\nb')"; printf x >"$(printf 'esc\033[2Jape')"; printf x >"$(printf 'bad\377utf')"; printf y >"$(printf 'bad\376utf')"
			printf x >'per%cent'; printf x >'per%25cent'; printf x >-rf; printf x >' '; mkdir 'q"uote'; printf x >'q"uote/..x'`)
		want := p.sh(filepath.Join(p.held, "0/upper"), "find . -type f | LC_ALL=C sort | od -c")
		s := p.open()
		list, err := s.Changes()
		p.must(err)
		p.must(s.NoteShown(list, true))
		p.must(p.open().HoldToShown(list))
		p.must(p.apply(nil))
		if got := p.sh(p.dir, "find . -type f | LC_ALL=C sort | od -c"); got != want {
			t.Errorf("applied:\n%s\nwant:\n%s", got, want)
		}
		p.must(p.undo())
		if got := p.hash(); strings.TrimSpace(got) != "" {
			t.Errorf("undone: %s", got)
		}
	})
}

// A path longer than a system call takes is named, and the rest is applied.
func TestLongPath(t *testing.T) {
	p := newProject(t, Overlay, "true")
	name := strings.Repeat("n", 250)
	p.sandbox(`echo x >fine; perl -e 'for (1..20) { mkdir $ARGV[0] or die; chdir $ARGV[0] or die } open F, ">deep" or die' ` + name)
	list := p.changes()
	refused := slices.DeleteFunc(slices.Clone(list), func(c *Change) bool { return c.Refused == "" })
	if len(refused) != 1 {
		t.Errorf("refused: %d of %d", len(refused), len(list))
	}
	p.must(p.apply(func(c *Change) bool { return c.Path == "fine" }))
	p.sh(filepath.Join(p.held, "0/upper"), "rm -rf *") // what Go's own removal cannot
}

// Nothing but files, folders and links is applied, and a reader waits for no FIFO.
func TestSpecialFiles(t *testing.T) {
	p := newProject(t, Overlay, "echo x >was; mkfifo hosts; mkdir d; mkfifo d/f; echo y >d/g")
	p.sandbox(`mkfifo pipe; rm was; mkfifo was; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "socket", Listen => 1)'; rm -r d`)
	p.expect("created pipe (refused)", "created socket (refused)", "replaced was (refused)", "deleted d")
	before := p.hash()
	p.must(p.apply(nil))
	p.must(p.undo())
	if got := p.hash(); got != before {
		t.Errorf("undone:\n%s\nwant:\n%s", got, before)
	}
}

// A sparse file of 100 GB costs what it holds.
func TestSparse(t *testing.T) {
	both(t, func(t *testing.T, driver string) {
		p := newProject(t, driver, "truncate -s 100G same; truncate -s 100G grown")
		p.sandbox("truncate -s 100G new; printf x | dd of=new bs=1 seek=99G conv=notrunc status=none; touch same; printf y | dd of=grown bs=1 seek=50G conv=notrunc status=none")
		start := time.Now()
		p.expect("created new", "changed grown")
		p.must(p.apply(nil))
		p.expect()
		s := p.open()
		s.Live = true
		p.must(s.Pin(p.changes()))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		if used := p.sh(p.dir, "du -sm . | cut -f1"); len(strings.TrimSpace(used)) > 1 {
			t.Errorf("uses %s MiB", used)
		}
		if got := p.sh(p.dir, "dd if=new bs=1 skip=99G count=1 status=none"); got != "x" {
			t.Errorf("holds %q", got)
		}
	})
}

// Files that their owner may not read are an error of their own, where nobody helps; with the process in the
// user namespace they are read.
func TestUnreadable(t *testing.T) {
	p := newProject(t, Overlay, "echo a >shut; mkdir d; echo a >d/in")
	p.sandbox("echo b >>shut; chmod 0 shut; echo b >>d/in; echo c >d/new; chmod 0 d/new; chmod 0 d; mkdir e; ln -s x e/l; chmod 0 e")
	if os.Getuid() == 0 {
		t.Skip("root reads every file, so there is none that is shut: the test runs as a user")
	}
	s := p.open()
	if _, err := s.Changes(); !refused(err) && !strings.Contains(fmt.Sprint(err), "may read it") {
		t.Errorf("without help: %v", err)
	}
	s = p.open()
	s.Foreign = p.serve
	list, err := s.Changes()
	p.must(err)
	got := words(list)
	slices.Sort(got)
	if want := []string{"changed d/in", "changed shut", "created d/new", "created e/l", "mode d"}; !slices.Equal(got, want) {
		t.Fatalf("changes: %v, want %v", got, want)
	}
	p.must(p.locked().Apply(s, slices.DeleteFunc(list, func(c *Change) bool { return c.Inner }), ApplyOptions{}))
	s = p.open()
	s.Foreign = p.serve
	if got := p.sh(p.dir, "stat -c '%a %n' shut d e"); got != "0 shut\n700 d\n700 e\n" {
		t.Errorf("applied: %s", got)
	}
}

// serve starts the answering side as root of a user namespace, as this test program once more.
func (p *project) serve(folder string) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	defer theirs.Close()
	cmd := exec.Command("unshare", "-Ur", os.Args[0])
	cmd.Env = append(os.Environ(), "REVIEW_DO=serve", "REVIEW_HELD="+folder)
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go cmd.Wait()
	return os.NewFile(uintptr(pair[0]), "ours"), nil
}

// What is swapped for links while it is read leads nowhere: neither in the upper nor on the host.
func TestSwappedWhileReading(t *testing.T) {
	p := newProject(t, Overlay, "mkdir -p d; echo x >d/file")
	outside := filepath.Join(filepath.Dir(p.dir), "outside")
	p.sh(filepath.Dir(p.dir), "mkdir outside; echo secret >outside/file; echo secret >outside/other")
	p.sandbox("echo y >>d/file; echo z >d/other; mkdir e; echo w >e/file")
	for _, root := range []string{filepath.Join(p.held, "0/upper"), p.dir} {
		stop, done := make(chan bool), make(chan bool)
		go func() {
			defer close(done)
			d, was := filepath.Join(root, "d"), filepath.Join(root, ".was")
			for {
				select {
				case <-stop:
					return
				default:
				}
				os.Rename(d, was)
				os.Symlink(outside, d)
				time.Sleep(50 * time.Microsecond)
				os.Remove(d)
				os.Rename(was, d)
				time.Sleep(50 * time.Microsecond)
			}
		}()
		for range 60 {
			s := p.open()
			list, err := s.Changes()
			if err == nil {
				for _, c := range list {
					if patch, err := c.Patch(); err == nil {
						for _, h := range patch.Hunks {
							for _, l := range h.Lines {
								if strings.Contains(l.Text, "secret") {
									t.Fatal("it read through the link")
								}
							}
						}
					}
				}
				if p.locked().Apply(s, slices.DeleteFunc(list, func(c *Change) bool { return c.Inner || c.Refused != "" || c.Conflict != "" }), ApplyOptions{}) == nil {
					p.undo()
				}
			}
			s.Close()
			_, err = p.journals.Recover()
			if err != nil && !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOENT) {
				t.Logf("recovering: %v", err)
			}
		}
		close(stop)
		<-done
	}
	if got := p.sh(outside, "ls -A; cat *"); got != "file\nother\nsecret\nsecret\n" {
		t.Errorf("outside: %s", got)
	}
}

// What lies where a link leads on the host is left alone.
func TestHostLinkInThePath(t *testing.T) {
	p := newProject(t, Overlay, "mkdir -p d; echo x >d/file")
	p.sandbox("echo y >>d/file; echo z >d/other")
	p.host("mkdir ../outside; mv d ../was; ln -s ../outside d")
	list, err := p.open().Changes()
	if err == nil {
		err = p.locked().Apply(p.open(), list, ApplyOptions{Overwrite: true})
	}
	if got := p.sh(p.dir, "ls -A ../outside"); got != "" {
		t.Errorf("written outside: %s (%v)", got, err)
	}
}

// A disk that is full in the middle leaves what was.
func TestDiskFull(t *testing.T) {
	p := newProject(t, Overlay, "echo x >keep; mkdir project")
	p.sandbox("rm keep; echo y >new; for i in 1 2 3 4 5 6 7 8; do head -c 600k /dev/urandom >big$i; done")
	script := `mount -t tmpfs -o size=2m none ` + p.dir + `; echo x >` + p.dir + `/keep
		` + os.Args[0] + ` || echo status $?; ls -A ` + p.dir
	cmd := exec.Command("unshare", "-Urm", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "REVIEW_DO=overwrite", "REVIEW_HELD="+p.held, "REVIEW_JOURNALS="+string(p.locked()))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no space left") || !strings.HasSuffix(string(out), "status 1\nkeep\n") {
		t.Errorf("%v: %s", err, out)
	}
	if names, _ := p.journals.names(); len(names) != 0 {
		t.Errorf("left journals: %v", names)
	}
}

// The project and the journals may lie on two file systems.
func TestFarJournal(t *testing.T) {
	p := newProject(t, Overlay, someFiles).sandbox(someChanges)
	script := `mount -t tmpfs none ` + p.dir + `; cd ` + p.dir + someFiles + `
		sum() { find . -mindepth 1 -printf '%p %y %m %l %s\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; }
		before=$(sum); REVIEW_DO=overwrite ` + os.Args[0] + `; sum | grep counted >/dev/null || echo not applied
		REVIEW_DO=undo ` + os.Args[0] + `; test "$before" = "$(sum)" && echo back`
	cmd := exec.Command("unshare", "-Urm", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "REVIEW_HELD="+p.held, "REVIEW_JOURNALS="+string(p.locked()))
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "back\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// What would run as another user loses that.
func TestSetUserID(t *testing.T) {
	p := newProject(t, Overlay, "true").sandbox("echo x >su; chmod 6755 su")
	if list := p.changes(); list[0].Later == "" {
		t.Error("a set-user-ID file does not run later")
	}
	p.must(p.apply(nil))
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(p.dir, "su"), &st); err != nil || st.Mode&0o7777 != 0o755 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
}

// Paths as JSON.
func FuzzRaw(f *testing.F) {
	for _, s := range []string{"a", "%", "%41", "a\xff", "\xfe%\xff", "é", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := raw(s).MarshalText()
		var back raw
		if err != nil || back.UnmarshalText(text) != nil || string(back) != s {
			t.Errorf("%q became %q, and %q (%v)", s, text, back, err)
		}
	})
}

// Any two texts: all hunks make the new one, none the old one.
func FuzzHunks(f *testing.F) {
	for _, p := range [][2]string{{"", ""}, {"a", ""}, {"", "a\n"}, {"a\nb\n", "b\na"}, {"a\n\nb", "a\nb"}, {"\n", ""}} {
		f.Add(p[0], p[1])
	}
	f.Fuzz(func(t *testing.T, old, new string) {
		p := compareText(old, new)
		if got := string(p.Choose(func(int) bool { return true })); got != new {
			t.Errorf("all of %q to %q made %q", old, new, got)
		}
		if got := string(p.Choose(func(int) bool { return false })); got != old {
			t.Errorf("none of %q to %q made %q", old, new, got)
		}
	})
}

// What a merge makes of two edits of which one is none is the other.
func FuzzMerge(f *testing.F) {
	f.Add("a\nb\n", "a\nc\n")
	f.Fuzz(func(t *testing.T, began, new string) {
		for _, pair := range [][2]string{{began, new}, {new, began}, {new, new}} {
			if got, err := mergeText(began, pair[0], pair[1]); err != nil || got != new {
				t.Errorf("merging %q: %q, %v", pair, got, err)
			}
		}
	})
}
