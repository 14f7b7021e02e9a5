package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sbx/images"
	"sbx/images/layer"
	"sbx/review"
	"sbx/sandbox"
	"sbx/userns"
)

// This file is both sides of the work that needs the ids of sandboxes: the asking one, outside, and
// the program itself once more, as root of a user namespace that holds one folder.

// answer is what the program inside says at its end, on stdout.
type answer struct {
	Meta  *images.Meta `json:"meta,omitempty"`
	Left  []string     `json:"left,omitempty"` // out of a layer that was packed
	Error string       `json:"error,omitempty"`
	Hint  string       `json:"hint,omitempty"`
}

// insideError is an error of the program inside.
type insideError struct{ said, hint string }

func (e *insideError) Error() string { return e.said }

// inside runs a job on a folder and returns its error.
func (l *layout) inside(folder string, stdin, stdout *os.File, job ...string) (*answer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	work := sandbox.Inside{Maps: l.maps, Args: job, Folders: map[string]string{sandbox.InsideFolder: folder}, Stdin: stdin, Stdout: stdout, Stderr: w}
	p, err := work.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	return listen(p, r)
}

// maxAnswer bounds an answer, in bytes: the program inside works on hostile input.
const maxAnswer = 64 << 20

// listen waits for the program inside, and for what it says at its end.
func listen(p *userns.Process, said io.Reader) (*answer, error) {
	var a answer
	data, err := io.ReadAll(io.LimitReader(said, maxAnswer))
	status, failed := p.Wait()
	switch {
	case failed != nil:
		return nil, failed // it was not even executed
	case err != nil:
		return nil, err
	case json.Unmarshal(data, &a) != nil:
		return nil, fmt.Errorf("the program in the user namespace ended without an answer (wait status %#x): %s", uint32(status), data[:min(len(data), 400)])
	case a.Error != "":
		return nil, &insideError{a.Error, a.Hint}
	}
	return &a, nil
}

// inside is the program inside: a job, whose answer goes to stderr, since stdout is for its data.
func inside(args []string) int {
	var a answer
	err := fmt.Errorf("no such job: %q", args)
	switch {
	case len(args) == 2 && args[0] == "unpack":
		a.Meta, err = unpackInside(args[1])
	case len(args) == 2 && args[0] == "pack":
		a.Left, err = packInside(args[1])
	case len(args) == 2 && args[0] == "remove":
		err = layer.RemoveAll(sandbox.InsideFolder, args[1])
	case len(args) == 3 && args[0] == sandbox.CopyJob:
		err = sandbox.CopyOwned(args[1], args[2])
	case len(args) == 1 && args[0] == sandbox.ReviewJob:
		err = review.Serve(os.Stdin, sandbox.InsideFolder)
	}
	if err != nil {
		a.Error = err.Error()
		var ids *layer.IDError
		var limit *layer.LimitError
		var changed *layer.ChangedError
		switch {
		case errors.As(err, &changed):
			a.Hint = "stop the sandbox first: sbx stop NAME"
		case errors.As(err, &ids):
			a.Hint = "sbx doctor tells how many sub-ids you have; images use ids up to 65535"
		case errors.As(err, &limit):
			a.Hint = "if the layer is meant to be so large: [storage] layer_limit in config.toml"
		}
	}
	json.NewEncoder(os.Stderr).Encode(a)
	if err != nil {
		return 1
	}
	return 0
}

// unpackInside makes the tree of the layer on stdin.
func unpackInside(options string) (*images.Meta, error) {
	var o layer.Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return nil, err
	}
	r, err := layer.Open(os.Stdin)
	if err != nil {
		return nil, err
	}
	ahead := layer.NewAhead(r)
	meta, err := layer.Unpack(ahead, filepath.Join(sandbox.InsideFolder, images.TreeName), o)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return nil, err
	}
	meta.DiffID = ahead.Sum()
	return meta, nil
}

// packText is the options of a packing job as its argument.
func packText(o layer.PackOptions) string {
	text, _ := json.Marshal(o)
	return string(text)
}

// packInside writes the tar of the folder to stdout.
func packInside(options string) ([]string, error) {
	var o layer.PackOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return nil, err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	left, err := layer.Pack(out, sandbox.InsideFolder, o)
	if err == nil {
		err = out.Flush()
	}
	return left, err
}

// plainWords joins what was left out of a layer.
func plainWords(list []string) string { return strings.Join(list, ", ") }
