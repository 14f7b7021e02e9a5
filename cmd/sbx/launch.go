package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
	"sbx/state"
)

// launch is a sandbox on its way from flags to its start.
type launch struct {
	verb    string
	flags   *sandboxFlags
	command []string
	store   *state.Store
	// kept says that what the sandbox changes lies in its folder.
	kept bool
	name string
	ask  asker
	// visitor is attached to it in the background from its start on, if not nil.
	visitor *sandbox.Visitor
	// handed are the descriptors that go in beside the streams.
	handed []*os.File
	// alone says that nobody is asked, though it was made so: what is not allowed is refused.
	alone  bool
	spec   *sandbox.Spec
	loaded *profiles.Loaded
}

// start starts a new sandbox: under a name, in the background, or neither.
func (f *sandboxFlags) start(verb string, command []string, prepared *sandbox.Prepared) error {
	store, err := ownStore()
	if err != nil {
		return err
	}
	l := &launch{verb: verb, flags: f, command: command, store: store, kept: f.Name != "", name: f.Name, ask: askOnTerminal(prepared)}
	if f.Name != "" {
		if err := state.CheckName(f.Name); err != nil {
			return err
		}
		if err := l.free(); err != nil {
			return err
		}
	}
	if err := l.resolve(); err != nil {
		return err
	}
	if err := l.checkReview(); err != nil {
		return err
	}
	if !f.Detach {
		if err := l.spec.BecomeCopy(prepared, l.handed, l.flags.answered()...); err != nil {
			return err
		}
	}
	if !l.kept && !f.Detach && !l.held() {
		return l.foreground(nil, prepared)
	}
	folder, err := l.create()
	if err != nil {
		return err
	}
	if err = l.run(folder, prepared); err != nil && !isEnd(err) {
		discard(l.store, folder)
	}
	return err
}

// held tells whether changes are held for review.
func (l *launch) held() bool { return len(l.spec.Captured) > 0 }

// free tells early that a name is taken; create holds it.
func (l *launch) free() error {
	record, left, err := l.store.Get(l.name)
	if left != nil {
		printLeft(*left)
	}
	if err == nil {
		return &state.ExistsError{Name: l.name, Status: record.Status()}
	}
	if isMissing(err) {
		return nil
	}
	return err
}

// isEnd tells an error that is the end of a payload from one of the start.
func isEnd(err error) bool {
	var status exitStatus
	var not *sandbox.NotExecutedError
	return errors.As(err, &status) || errors.As(err, &not)
}

// run runs a sandbox that has a folder.
func (l *launch) run(folder *state.Folder, prepared *sandbox.Prepared) error {
	if l.kept {
		if err := sandbox.MakeUpper(l.spec, folder); err != nil {
			return err
		}
	}
	if err := sandbox.MakeCaptures(l.spec, folder.Upper(), printNotice); err != nil {
		return err
	}
	if l.flags.Detach {
		return l.background(folder)
	}
	return l.foreground(folder, prepared)
}

func (l *launch) create() (*state.Folder, error) {
	for {
		if !l.kept {
			l.name = state.NewName()
		}
		record, err := l.record()
		if err != nil {
			return nil, err
		}
		folder, err := l.store.Create(record)
		var taken *state.ExistsError
		if !l.kept && errors.As(err, &taken) {
			continue
		}
		return folder, err
	}
}

// discard removes a sandbox that could not be started.
func discard(store *state.Store, folder *state.Folder) {
	folder.Remove(sandbox.RemoveForeign)
	folder.Close()
}

