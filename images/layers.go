package images

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sbx/userns"
)

// Meta is what the unpacking of a layer found out, kept beside the tree: a start then looks at none
// of its files, which may be anything, and may belong to sub-ids.
type Meta struct {
	DiffID  string `json:"diff_id"`
	Bytes   int64  `json:"bytes"` // of file content
	Entries int64  `json:"entries"`
	// Devices are device nodes that were left out, and Attributes extended attributes; at most some.
	Devices    []string `json:"devices,omitempty"`
	Attributes []string `json:"attributes,omitempty"`
	// Passwd and Group are the contents of /etc/passwd and /etc/group, where the layer has them as
	// files of a usual size.
	Passwd *string `json:"passwd,omitempty"`
	Group  *string `json:"group,omitempty"`
	// Links are the symbolic links at the top of the tree and one below, such as /lib and /var/run.
	Links map[string]string `json:"links,omitempty"`
	// Folders are the folders at the top of the tree and one below.
	Folders []string `json:"folders,omitempty"`
	// Boot is the boot of the machine (random(4), boot_id) in which the layer was unpacked, until it is
	// known to be on the disk. In another boot it may have lost what it had.
	Boot string `json:"boot,omitempty"`
	// Gone are the whiteouts of what the fields above tell.
	Gone []string `json:"gone,omitempty"`
}

// LayerName is the folder of a layer below that of its layout. It is short, since all layers of an
// image go into one call of mount(2), and still has 100 bits of the digest.
func LayerName(diffID string) string {
	sum := sha256.Sum256([]byte(diffID))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:20]
}

// TreeName is the tree in a layer's folder.
const TreeName = "f"

const metaName = "layer.json"

// MetaFile is where the record of an unpacked layer lies, below the layer's folder.
func MetaFile(dir string) string { return filepath.Join(dir, metaName) }

// Unpacked reads the record of a layer that is unpacked for a layout; ok is false where it is not.
func (s *Store) Unpacked(layout, diffID string) (meta Meta, ok bool, err error) {
	err = readJSON(MetaFile(filepath.Join(s.Layout(layout), LayerName(diffID))), &meta)
	var damaged *DamagedError // by a loss of power: it is unpacked again
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &damaged) {
		return Meta{}, false, nil
	}
	if err == nil && meta.DiffID != diffID {
		err = &DamagedError{diffID, "the store has another layer in its place"}
	}
	if err == nil && meta.Boot != "" && meta.Boot != bootID() {
		return meta, false, nil
	}
	return meta, err == nil, err
}

// bootID names this boot of the machine.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

// LayoutOf names the id layout of a user namespace: which host id each id inside is. Files of a layer
// belong to host ids, so that a layer serves one layout.
func LayoutOf(m userns.Maps) string {
	// A Maps without its helpers and flags; the ranges come in a fixed order.
	data, _ := json.Marshal([2][]userns.Range{m.UID, m.GID})
	sum := sha256.Sum256(data)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:16]
}
