package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"dev": true, "a": true, "A.b-c_9": true, strings.Repeat("x", 63): true,
		"": false, ".": false, "..": false, ".new-1": false, "-x": false, "a/b": false, "a b": false, "ä": false, "a\n": false, "a\x00": false,
		strings.Repeat("x", 64): false,
	} {
		if got := CheckName(name) == nil; got != ok {
			t.Errorf("%q: %v", name, got)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		name := NewName()
		if CheckName(name) != nil {
			t.Errorf("generated %q", name)
		}
		seen[name] = true
	}
	if len(seen) < 195 {
		t.Errorf("only %d names of 200 differ", len(seen))
	}
}

func testStore(t *testing.T) *Store {
	dir := t.TempDir()
	return Find(dir, os.Getuid(), func(name string) string {
		return map[string]string{"XDG_STATE_HOME": filepath.Join(dir, "state"), "XDG_RUNTIME_DIR": filepath.Join(dir, "none")}[name]
	})
}

func testRecord(name string) *Record {
	return &Record{Name: name, Kept: true, Verb: "run", Command: []string{"x"}, Created: time.Now(), Supervisor: Identify(os.Getpid())}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	env := map[string]string{"XDG_RUNTIME_DIR": dir, "XDG_STATE_HOME": "relative"}
	s := Find("/home/x", os.Getuid(), func(n string) string { return env[n] })
	if s.State != "/home/x/.local/state/sbx" || s.Runtime != filepath.Join(dir, "sbx") {
		t.Errorf("%+v", s)
	}
	os.Chmod(dir, 0o777)
	if s := Find("/home/x", os.Getuid(), func(n string) string { return env[n] }); strings.HasPrefix(s.Runtime, dir) {
		t.Errorf("a runtime folder that all may write to: %+v", s)
	}
	os.Symlink(dir, filepath.Join(dir, "link"))
	env["XDG_STATE_HOME"] = filepath.Join(dir, "link")
	if s := Find("/home/x", os.Getuid(), func(n string) string { return env[n] }); s.State != filepath.Join(dir, "sbx") {
		t.Errorf("through a link: %+v", s)
	}
}

func TestOneNameIsOneSandbox(t *testing.T) {
	s := testStore(t)
	f, err := s.Create(testRecord("dev"))
	if err != nil {
		t.Fatal(err)
	}
	var taken *ExistsError
	if _, err := s.Create(testRecord("dev")); !errors.As(err, &taken) || taken.Status != Running {
		t.Errorf("a second one: %v", err)
	}
	other, err := s.Open("dev")
	if err != nil {
		t.Fatal(err)
	}
	var busy *BusyError
	if err := other.Lock(); !errors.As(err, &busy) {
		t.Errorf("locked twice: %v", err)
	}
	f.Unlock()
	if err := other.Lock(); err != nil {
		t.Error(err)
	}
	if err := other.Remove(nil); err != nil {
		t.Error(err)
	}
	var missing *NotFoundError
	if err := f.Lock(); !errors.As(err, &missing) {
		t.Errorf("locked what is removed: %v", err)
	}
	if names, _ := os.ReadDir(s.sandboxes()); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

func TestLiveness(t *testing.T) {
	me := Identify(os.Getpid())
	if !me.Alive() {
		t.Error("this process is not alive")
	}
	for what, p := range map[string]Process{
		"another start": {me.PID, me.Start + 1, me.Boot},
		"another boot":  {me.PID, me.Start, "x"},
		"no process":    {0, 0, me.Boot},
		"a free number": {1 << 30, me.Start, me.Boot},
	} {
		if p.Alive() {
			t.Errorf("%s is alive", what)
		}
	}
}

func TestRemovesWhatIsShut(t *testing.T) {
	s := testStore(t)
	f, err := s.Create(testRecord("dev"))
	if err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(filepath.Join(f.Upper(), "a", "b"), 0o700)
	os.WriteFile(filepath.Join(f.Upper(), "a", "b", "c"), nil, 0)
	os.Chmod(filepath.Join(f.Upper(), "a", "b"), 0)
	os.Chmod(filepath.Join(f.Upper(), "a"), 0)
	if err := f.Remove(nil); err != nil {
		t.Error(err)
	}
}

func readAll(t *testing.T, f *Folder) (text []byte, entries int) {
	t.Helper()
	err := f.ReadLog(false, nil, func(e Entry) error {
		entries++
		text = append(text, e.Text...)
		if e.Whole {
			text = append(text, '\n')
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text, entries
}

func TestLogKeepsEveryByte(t *testing.T) {
	f, err := testStore(t).Create(testRecord("dev"))
	if err != nil {
		t.Fatal(err)
	}
	l := f.OpenLog()
	var want []byte
	for _, part := range []string{"one\n", "two", "\n\n", "\x00\xff\r\n", "a b F c\n", strings.Repeat("long", 20000) + "\n", "no end"} {
		l.Write("stdout", []byte(part))
		want = append(want, part...)
	}
	if got, _ := readAll(t, f); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestLogIsBounded(t *testing.T) {
	f, err := testStore(t).Create(testRecord("dev"))
	if err != nil {
		t.Fatal(err)
	}
	l := f.OpenLog()
	block := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 100))
	for range 3 * LogBound / len(block) {
		l.Write("stdout", block)
	}
	l.Write("stdout", []byte("last\n"))
	var size int64
	for _, name := range []string{logFile, oldLog} {
		info, err := os.Stat(f.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > LogBound || size < LogBound/2 {
		t.Errorf("%d bytes", size)
	}
	if text, _ := readAll(t, f); !bytes.HasSuffix(text, []byte("\nlast\n")) {
		t.Errorf("the end is missing: %q", text[max(0, len(text)-50):])
	}
}

// Whoever follows a log sees all of it, once, across its rotations.
func TestLogIsFollowedAcrossRotation(t *testing.T) {
	f, err := testStore(t).Create(testRecord("dev"))
	if err != nil {
		t.Fatal(err)
	}
	l := f.OpenLog()
	over := make(chan struct{})
	go func() {
		for i := range 30000 {
			l.Write("stdout", []byte(fmt.Sprintf("%d %s\n", i, strings.Repeat("x", 500))))
			if i%3000 == 0 {
				time.Sleep(2 * look) // so that the reader keeps up with what is thrown away
			}
		}
		close(over)
	}()
	next := 0
	err = f.ReadLog(true, func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}, func(e Entry) error {
		var n int
		if _, err := fmt.Sscan(string(e.Text), &n); err != nil || n != next {
			return fmt.Errorf("%d came, not %d: %w", n, next, io.ErrUnexpectedEOF)
		}
		next++
		return nil
	})
	if err != nil || next != 30000 {
		t.Errorf("%d lines, error %v", next, err)
	}
}