// resolve makes the spec. A detached sandbox has a terminal of its own where it is a shell or where the
// caller sits at one.
func (l *launch) resolve() (err error) {
	upper := ""
	if l.kept {
		upper = l.store.Upper(l.name)
	}
	streams := ownStreams
	terminal := l.flags.Detach && (l.verb == "shell" || sandbox.IsTerminal(os.Stdin) && sandbox.IsTerminal(os.Stdout))
	if l.flags.Ask && l.flags.Detach && !l.alone {
		return &sandbox.UsageError{Problem: "--ask: in the background nobody can be asked", Hint: "leave --detach out, or name what is allowed: --allow HOST[:PORT]"}
	}
	if l.flags.Detach {
		detached, done, err := sandbox.DetachedStreams()
		if err != nil {
			return err
		}
		defer done()
		streams = detached
	}
	if l.handed, err = sandbox.Handed(l.flags.PreserveFds, inherited); err != nil {
		return err
	}
	streams.More = l.handed
	if l.spec, l.loaded, err = l.flags.resolve(l.command, l.verb == "shell", fetch, l.store, upper, streams, l.ask); err != nil {
		return err
	}
	if terminal {
		l.spec.OwnTerminal(ownStreams)
	}
	if l.alone {
		l.spec.Egress.Ask = false
	}
	if l.spec.Egress.Ask && !l.spec.CanAsk() {
		return &sandbox.UsageError{Problem: "--ask: there is no terminal on which you could be asked, for which stdin and one of stdout and stderr have to be one", Hint: "name what is allowed: --allow HOST[:PORT]"}
	}
	return nil
}

// record is that of the sandbox to be started.
func (l *launch) record() (*state.Record, error) {
	r, err := sandbox.NewRecord(l.spec, l.name, l.verb, l.flags.withoutValues())
	if err != nil {
		return nil, err
	}
	r.Kept, r.Detached, r.Remove, r.Held = l.kept, l.flags.Detach, l.flags.Rm, l.held()
	r.ProfileHash = sandbox.HashProfile(&l.loaded.Profile)
	r.EnvGiven = l.flags.givenEnv()
	r.Asked = l.command
	r.Cwd, err = os.Getwd()
	return r, err
}

// foreground starts a sandbox, waits for its end, and tells what is to be told.
func (l *launch) foreground(folder *state.Folder, prepared *sandbox.Prepared) error {
	printStart(l.spec)
	streams := ownStreams
	streams.More = l.handed
	running, err := sandbox.Start(l.spec, streams, prepared, printNotice)
	if err != nil {
		return err
	}
	printLowered(l.spec, running.Level)
	if l.spec.Egress.Ask {
		running.Answer((&networkAsker{loaded: l.loaded}).decide)
	}
	life := running.Live(l.store, folder, l.record, printLeft)
	result, err := running.Wait()
	if failed := life.End(result, err); failed != nil {
		message("warning: %v", failed)
	}
	if failed := life.Began(); failed != nil && l.kept {
		message("warning: %v", failed)
	}
	printEnd(l.spec, result)
	if l.flags.Stats {
		printUsage(result, l.flags.JSON)
	}
	switch {
	case err != nil:
	case result.Uncovered != nil:
		err = result.Uncovered
	case result.Status != 0:
		err = exitStatus(result.Status)
	}
	return l.endReview(life.Name(), err)
}

// background leaves a sandbox to a supervisor of its own, and prints its name.
func (l *launch) background(folder *state.Folder) error {
	printStart(l.spec)
	record, err := l.record()
	if err != nil {
		return err
	}
	done := progress("starting " + folder.Name())
	err = sandbox.Detach(l.spec, l.store, folder, record, l.handed, l.visitor)
	done()
	var failed *sandbox.SupervisorFailedError
	if errors.As(err, &failed) {
		return failedStart(failed.Status)
	}
	if err != nil {
		return err
	}
	folder.Close() // with its lock, which is the supervisor's alone from now on
	if l.visitor != nil {
		return l.attend(folder.Name())
	}
	return printName(folder.Name(), l.flags.JSON)
}

// attend follows a sandbox in the background that was started with a visitor.
func (l *launch) attend(name string) error {
	end, err := l.visitor.Attend(l.store, name, l.spec)
	return attachedTo(name, end, err)
}

// failedStart is a start that failed in a supervisor, which has printed why.
type failedStart int

func (failedStart) Error() string { return "" }

