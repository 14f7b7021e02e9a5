package main

import (
	"os"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
)

type execCmd struct {
	Env         []string `short:"e" sep:"none" placeholder:"KEY[=VALUE]" help:"Pass or set a variable."`
	Workdir     string   `short:"w" placeholder:"DIR" help:"Working folder inside."`
	PreserveFds int      `placeholder:"N" help:"Hand in N open descriptors, from 3 on."`
	Detach      bool     `short:"d" help:"Do not wait for it; it runs with no input and its output is lost."`
	Name        string   `arg:"" help:"The sandbox."`
	Command     []string `arg:"" optional:"" passthrough:"partial" sep:"none" help:"The command and its arguments; the shell if none."`
}

// Run runs a further command in a sandbox and ends as it did.
func (c *execCmd) Run() error {
	store, _, err := lookUpRunning(c.Name)
	if err != nil {
		return err
	}
	request := &sandbox.ExecRequest{Command: withoutDashes(c.Command), Workdir: c.Workdir, Stays: c.Detach}
	if request.Env, err = execEnv(c.Env); err != nil {
		return err
	}
	streams := ownStreams
	if streams.More, err = sandbox.Handed(c.PreserveFds, inherited); err != nil {
		return err
	}
	status, err := sandbox.Exec(store, c.Name, request, streams)
	if err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

// execEnv is what a further command gets beside the payload's environment: the caller's terminal type, and
// what flags say.
func execEnv(flags []string) (env []string, err error) {
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	for _, flag := range flags {
		if err := profiles.CheckEnvFlag(flag); err != nil {
			return nil, err
		}
		if strings.Contains(flag, "=") {
			env = append(env, flag)
		} else if value, set := os.LookupEnv(flag); set {
			env = append(env, flag+"="+value)
		}
	}
	return env, nil
}
