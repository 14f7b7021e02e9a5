package layer

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func emptyAt(parent int, base string) error {
	fd, err := openBase(parent, base)
	if err != nil {
		return fmt.Errorf("emptying a folder: %w", err)
	}
	return emptyFD(fd)
}

// emptyFD removes all that is in an open folder, and closes it. It goes down one descriptor a level:
// no path is longer than the kernel takes, however deep a layer made its folders.
func emptyFD(fd int) error {
	dir := os.NewFile(uintptr(fd), "folder")
	defer dir.Close()
	for {
		names, err := dir.ReadDir(512)
		for _, entry := range names {
			if err := removeEntry(int(dir.Fd()), entry); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			if err != nil && err != io.EOF {
				return fmt.Errorf("reading a folder: %w", err)
			}
			return nil
		}
		if _, err := dir.Seek(0, 0); err != nil {
			return err
		}
	}
}

func removeEntry(parent int, entry fs.DirEntry) error {
	if !entry.IsDir() {
		if err := unix.Unlinkat(parent, entry.Name(), 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("removing %q: %w", entry.Name(), err)
		}
		return nil
	}
	if err := emptyAt(parent, entry.Name()); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, entry.Name(), unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("removing %q: %w", entry.Name(), err)
	}
	return nil
}
