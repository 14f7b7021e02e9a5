package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"golang.org/x/term"

	"sbx/images"
)

type loginCmd struct {
	Registry string `arg:"" help:"HOST[:PORT]."`
	Username string `short:"u" help:"The name; asked for on a terminal."`
	Stdin    bool   `name:"password-stdin" help:"Read the password from stdin."`
}

// Run tries name and password, and stores them where docker and podman look too: in the user's own
// credential helper, or in ~/.docker/config.json.
func (c *loginCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	if !images.IsRegistry(c.Registry) {
		return &usageError{fmt.Sprintf("%q is no registry", c.Registry), "give HOST or HOST:PORT"}
	}
	name, password, err := c.ask()
	if err != nil {
		return err
	}
	if err := a.client().Login(ctx, c.Registry, name, password); err != nil {
		return err
	}
	server := c.Registry
	if server == "docker.io" {
		server = "https://index.docker.io/v1/"
	}
	file, err := config.Load("")
	if err == nil {
		err = file.GetCredentialsStore(server).Store(types.AuthConfig{ServerAddress: server, Username: name, Password: password})
	}
	if err != nil {
		return fmt.Errorf("storing the credentials: %w", err)
	}
	message("logged in to %s as %s", c.Registry, name)
	return nil
}

// maxPassword bounds what is read as a password, in bytes.
const maxPassword = 64 << 10

func (c *loginCmd) ask() (name, password string, err error) {
	name = c.Username
	terminal := term.IsTerminal(0)
	if name == "" && (c.Stdin || !terminal) {
		return "", "", &usageError{"no user name", "give it by -u NAME"}
	}
	if c.Stdin {
		data, err := io.ReadAll(io.LimitReader(os.Stdin, maxPassword))
		return name, strings.TrimRight(string(data), "\r\n"), err
	}
	if !terminal {
		return "", "", &usageError{"no terminal to ask for the password on", "give it by --password-stdin"}
	}
	if name == "" {
		fmt.Fprint(os.Stderr, "user name: ")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			return "", "", errors.New("reading the user name: " + err.Error())
		}
		name = strings.TrimSpace(line)
	}
	fmt.Fprint(os.Stderr, "password: ")
	secret, err := term.ReadPassword(0)
	fmt.Fprintln(os.Stderr)
	return name, string(secret), err
}
