package review

import (
	"testing"
	"time"
)

// A sandbox that is started again keeps the moment that its files of the host are held against.
func TestBeginKeepsTheFirstMoment(t *testing.T) {
	dir := t.TempDir()
	first := time.Now().Add(-time.Hour).Round(0)
	for _, began := range []time.Time{first, time.Now()} {
		if err := Begin(dir, Capture{Folder: "/project", Driver: Overlay, Began: began}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ReadCapture(dir)
	if err != nil || !c.Began.Equal(first) || c.Dir != dir {
		t.Errorf("read %+v, %v", c, err)
	}
	if err := Begin(dir, Capture{Folder: "/other", Driver: Overlay, Began: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if c, err = ReadCapture(dir); err != nil || c.Began.Equal(first) {
		t.Errorf("another folder: %+v, %v", c, err)
	}
}
