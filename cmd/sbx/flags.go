package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sbx/host"
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/state"
)

// sandboxFlags are shared by run, shell and explain. Each that speaks for a key of the profile says
// so in its key tag; profiles checks the values, and refuses the keys that are not there yet.
type sandboxFlags struct {
	Profile string   `short:"p" placeholder:"NAME" help:"Use this profile: a variant in sbx.toml, one of your own, or a built-in."`
	Image   string   `short:"i" placeholder:"REF" help:"Root file system from an image."`
	Rootfs  string   `placeholder:"DIR" help:"Root file system from an unpacked tree."`
	User    string   `short:"u" placeholder:"me|root|UID[:GID]" help:"User inside; outside it is always you."`
	Mount   []string `short:"v" sep:"none" placeholder:"SRC[:DST][:ro|rw]" help:"Show a host path."`
	Tmpfs   []string `sep:"none" placeholder:"DST" help:"An empty folder in memory."`
	Project string   `placeholder:"write|read|review|none" help:"What the command may do with the project."`
	Net     string   `placeholder:"none|on|slirp|pasta|builtin|host|join:NAME" help:"Network; none by default."`
	IPC     string   `name:"ipc" placeholder:"join:NAME" help:"System V IPC and message queues of another sandbox."`
	Allow   []string `sep:"none" placeholder:"HOST[:PORT]" help:"Allow this destination alone."`
	Ask     bool     `help:"Ask, on this terminal, for each destination that is not allowed."`
	Publish []string `short:"P" sep:"none" placeholder:"[IP:]HOST:INSIDE[/udp]" help:"Publish a port."`
	CapAdd  []string `sep:"none" placeholder:"NAME" help:"Add a capability."`
	CapDrop []string `sep:"none" placeholder:"NAME" help:"Drop a capability."`
	Env     []string `short:"e" sep:"none" placeholder:"KEY[=VALUE]" help:"Pass or set a variable."`
	Memory  string   `short:"m" placeholder:"SIZE" help:"Limit of memory, as in 512M or 4GiB."`
	Cpus    string   `placeholder:"N" help:"Limit of processors, as in 2 or 0.5."`
	Pids    string   `placeholder:"N" help:"Limit of processes and threads."`
	Timeout string   `placeholder:"DURATION" help:"End the command after this time, with status 124."`
	Name    string   `short:"n" placeholder:"NAME" help:"Keep the sandbox under this name."`
	Detach  bool     `short:"d" help:"Run in the background."`
	Rm      bool     `help:"Remove the sandbox when it ends."`
	Workdir string   `short:"w" placeholder:"DIR" help:"Working folder inside."`

	PreserveFds int `placeholder:"N" help:"Hand in N open descriptors, from 3 on."`

	BestEffort   bool   `help:"Go on where a limit cannot be enforced."`
	Require      string `placeholder:"LEVEL" help:"Refuse to run below this level of assurance."`
	Trust        string `placeholder:"HASH" help:"Accept exactly these grants of the project."`
	Review       bool   `help:"Review the changes at the end."`
	ApplyIfClean bool   `help:"Apply the changes if nothing in them runs later."`
	Stats        bool   `help:"Print what the sandbox used, when it has ended."`
	JSON         bool   `name:"json" help:"Print JSON."`

	// Without is the hash of grants that a person has declined at the terminal: the program that takes this one's place
	// (BecomeCopy) is told so, and asks no second time. It takes away, so that anybody may give it.
	Without string `hidden:"" json:"-"`
}

// keys are the flags that speak for keys of the profile.
func (f *sandboxFlags) keys() []profiles.Flag {
	var list []profiles.Flag
	one := func(name, key, value string) {
		if value != "" {
			list = append(list, profiles.Flag{Name: name, Key: key, Values: []string{value}})
		}
	}
	many := func(name, key string, values []string) {
		if len(values) > 0 {
			list = append(list, profiles.Flag{Name: name, Key: key, Values: values})
		}
	}
	one("--image", "root.image", f.Image)
	one("--rootfs", "root.dir", f.Rootfs)
	one("--user", "root.user", f.User)
	many("--mount", "files.mounts", f.Mount)
	many("--tmpfs", "files.tmpfs", f.Tmpfs)
	one("--project", "files.project", f.Project)
	one("--net", "network.mode", f.Net)
	if f.Net == "" && len(f.Allow) > 0 {
		one("--allow", "network.mode", "on")
	}
	if f.Net == "" && len(f.Allow) == 0 && f.Ask {
		one("--ask", "network.mode", "on")
	}
	many("--allow", "network.allow", f.Allow)
	many("--publish", "network.ports", f.Publish)
	many("--cap-add", "harden.cap_add", f.CapAdd)
	many("--cap-drop", "harden.cap_drop", f.CapDrop)
	one("--memory", "limits.memory", f.Memory)
	one("--cpus", "limits.cpus", f.Cpus)
	one("--pids", "limits.pids", f.Pids)
	one("--timeout", "limits.time", f.Timeout)
	if f.BestEffort {
		one("--best-effort", "limits.enforce", string(profiles.EnforceBestEffort))
	}
	one("--require", "harden.require", f.Require)
	return list
}

