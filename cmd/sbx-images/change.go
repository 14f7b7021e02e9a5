package main

import (
	"encoding/json"
	"slices"
	"strings"

	"sbx/images"
)

// changes are the keys of --change.
var changes = map[string]func(*images.Config, string){
	"ENV": func(c *images.Config, v string) {
		name, _, _ := strings.Cut(v, "=")
		c.Env = append(slices.DeleteFunc(slices.Clone(c.Env), func(old string) bool { return strings.HasPrefix(old, name+"=") }), v)
	},
	"CMD":        func(c *images.Config, v string) { c.Cmd = words(v) },
	"ENTRYPOINT": func(c *images.Config, v string) { c.Entrypoint = words(v) },
	"USER":       func(c *images.Config, v string) { c.User = v },
	"WORKDIR":    func(c *images.Config, v string) { c.WorkingDir = v },
	"STOPSIGNAL": func(c *images.Config, v string) { c.StopSignal = v },
	"VOLUME": func(c *images.Config, v string) {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		for _, volume := range words(v) {
			c.Volumes[volume] = struct{}{}
		}
	},
	"LABEL": func(c *images.Config, v string) {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		name, value, _ := strings.Cut(v, "=")
		c.Labels[name] = value
	},
}

// words are a JSON array of strings, or else a line for the shell.
func words(v string) []string {
	var list []string
	if json.Unmarshal([]byte(v), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", v}
}