// withoutValues are the flags as a record keeps them.
func (f *sandboxFlags) withoutValues() sandboxFlags {
	kept := *f
	kept.Name, kept.Detach, kept.Rm, kept.JSON = "", false, false, false
	kept.Env, kept.Without = nil, ""
	for _, env := range f.Env {
		if !strings.Contains(env, "=") {
			kept.Env = append(kept.Env, env)
		}
	}
	return kept
}

// answered are flags for the program that takes this one's place, of what a person has answered.
func (f *sandboxFlags) answered() []string {
	if f.Without == "" {
		return nil
	}
	return []string{"--without", f.Without}
}

// givenEnv are the names of the variables whose values the flags gave.
func (f *sandboxFlags) givenEnv() (names []string) {
	for _, env := range f.Env {
		if name, _, given := strings.Cut(env, "="); given && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// plain tells whether no flag says anything of the sandbox itself.
func (f *sandboxFlags) plain() bool {
	kept := f.withoutValues()
	kept.Env = f.Env
	return reflect.DeepEqual(kept, sandboxFlags{})
}

// again makes the launch of a sandbox that has ended, as it was made the first time. env are values for
// this time.
func again(store *state.Store, record *state.Record, env []string) (*launch, error) {
	flags := &sandboxFlags{}
	if err := json.Unmarshal(record.Flags, flags); err != nil {
		return nil, &state.RecordError{Name: record.Name, Err: err}
	}
	if !record.Kept {
		return nil, filesGone(record.Name)
	}
	flags.Env = append(flags.Env, env...)
	flags.Name = record.Name
	if err := os.Chdir(record.Cwd); err != nil {
		return nil, fmt.Errorf("going back to where %s was made: %w", record.Name, err)
	}
	given := flags.givenEnv()
	for _, name := range record.EnvGiven {
		if !slices.Contains(given, name) {
			message("the value of %s was given by --env and is not kept: it is not set", name)
			hint("give it again: sbx start %s --env %s=VALUE", record.Name, name)
		}
	}
	return &launch{verb: record.Verb, flags: flags, command: record.Asked, store: store, kept: true, name: record.Name}, nil
}

// filesGone says that of a sandbox without a name nothing but its record is left.
func filesGone(name string) error {
	return &sandbox.UsageError{Problem: "the files of " + name + " went when it ended", Hint: "give a sandbox a name to keep it: sbx run -n NAME"}
}

// openLocked opens the folder of a sandbox, so that no other command starts or removes it until that is closed.
func openLocked(store *state.Store, name string, lock func(*state.Folder) error) (*state.Folder, *state.Record, error) {
	folder, err := store.Open(name)
	if err != nil {
		return nil, nil, err
	}
	var record *state.Record
	if err = lock(folder); err == nil {
		record, err = folder.Read()
	}
	if err != nil {
		folder.Close()
		return nil, nil, err
	}
	return folder, record, nil
}

// restart starts a sandbox that has ended, in its own folder. In the background a visitor, if not nil, is
// attached to it.
func restart(name string, env []string, detach bool, visitor *sandbox.Visitor, prepared *sandbox.Prepared) error {
	store, _, err := lookUp(name)
	if err != nil {
		return err
	}
	folder, record, err := openLocked(store, name, (*state.Folder).Lock)
	if err != nil {
		return err
	}
	defer folder.Close()
	if record.Status() != state.Exited {
		return &sandbox.UsageError{Problem: name + " is " + string(record.Status()) + " already", Hint: "sbx exec " + name + " -- sh"}
	}
	l, err := again(store, record, env)
	if err != nil {
		return err
	}
	l.flags.Detach, l.visitor = detach, visitor
	if l.flags.Ask && detach {
		l.alone = true
		message("it was made with --ask, and in the background nobody can be asked: what is not on the allowlist is refused")
	}
	if err := l.resolve(); err != nil {
		return err
	}
	if record.Terminal && detach && record.Verb == "run" {
		l.spec.OwnTerminal(ownStreams)
	}
	if !detach {
		if err := l.spec.BecomeCopy(prepared, l.handed); err != nil {
			return err
		}
	}
	err = l.run(folder, prepared)
	var failed failedStart
	if errors.As(err, &failed) {
		return exitStatus(failed)
	}
	return err
}
