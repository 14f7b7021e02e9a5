package sandbox

import (
	"os"
	"path/filepath"

	"sbx/images"
)

// ImageStore is the image store of a user, in $XDG_DATA_HOME or its default below the home.
func ImageStore(home string) *images.Store {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(home, ".local/share")
	}
	return &images.Store{Dir: filepath.Join(realPath(data), "sbx/images")}
}
