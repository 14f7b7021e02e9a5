// Command sbx puts a command, a shell or a whole toolchain into a rootless sandbox.
package main

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"sbx/profiles"
	"sbx/sandbox"
)

// statusFailed is the exit status for every verb when sbx itself failed.
const statusFailed = 125

type cli struct {
	Run       runCmd       `cmd:"" help:"Run a command in a sandbox."`
	Shell     shellCmd     `cmd:"" help:"Open a shell in a sandbox."`
	Ps        psCmd        `cmd:"" help:"List sandboxes."`
	Exec      execCmd      `cmd:"" help:"Run a further command in a sandbox."`
	Attach    attachCmd    `cmd:"" help:"Look at a sandbox in the background, and type into it."`
	Logs      logsCmd      `cmd:"" help:"Print what a sandbox in the background has written."`
	Inspect   inspectCmd   `cmd:"" help:"Print all that is known of a sandbox."`
	Stats     statsCmd     `cmd:"" help:"Print what sandboxes use."`
	Top       topCmd       `cmd:"" help:"List the processes of a sandbox."`
	Start     startCmd     `cmd:"" help:"Start sandboxes that have ended."`
	Stop      stopCmd      `cmd:"" help:"End sandboxes."`
	Kill      killCmd      `cmd:"" help:"Send a signal to sandboxes."`
	Pause     pauseCmd     `cmd:"" help:"Stop all that runs in sandboxes."`
	Resume    resumeCmd    `cmd:"" help:"Let paused sandboxes go on."`
	Wait      waitCmd      `cmd:"" help:"Wait until sandboxes have ended."`
	Rename    renameCmd    `cmd:"" help:"Give a sandbox another name."`
	Cp        cpCmd        `cmd:"" help:"Copy files into a sandbox, or out of it."`
	Port      portCmd      `cmd:"" help:"List, publish and take back ports of a running sandbox."`
	Rm        rmCmd        `cmd:"" help:"Remove sandboxes with their files."`
	Events    eventsCmd    `cmd:"" help:"Tell starts and ends of sandboxes as they happen."`
	Diff      diffCmd      `cmd:"" help:"Show what a sandbox holds back, first what would run later."`
	Apply     applyCmd     `cmd:"" help:"Bring what a sandbox holds back to the host."`
	Discard   discardCmd   `cmd:"" help:"Throw away what a sandbox holds back."`
	Undo      undoCmd      `cmd:"" help:"Take back what was applied last."`
	Snapshot  snapshotCmd  `cmd:"" help:"Keep what a sandbox has changed so far."`
	Restore   restoreCmd   `cmd:"" help:"Bring back what a sandbox had changed at a snapshot."`
	Supervise superviseCmd `cmd:"" hidden:""`
	Volume    volumeCmd    `cmd:"" help:"List, make and remove volumes."`
	imageVerbs
	Explain    explainCmd    `cmd:"" help:"Tell what a run would do, without doing it."`
	Init       initCmd       `cmd:"" help:"Write an sbx.toml for the project in this folder."`
	Tasks      tasksCmd      `cmd:"" help:"List the tasks of this project and of your profiles."`
	Trust      trustCmd      `cmd:"" help:"Agree to what the project's profile asks for."`
	Untrust    untrustCmd    `cmd:"" help:"Forget what was agreed to for a project."`
	Profile    profileCmd    `cmd:"" help:"List, show and check profiles."`
	Doctor     doctorCmd     `cmd:"" help:"Tell what this machine can do and what it lacks."`
	Selfcheck  siblingCmd    `cmd:"" help:"Attack sandboxes on this machine, and tell what was safe."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a completion script."`
}

// exitStatus ends the program with a status and no further word.
type exitStatus int

func (exitStatus) Error() string { return "" }

func main() {
	os.Exit(run(os.Args[1:]))
}

// run parses, dispatches, and maps an error to an exit status.
func run(args []string) int {
	if program := siblingFor(args); program != "" {
		return printError(become(program, args))
	}
	inherited = sandbox.TakeInherited()
	prepared := prepare(args)
	defer prepared.Discard()
	parser, err := newParser(args)
	if err != nil {
		panic(err) // a mistake in the grammar above
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		printUsageError(err)
		return statusFailed
	}
	err = ctx.Run(prepared)
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	var failed failedStart
	if errors.As(err, &failed) {
		return int(failed)
	}
	if err != nil {
		return printError(err)
	}
	return 0
}

// prepare begins to make a sandbox's first process, which takes the kernel as long as it takes to
// parse the command line and the profiles, where the verb is one that will want it; else it is nil.
func prepare(args []string) *sandbox.Prepared {
	if len(args) > 0 && (args[0] == "run" || args[0] == "shell") {
		image := wantsImage(args)
		return sandbox.Prepare(ownStreams, image, wantsNetwork(args, image))
	}
	return nil
}

// wantsNetwork guesses the network from an unparsed command line: that which is asked for, the built-in one with an
// allowlist, and one for a shell on an image. A wrong guess costs time alone.
func wantsNetwork(args []string, image bool) profiles.NetMode {
	guess := profiles.NetNone
	if image && args[0] == "shell" {
		guess = profiles.NetOn
	}
	for i, arg := range args {
		mode, ok := strings.CutPrefix(arg, "--net=")
		if args[max(i-1, 0)] == "--net" {
			mode, ok = arg, true
		}
		switch {
		case arg == "--":
			return guess
		case arg == "--ask", strings.HasPrefix(arg, "--allow"):
			return profiles.NetBuiltin
		case ok && slices.Contains([]profiles.NetMode{profiles.NetOn, profiles.NetSlirp, profiles.NetBuiltin}, profiles.NetMode(mode)):
			guess = profiles.NetMode(mode)
		case ok:
			guess = profiles.NetNone
		case strings.HasPrefix(arg, "-P"), strings.HasPrefix(arg, "--publish"):
			if guess == profiles.NetNone {
				guess = profiles.NetOn
			}
		}
	}
	return guess
}

// wantsImage guesses from an unparsed command line whether it is about an image. A wrong guess costs time alone.
func wantsImage(args []string) bool {
	for i, arg := range args[1:] {
		before := args[i]
		switch {
		case arg == "--":
			return false
		case strings.HasPrefix(arg, "-i"), strings.HasPrefix(arg, "--image"), strings.HasPrefix(arg, "--rootfs"):
			return true
		case args[0] == "shell" && !strings.HasPrefix(arg, "-") && (!strings.HasPrefix(before, "-") || strings.Contains(before, "=")):
			return true
		}
	}
	return false
}

func newParser(args []string) (*kong.Kong, error) {
	return kong.New(grammar(args), kong.Name("sbx"),
		kong.Description("Rootless sandboxes for developers. See sbx(1)."),
		kong.KindMapper(reflect.String, kong.MapperFunc(decodeString)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
}

// decodeString takes a string as it is. kong's own way leads through JSON, which replaces every byte
// that is not UTF-8: arguments and paths are any bytes.
func decodeString(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(token.String())
	return nil
}

// grammar is the part of cli that args can mean: that of the one verb that they name, else all of
// it. kong builds a verb's flags by reflection, 0.2 ms each, at every start.
func grammar(args []string) any {
	all := reflect.TypeFor[cli]()
	if len(args) == 0 || args[0] == "completion" {
		return &cli{}
	}
	verb, ok := all.FieldByNameFunc(func(name string) bool { return strings.ToLower(name) == args[0] })
	if !ok {
		return &cli{}
	}
	return reflect.New(reflect.StructOf([]reflect.StructField{verb})).Interface()
}
