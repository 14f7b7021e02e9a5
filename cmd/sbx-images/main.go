// Command sbx-images is the part of sbx that fetches, makes and keeps images. People type `sbx pull`;
// sbx finds this program beside itself and becomes it, so that no other start of sbx pays for what
// talking to registries takes.
package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	"github.com/alecthomas/kong"

	"sbx/sandbox"
)

// statusFailed is the exit status for every verb when sbx itself failed.
const statusFailed = 125

type cli struct {
	Pull   pullCmd   `cmd:"" help:"Fetch an image from a registry."`
	Images imagesCmd `cmd:"" help:"List the images of this machine."`
	Rmi    rmiCmd    `cmd:"" help:"Remove names of images."`
	Tag    tagCmd    `cmd:"" help:"Give an image one more name."`
	Save   saveCmd   `cmd:"" help:"Write an image to a file or folder."`
	Load   loadCmd   `cmd:"" help:"Take an image from a file or folder."`
	Import importCmd `cmd:"" help:"Make an image of a root file system."`
	Push   pushCmd   `cmd:"" help:"Send an image to a registry."`
	Login  loginCmd  `cmd:"" help:"Store the user and password for a registry."`
	Commit commitCmd `cmd:"" help:"Make an image of what a sandbox has changed."`
	Lock   lockCmd   `cmd:"" help:"Pin the project's image to the digest that it has now."`
	Prune  pruneCmd  `cmd:"" help:"List, or remove, what no image and no sandbox uses."`
}

func main() {
	if len(os.Args) > 1 && os.Args[0] == sandbox.InsideName {
		os.Exit(inside(os.Args[1:]))
	}
	os.Exit(run(os.Args[1:]))
}

// run parses, dispatches, and maps an error to an exit status.
func run(args []string) int {
	parser, err := kong.New(&cli{}, kong.Name("sbx"), kong.Description("Images of rootless sandboxes. See sbx(1)."),
		kong.KindMapper(reflect.String, kong.MapperFunc(decodeString)), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic(err) // a mistake in the grammar above
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		printUsageError(err)
		return statusFailed
	}
	// The first signal ends what is going on, and cleans up; a second one ends the program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(); err != nil {
		printError(err)
		return statusFailed
	}
	return 0
}

// decodeString takes a string as it is, any bytes.
func decodeString(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(token.String())
	return nil
}