// resolve makes a spec of the flags and a command, or the wish for a shell; fetch brings images that are
// not here. upper is where what the sandbox changes is kept; empty:
// in memory. What the project asks for beyond the user's own profiles has to be agreed to; ask is nil where
// nobody is to be asked now.
func (f *sandboxFlags) resolve(command []string, shell bool, fetch sandbox.Fetch, store *state.Store, upper string, streams sandbox.Streams, ask asker) (*sandbox.Spec, *profiles.Loaded, error) {
	for _, env := range f.Env {
		if err := profiles.CheckEnvFlag(env); err != nil {
			return nil, nil, err
		}
	}
	at, err := findPlace()
	if err != nil {
		return nil, nil, err
	}
	loaded, err := f.load(at, taskName(command), ask)
	if err != nil {
		return nil, nil, err
	}
	workdir := f.Workdir
	if loaded.Task.Run.Set {
		command = loaded.Task.Command(taskName(command), withoutDashes(command[1:]))
		if workdir == "" {
			workdir = at.project.Dir
		}
	}
	joined, err := f.joined(loaded.Profile.Network.Mode.V, store)
	if err != nil {
		return nil, nil, err
	}
	spec, err := sandbox.Resolve(sandbox.Request{
		Loaded: loaded, Project: at.project, Account: at.account, Command: command, Shell: shell, Fetch: fetch,
		Cwd: at.cwd, Workdir: workdir, Environ: os.Environ(), EnvFlags: f.Env,
		Streams: streams, Upper: upper, Joined: joined, JoinIPC: f.IPC != "",
		Published: len(f.Publish) > 0, Ask: f.Ask,
		Count: f.Stats || f.Name != "" || f.Detach, // what stays may be paused, and asked for its use
	})
	return spec, loaded, err
}

// joined finds the sandbox whose network or IPC namespace is to be used, if one is.
func (f *sandboxFlags) joined(mode profiles.NetMode, store *state.Store) (*sandbox.Joined, error) {
	ipc, isJoin := strings.CutPrefix(f.IPC, "join:")
	net := mode.Joins()
	switch {
	case f.IPC != "" && !isJoin:
		return nil, &sandbox.UsageError{Problem: fmt.Sprintf("--ipc %s: no such value", f.IPC), Hint: "--ipc join:NAME; without it a sandbox has its own"}
	case ipc != "" && net != "" && ipc != net:
		return nil, &sandbox.UsageError{Problem: fmt.Sprintf("joining both %s and %s: a sandbox is made inside the user namespace of one", net, ipc), Hint: "join one of them"}
	case ipc+net == "":
		return nil, nil
	case net == "":
		net = ipc
	}
	return sandbox.FindJoined(store, net)
}

// place is who runs sbx, and where: all that the profiles of a run hang on besides its flags.
type place struct {
	account host.Account
	cwd     string
	project profiles.Project
}

func findPlace() (place, error) {
	account, err := sandbox.Caller()
	if err != nil {
		return place{}, err
	}
	cwd, err := os.Getwd()
	if err == nil {
		cwd, err = filepath.EvalSymlinks(cwd)
	}
	if err != nil {
		return place{}, fmt.Errorf("finding the working folder: %w", err)
	}
	project, err := profiles.FindProject(cwd, account.Home, account.PasswdHome)
	return place{account, cwd, project}, err
}

// options say where profiles are loaded from; name is that of -p.
func (p place) options(name string) profiles.Options {
	return profiles.Options{
		ConfigHome: profiles.ConfigHome(p.account.Home), Home: p.account.Home, Project: p.project, Name: name,
		Protected: sandbox.ProtectedPlaces,
	}
}

func (f *sandboxFlags) load(at place, task string, ask asker) (*profiles.Loaded, error) {
	flags, err := profiles.FromFlags(f.keys(), at.cwd, at.account.Home)
	if err != nil {
		return nil, err
	}
	o := at.options(f.Profile)
	o.Flags, o.Task = flags, task
	layers, err := profiles.Read(o)
	if err != nil {
		return nil, err
	}
	return f.agreed(layers, at, ask)
}

// withoutDashes drops the -- that parts flags from the command.
func withoutDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}
