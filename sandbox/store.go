package sandbox

import (
	"os"
	"path/filepath"

	"sbx/images"
)

// ImageStore is the image store of a user, in $XDG_DATA_HOME or its default below the home.
func ImageStore(home string) *images.Store {
	return &images.Store{Dir: filepath.Join(dataFolder(home), "images")}
}

// dataFolder is $XDG_DATA_HOME/sbx, or its default below the home, without symlinks.
func dataFolder(home string) string {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(home, ".local/share")
	}
	return filepath.Join(realPath(data), "sbx")
}
