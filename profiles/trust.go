package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ID names a grant on every machine: paths in the project and in the home
// folder are relative to those. Two grants with one ID give the same.
func (l *Layers) ID(g Grant) string {
	id := g.Key + "=" + l.portable(g)
	if g.Part != "" {
		id = g.Part + ": " + id
	}
	return id
}

// portable is a grant's value with the folders that differ between machines
// left out. All of these values hold absolute paths, so none can be mistaken
// for one that was shortened.
func (l *Layers) portable(g Grant) string {
	if !strings.HasPrefix(g.Key, "files.") && g.Key != "root.dir" {
		return g.Value
	}
	parts := strings.Split(g.Value, ":")
	for i, part := range parts {
		switch {
		case !filepath.IsAbs(part):
		case within(part, l.o.Project.Dir):
			parts[i] = "." + strings.TrimPrefix(part, l.o.Project.Dir)
		case l.o.Home != "" && within(part, l.o.Home):
			parts[i] = "~" + strings.TrimPrefix(part, l.o.Home)
		}
	}
	return strings.Join(parts, ":")
}

// IDs are those of several grants, sorted, each once.
func (l *Layers) IDs(grants []Grant) []string {
	ids := []string{}
	for _, g := range grants {
		ids = append(ids, l.ID(g))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Hash stands for exactly these grants, on every machine: SHA-256 in hex, over
// the sorted IDs with their lengths, so that none can hold another.
func (l *Layers) Hash(grants []Grant) string {
	h := sha256.New()
	for _, id := range l.IDs(grants) {
		fmt.Fprintf(h, "%d:%s\n", len(id), id)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// InTrustedFolder tells whether the user's configuration says that profiles of
// projects at this place need no consent.
func (l *Layers) InTrustedFolder() bool {
	return slices.ContainsFunc(l.Config.Trust.Folders.Values(), func(folder string) bool {
		real, ok := resolve(folder)
		return ok && within(l.o.Project.Dir, real.path)
	})
}

// NotAgreed leaves out the grants that a record holds. What was agreed to for
// the whole file holds for its variants and tasks; what was agreed to for one
// of these holds for that alone.
func (l *Layers) NotAgreed(asked []Grant, r Record) []Grant {
	return slices.DeleteFunc(slices.Clone(asked), func(g Grant) bool {
		for part := g.Part; ; {
			one := g
			one.Part = part
			open := Grant{Key: "network.mode", Value: string(NetOn), Part: part}
			if slices.Contains(r.Grants, l.ID(one)) || l.inOpenNetwork(g) && slices.Contains(r.Grants, l.ID(open)) {
				return true
			}
			if part == "" {
				return false
			}
			part, _, _ = strings.Cut(part, ", ")
			if part == one.Part {
				part = ""
			}
		}
	})
}

// inOpenNetwork tells whether a grant is an entry of an allowlist that a network
// without one reaches too: who agreed to that agreed to more. Where the user has
// a list, the network that was agreed to keeps to that.
func (l *Layers) inOpenNetwork(g Grant) bool {
	if g.Key != "network.allow" || l.own().Network.Allow.Set {
		return false
	}
	rule, err := ParseRule(g.Value)
	return err == nil && rule.public()
}

// MergeWithout lays the project's layer over the user's without the values
// that ask for these grants; all else of it holds.
func (l *Layers) MergeWithout(asked []Grant) (*Loaded, error) {
	mine := l.mine(true)
	for _, g := range asked {
		for _, k := range profileKeys {
			if k.path() == g.Key {
				k.drop(mine, g.Value)
			}
		}
	}
	if left := l.asked(l.own(), mine); len(left) > 0 {
		return nil, &GrantError{File: l.File(), Grants: left, StandsIn: l.StandsIn()}
	}
	return l.merged(mine), nil
}

// Record is what was agreed to for one project.
type Record struct {
	Path   string   `json:"path"`   // of the project, symlinks resolved
	Grants []string `json:"grants"` // IDs
}

// Records is the folder that holds a file for each project with grants that
// the user agreed to.
type Records string

// file names a record by its project's real path, so that a clone or worktree
// at another place is another project.
func (r Records) file(project string) string {
	sum := sha256.Sum256([]byte(project))
	return filepath.Join(string(r), hex.EncodeToString(sum[:])+".json")
}

const maxRecord = 1 << 20 // bytes; a grant is a line

// Of returns what was agreed to for a project; nothing if there is no record.
func (r Records) Of(project string) (Record, error) {
	record, err := r.read(r.file(project))
	switch {
	case absent(err):
		return Record{Path: project}, nil
	case err != nil:
		return Record{}, err
	case record.Path != project:
		return Record{}, fmt.Errorf("reading the record of what was agreed to for %q: %s is that of %q", project, r.file(project), record.Path)
	}
	return record, nil
}

// read takes a record only from a file that nobody else can have written.
func (r Records) read(path string) (Record, error) {
	fd, err := unix.Open(path, openFlags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Record{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Record{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Record{}, fmt.Errorf("reading %s: others can write it; remove it, and agree anew", path)
	}
	if st.Size > maxRecord {
		return Record{}, fmt.Errorf("reading %s: it is larger than %d bytes; remove it, and agree anew", path, maxRecord)
	}
	var record Record
	if err := json.NewDecoder(f).Decode(&record); err != nil {
		return Record{}, fmt.Errorf("reading %s: %w; remove it, and agree anew", path, err)
	}
	return record, nil
}

// Put keeps a record: mode 0600, and whole or not at all.
func (r Records) Put(record Record) error {
	if err := r.put(record); err != nil {
		return fmt.Errorf("keeping what was agreed to for %q: %w", record.Path, err)
	}
	return nil
}

func (r Records) put(record Record) error {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	if len(data) > maxRecord {
		return errors.New("there are too many grants")
	}
	if err := os.MkdirAll(string(r), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(r), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), r.file(record.Path))
}

// Remove forgets what was agreed to for a project; ok reports whether there
// was a record.
func (r Records) Remove(project string) (ok bool, err error) {
	err = os.Remove(r.file(project))
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}

// All returns every record, in the order of their paths. A file that is none
// is an error that names it.
func (r Records) All() ([]Record, error) {
	entries, err := os.ReadDir(string(r))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Record
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue // one that is being written
		}
		record, err := r.read(filepath.Join(string(r), e.Name()))
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, record)
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}
