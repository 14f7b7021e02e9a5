package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sbx/profiles"
	"sbx/review"
	"sbx/state"
)

// A point is what a kept sandbox had changed at one time: a copy of its folder upper, with owners, links,
// holes and what an overlay notes in attributes. Where the file system has reflinks the copy takes no room of
// its own. It lies in the sandbox's folder, under points, and goes with the sandbox.

// Point is one of a sandbox's points.
type Point struct {
	Name string    `json:"name"`
	Made time.Time `json:"made"`
}

const (
	pointsFolder = "points"
	// passingPoint begins the names of points that are being made or removed.
	passingPoint = ".new-"
)

// PointMissingError is a point that a sandbox does not have.
type PointMissingError struct{ Sandbox, Point string }

func (e *PointMissingError) Error() string {
	if e.Point == "" {
		return e.Sandbox + " has no snapshot"
	}
	return e.Sandbox + " has no snapshot " + e.Point
}

// Points lists the points of a sandbox, the oldest first. What killed commands left is no point.
func Points(folder string) ([]Point, error) {
	entries, err := os.ReadDir(filepath.Join(folder, pointsFolder))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	var list []Point
	for _, e := range entries {
		info, err := e.Info()
		if state.CheckName(e.Name()) != nil || err != nil {
			continue
		}
		list = append(list, Point{e.Name(), info.ModTime()})
	}
	slices.SortStableFunc(list, func(a, b Point) int { return a.Made.Compare(b.Made) })
	return list, nil
}

// PointUpper is the copy of the folder upper that a point is.
func PointUpper(folder, point string) string {
	return filepath.Join(folder, pointsFolder, point, "upper")
}

// MakePoint keeps what the sandbox in a folder has changed, under a name, or the next number where that is "".
// The caller holds the folder's lock, and the sandbox does not run.
func MakePoint(folder *state.Folder, name string) (string, error) {
	all := folder.Path(pointsFolder)
	if err := makeFolder(all, 0o700); err != nil {
		return "", err
	}
	list, err := Points(folder.Path(""))
	if err != nil {
		return "", err
	}
	taken := func(name string) bool { return slices.ContainsFunc(list, func(p Point) bool { return p.Name == name }) }
	for n := 1; name == ""; n++ {
		if !taken(strconv.Itoa(n)) {
			name = strconv.Itoa(n)
		}
	}
	if taken(name) {
		return "", &UsageError{fmt.Sprintf("%s has a snapshot %s already", folder.Name(), name), "choose another name"}
	}
	passing := filepath.Join(all, passingPoint+name)
	if err := copyUpper(folder.Path(""), folder.Upper(), passing); err != nil {
		return "", err
	}
	now := time.Now()
	os.Chtimes(passing, now, now)
	if err := os.Rename(passing, filepath.Join(all, name)); err != nil {
		return "", fmt.Errorf("keeping the snapshot %s: %w", name, err)
	}
	return name, nil
}

// RestorePoint brings back what the sandbox had changed at a point, the last one where name is "". It is one
// step for everybody else: what the sandbox has changed is that of now or that of the point.
func RestorePoint(folder *state.Folder, name string) (string, error) {
	list, err := Points(folder.Path(""))
	if err != nil {
		return "", err
	}
	if name == "" && len(list) > 0 {
		name = list[len(list)-1].Name
	}
	if !slices.ContainsFunc(list, func(p Point) bool { return p.Name == name }) {
		return "", &PointMissingError{folder.Name(), name}
	}
	passing := folder.Path(pointsFolder + "/" + passingPoint + "restored")
	if err := copyUpper(folder.Path(""), PointUpper(folder.Path(""), name), passing); err != nil {
		return "", err
	}
	err = unix.Renameat2(unix.AT_FDCWD, filepath.Join(passing, "upper"), unix.AT_FDCWD, folder.Upper(), unix.RENAME_EXCHANGE)
	if err != nil {
		removeFolder(passing)
		return "", fmt.Errorf("restoring the snapshot %s: %w", name, err)
	}
	return name, removeFolder(passing)
}

// copyUpper copies a folder upper, which lies below the folder of a sandbox, to a new folder's upper, and
// fits what is noted of copies to the new files.
func copyUpper(below, from, to string) error {
	if exists(to) { // of a command that was killed
		if err := removeFolder(to); err != nil {
			return err
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("making a snapshot: %w", err)
	}
	err := copyInside(below, from, filepath.Join(to, "upper"))
	if err == nil {
		err = relist(CapturesFolder(from), CapturesFolder(filepath.Join(to, "upper")))
	}
	if err != nil {
		removeFolder(to)
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

func relist(from, to string) error {
	captures, err := review.Captures(from)
	if err != nil {
		return err
	}
	for _, c := range captures {
		if err := review.Relist(c.Dir, filepath.Join(to, filepath.Base(c.Dir))); err != nil {
			return err
		}
	}
	return nil
}

// CopyJob is the job of the program inside that copies a tree with its owners.
const CopyJob = "copy"

// copyInside copies a tree below a folder, as root of the user namespace with the map of the sandboxes.
func copyInside(below, from, to string) error {
	account, err := Caller()
	if err != nil {
		return err
	}
	maps, _, err := IDMaps(account, profiles.User{Kind: profiles.UserRoot})
	if err != nil {
		return err
	}
	source, err1 := filepath.Rel(below, from)
	target, err2 := filepath.Rel(below, to)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	work := Inside{Maps: maps, Args: []string{CopyJob, source, target}, Folders: map[string]string{InsideFolder: below}, Stderr: w}
	process, err := work.Start()
	w.Close()
	if err != nil {
		return err
	}
	said, _ := io.ReadAll(io.LimitReader(r, 64<<10))
	status, err := process.Wait()
	var answer struct{ Error string }
	json.Unmarshal(said, &answer)
	switch {
	case err != nil:
		return err
	case answer.Error != "":
		return errors.New(answer.Error)
	case exitStatus(status) != 0:
		return &InsideError{exitStatus(status)}
	}
	return nil
}

// CopyOwned is what the program inside does for CopyJob: source and target lie below the one folder that it sees.
func CopyOwned(source, target string) error {
	from, err := openFolder(filepath.Join(InsideFolder, source))
	if err != nil {
		return err
	}
	defer from.Close()
	target = filepath.Join(InsideFolder, target)
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	to, err := openFolder(target)
	if err != nil {
		return err
	}
	defer to.Close()
	c := &treeCopy{top: to, links: map[fileID]string{}, owners: true}
	return c.begin(from)
}
