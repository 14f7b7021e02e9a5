package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
)

// answer is what a person says to the grants that a project asks for.
type answer int

const (
	answerNo answer = iota
	answerYes
	answerDefault // without what it asks for
)

// asker asks a person; nil where nobody is to be asked.
type asker func(e *profiles.GrantError) (answer, error)

// agreed merges the layers if what the project asks for is agreed to: by the folder that it lies in,
// by --trust, by the record, or by a person who is asked now, or was before. What was shown is what is merged: no
// file is read again.
func (f *sandboxFlags) agreed(layers *profiles.Layers, at place, ask asker) (*profiles.Loaded, error) {
	asked := layers.Asked()
	if len(asked) == 0 || layers.InTrustedFolder() {
		return layers.Merge(), nil
	}
	if f.Trust != "" {
		return agreedByHash(layers, at, f.Trust)
	}
	records := trustRecords(at)
	record, err := records.Of(at.project.Dir)
	if err != nil {
		return nil, err
	}
	missing := layers.NotAgreed(asked, record)
	if len(missing) == 0 {
		return layers.Merge(), nil
	}
	if f.Without == layers.Hash(missing) {
		return layers.MergeWithout(missing)
	}
	e := &profiles.GrantError{File: layers.File(), Grants: missing, Further: len(record.Grants) > 0, StandsIn: layers.StandsIn()}
	if ask == nil {
		return nil, e
	}
	switch said, err := ask(e); {
	case err != nil:
		return nil, err
	case said == answerDefault:
		f.Without = layers.Hash(missing)
		return layers.MergeWithout(missing)
	case said == answerNo:
		return nil, errRefused
	}
	record.Grants = append(record.Grants, layers.IDs(missing)...)
	if err := records.Put(record); err != nil {
		return nil, err
	}
	return layers.Merge(), nil
}

// hostsBehind are the hosts that a service of an allowlist stands for now, where the grant is of one: whoever is asked
// wants to know where it leads, since a project's own files have a say in that.
func hostsBehind(g profiles.Grant) string {
	service, found := strings.CutPrefix(g.Value, "@")
	if g.Key != "network.allow" || !found {
		return ""
	}
	at, err := findPlace()
	if err != nil {
		return ""
	}
	hosts, err := sandbox.ServiceHosts(service, at.project.Dir, at.account.Home, os.Environ())
	if err != nil {
		return "nothing, for " + err.Error()
	}
	return strings.Join(hosts, ", ")
}

// errRefused is a run that its user did not agree to.
var errRefused = errors.New("not agreed to, so nothing runs")

// agreedByHash takes the hash for consent to exactly what any part of the project's file asks for.
func agreedByHash(layers *profiles.Layers, at place, hash string) (*profiles.Loaded, error) {
	all := layers.AskedByAll()
	if got := layers.Hash(all); got != hash {
		return nil, &profiles.GrantError{File: layers.File(), Grants: all, Hash: got}
	}
	return layers.Merge(), nil
}

// trustRecords is where it is kept what was agreed to.
func trustRecords(at place) profiles.Records {
	return profiles.Records(filepath.Join(dataHome(at.account.Home), "trust"))
}

// dataHome is $XDG_DATA_HOME/sbx; the specification says that a relative one is ignored.
func dataHome(home string) string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sbx")
	}
	return filepath.Join(home, ".local", "share", "sbx")
}

// askOnTerminal asks where a person can read and answer, else it is refused. While it waits, signals
// end sbx as they end any program, so what was prepared is given up and begun anew.
func askOnTerminal(prepared *sandbox.Prepared) asker {
	return func(e *profiles.GrantError) (answer, error) {
		if !canAsk() {
			return answerNo, e
		}
		prepared.Discard()
		printGrants(e)
		for {
			printQuestion()
			line, err := readLine(os.Stdin)
			if err != nil {
				return answerNo, errRefused
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "y", "yes":
				*prepared = *sandbox.Prepare(ownStreams, false, profiles.NetNone)
				return answerYes, nil
			case "d", "default":
				*prepared = *sandbox.Prepare(ownStreams, false, profiles.NetNone)
				return answerDefault, nil
			case "n", "no":
				return answerNo, nil
			}
		}
	}
}

// readLine takes no byte beyond the line: the rest is for the payload.
func readLine(f *os.File) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := f.Read(one)
		switch {
		case n == 1 && one[0] == '\n':
			return string(line), nil
		case n == 1 && len(line) < 80:
			line = append(line, one[0])
		case err == io.EOF || err != nil:
			return "", io.ErrUnexpectedEOF
		}
	}
}
