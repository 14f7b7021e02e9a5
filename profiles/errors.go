package profiles

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// Error is one thing that is wrong at one place of a file or flag. Error()
// says all of it in one line; who shows hints on a line of their own takes
// Place, Msg and Hint.
type Error struct {
	File         string
	Line, Column int    // 0 when the file as a whole is meant
	Flag         string // instead of File, for a flag
	Msg          string
	Hint         string // what to write instead; may be empty
}

// Place is FILE:LINE:COLUMN, or the flag.
func (e *Error) Place() string {
	return Origin{File: e.File, Line: e.Line, Column: e.Column, Flag: e.Flag}.String()
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Place() + ": " + e.Msg
	}
	return e.Place() + ": " + e.Msg + "; " + e.Hint
}

// Errors are several errors in the order of their places.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each *Error.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// orNil sorts the errors and turns none into a nil error.
func (es Errors) orNil() error {
	if len(es) == 0 {
		return nil
	}
	sort.SliceStable(es, func(i, j int) bool {
		if es[i].Line != es[j].Line {
			return es[i].Line < es[j].Line
		}
		return es[i].Column < es[j].Column
	})
	return es
}

// String is FILE:LINE:COLUMN, "flag --net", or "the default". A file name that
// could forge a line of output is quoted.
func (o Origin) String() string {
	switch {
	case o.Flag != "":
		return "flag " + o.Flag
	case o.File == "":
		return "the default"
	case o.Line == 0:
		return printable(o.File)
	}
	return fmt.Sprintf("%s:%d:%d", printable(o.File), o.Line, o.Column)
}

// Words is String, with the profile that brought the value.
func (o Origin) Words() string {
	if o.Via == "" {
		return o.String()
	}
	return fmt.Sprintf("%s, by extends = %q", o, o.Via)
}

// printable quotes a name that holds what a terminal would not show as it is.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// GrantError says that the project's own file asks for more than the user's
// own profiles give.
type GrantError struct {
	File    string
	Grants  []Grant
	Further bool   // others were agreed to
	Hash    string // of the grants, where another one was given
	// StandsIn is the built-in profile that stands in for a file that the project does not have.
	StandsIn string
}

func (e *GrantError) Error() string {
	lines := []string{printable(e.File) + ": asks for more than your own profiles give"}
	for _, g := range e.Grants {
		lines = append(lines, g.From.String()+": "+g.String())
	}
	return strings.Join(lines, "\n")
}

// TaskError says that no layer has a task of the name.
type TaskError struct {
	Name  string
	Known []string
}

func (e *TaskError) Error() string { return fmt.Sprintf("no task of the name %q", e.Name) }

// Hint names the nearest task, or where tasks are written.
func (e *TaskError) Hint() string {
	if len(e.Known) == 0 {
		return "tasks stand in the table [tasks] of sbx.toml or of a profile of yours"
	}
	return didYouMean(e.Name, e.Known)
}

// String is the grant in plain words, without its place. Letters outside of
// ASCII may look like others: what they are is said as well.
func (g Grant) String() string {
	s := g.Words
	if g.Part != "" {
		s = g.Part + ": " + s
	}
	if strings.ContainsFunc(g.Value, func(r rune) bool { return r > unicode.MaxASCII }) {
		s += " (not all of it is ASCII: " + strconv.QuoteToASCII(g.Value) + ")"
	}
	if g.From.Via != "" {
		s += fmt.Sprintf(" (by extends = %q)", g.From.Via)
	}
	return s
}

// maxForeign is how many letters are named.
const maxForeign = 8

// withForeign names the letters of a message that are not ASCII: in the wrong word they may look like those of the right one.
func withForeign(msg string) string {
	var foreign []string
	for _, r := range msg {
		text := strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		if r > unicode.MaxASCII && !slices.Contains(foreign, text) && len(foreign) < maxForeign {
			foreign = append(foreign, text)
		}
	}
	if foreign == nil {
		return msg
	}
	return msg + " (not all of it is ASCII: " + strings.Join(foreign, " ") + ")"
}

// fault is what is wrong with a value, before it has a place.
type fault struct{ msg, hint string }

func (f *fault) Error() string { return f.msg }

func faultf(hint, format string, args ...any) error {
	return &fault{msg: fmt.Sprintf(format, args...), hint: hint}
}

// errorAt gives a fault its place.
func errorAt(o Origin, err error) *Error {
	e := &Error{File: o.File, Line: o.Line, Column: o.Column, Flag: o.Flag, Msg: withForeign(err.Error())}
	if f, ok := err.(*fault); ok {
		e.Hint = f.hint
	}
	return e
}
