// Command sbx runs commands in rootless sandboxes.
package main

import (
	_ "github.com/BurntSushi/toml"
	_ "github.com/alecthomas/kong"
	_ "github.com/creack/pty"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/rootless-containers/rootlesskit/v3/pkg/parent/dynidtools"
	_ "github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
	_ "github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
)

func main() {}
