package main

import "runtime/debug"

// version is set by the linker when a release is built.
var version = "dev"

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the version.
func (c *versionCmd) Run() error {
	v := versionInfo{Version: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
	}
	return printVersion(v, c.JSON)
}

type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}
