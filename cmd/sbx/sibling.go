package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"sbx/images"
	"sbx/profiles"
	"sbx/sandbox"
)

// imageVerbs belong to sbx-images, a program of its own: what it links, to talk to registries and to
// read layers, would be paid at every start of sbx. sbx becomes it; here is what help and completion
// tell of its verbs.
type imageVerbs struct {
	Pull   siblingCmd `cmd:"" help:"Fetch an image from a registry."`
	Images siblingCmd `cmd:"" help:"List the images of this machine."`
	Rmi    siblingCmd `cmd:"" help:"Remove names of images."`
	Tag    siblingCmd `cmd:"" help:"Give an image one more name."`
	Save   siblingCmd `cmd:"" help:"Write an image to a file or folder."`
	Load   siblingCmd `cmd:"" help:"Take an image from a file or folder."`
	Import siblingCmd `cmd:"" help:"Make an image of a root file system."`
	Push   siblingCmd `cmd:"" help:"Send an image to a registry."`
	Login  siblingCmd `cmd:"" help:"Store the user and password for a registry."`
	Commit siblingCmd `cmd:"" help:"Make an image of what a sandbox has changed."`
	Lock   siblingCmd `cmd:"" help:"Pin the project's image to the digest that it has now."`
	Prune  siblingCmd `cmd:"" help:"List, or remove, what no image and no sandbox uses."`
}

// siblingCmd takes any arguments, for the sibling to read.
type siblingCmd struct {
	Args []string `arg:"" optional:"" passthrough:"all" hidden:""`
}

// siblingFor names the program whose verb the command line begins with; "" where that is sbx itself.
func siblingFor(args []string) string {
	switch {
	case len(args) == 0:
		return ""
	case slices.Contains(imageVerbNames, args[0]):
		return sandbox.ImagesProgram
	case args[0] == "selfcheck":
		return attacksProgram
	}
	return ""
}

// attacksProgram is what attacks sandboxes, in tests and for `sbx selfcheck`.
const attacksProgram = "sbx-attacks"

var imageVerbNames = []string{"pull", "images", "rmi", "tag", "save", "load", "import", "push", "login", "commit", "lock", "prune"}

// become makes this process a sibling, with the same arguments. The one that attacks is told whom.
func become(program string, args []string) error {
	path, err := sandbox.Sibling(program)
	if err != nil {
		return err
	}
	argv := append([]string{program}, args...)
	if program == attacksProgram {
		own, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		argv = append(argv, "--of="+own)
	}
	return fmt.Errorf("executing %s: %w", path, syscall.Exec(path, argv, os.Environ()))
}

// Run is for kong alone: the verb is taken before it parses anything.
func (c *siblingCmd) Run(k *kong.Context) error { return become(siblingFor(k.Args), k.Args) }

// fetch has the sibling bring an image, or unpack it for one more user. Its result is in the store; what it
// says goes to stderr.
func fetch(ref images.Ref, user profiles.User) error {
	path, err := sandbox.Sibling(sandbox.ImagesProgram)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "pull", "--missing", "--user", user.String(), ref.String())
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return exitStatus(statusFailed) // it has said why
	}
	return nil
}
