package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"sbx/profiles"
)

// What a person reads about profiles is printed from this file, which is part of print.go.

func printNames(names []profiles.Named, asJSON bool) error {
	if asJSON {
		type named struct {
			Name    string `json:"name"`
			From    string `json:"from"`
			Variant bool   `json:"variant"`
			Default bool   `json:"default"`
			About   string `json:"about,omitempty"`
		}
		list := []named{}
		for _, n := range names {
			list = append(list, named(n))
		}
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, n := range names {
		from := n.From
		if n.Variant {
			from = "variant in " + from
		}
		if n.Default {
			from += ", the default"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", escape(n.Name), escape(from), escape(n.About))
	}
	return w.Flush()
}

// placeJSON is where a value was written.
type placeJSON struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func placeOf(o profiles.Origin) placeJSON { return placeJSON{o.File, o.Line, o.Column} }

// printProfile prints a merged profile as TOML. What nobody has agreed to yet is said beside it.
func printProfile(l *profiles.Loaded, asked []profiles.Grant, origin, asJSON bool) error {
	if asJSON {
		return printEntries(l)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range l.Lines() {
		text := escape(line.Text)
		if origin && line.From != (profiles.Origin{}) {
			text += "\t# " + escape(line.From.Words())
		}
		fmt.Fprintln(w, text)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, g := range asked {
		message("%s: asks for more than your own profiles give: %s", g.From.String(), g)
	}
	return nil
}

func printEntries(l *profiles.Loaded) error {
	type entry struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		placeJSON
		Via string `json:"via,omitempty"`
	}
	list := []entry{}
	for _, e := range l.Entries() {
		list = append(list, entry{e.Key, e.Value, placeOf(e.From), e.From.Via})
	}
	return printJSON(list)
}

// grantJSON is something that a project's file asks for.
type grantJSON struct {
	Key   string `json:"key"`
	Words string `json:"words"`
	Part  string `json:"part,omitempty"`
	placeJSON
}

func grantsJSON(grants []profiles.Grant) []grantJSON {
	list := []grantJSON{}
	for _, g := range grants {
		list = append(list, grantJSON{g.Key, g.String(), g.Part, placeOf(g.From)})
	}
	return list
}

// printChecked prints a line for each file that is right, and what is wrong with the others.
func printChecked(files []checkedFile, asJSON bool) error {
	if asJSON {
		return printCheckedJSON(files)
	}
	for _, f := range files {
		if f.err != nil {
			printError(f.err)
			continue
		}
		fmt.Println(escape(f.path) + ": ok")
		for _, g := range f.grants {
			fmt.Printf("%s: asks for %s\n", escape(g.From.String()), escape(g.String()))
		}
	}
	return nil
}

func printCheckedJSON(files []checkedFile) error {
	type problem struct {
		placeJSON
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	}
	type file struct {
		File     string      `json:"file"`
		OK       bool        `json:"ok"`
		Problems []problem   `json:"problems"`
		Grants   []grantJSON `json:"grants"`
	}
	list := []file{}
	for _, f := range files {
		one := file{f.path, f.err == nil, []problem{}, grantsJSON(f.grants)}
		var several profiles.Errors
		if errors.As(f.err, &several) {
			for _, e := range several {
				one.Problems = append(one.Problems, problem{placeJSON{e.File, e.Line, e.Column}, e.Msg, e.Hint})
			}
		} else if f.err != nil {
			one.Problems = append(one.Problems, problem{placeJSON{File: f.path}, f.err.Error(), ""})
		}
		list = append(list, one)
	}
	return printJSON(list)
}

// printGrants lists what a project asks for, a line for each.
func printGrants(e *profiles.GrantError) {
	than := "than your own profiles give"
	if e.Further {
		than = "than you have agreed to"
	}
	message("%s asks for more %s", e.File, than)
	for _, g := range e.Grants {
		message("%s: %s", g.From.String(), grantWords(g))
	}
}

// grantWords are a grant in plain words, with the hosts that it is about now.
func grantWords(g profiles.Grant) string {
	if hosts := hostsBehind(g); hosts != "" {
		g.Words += ": " + escape(hosts)
	}
	return g.String()
}

func printHowToAgree(e *profiles.GrantError) {
	if e.Hash != "" {
		message("what it asks for has the hash %s, which is not the one that was given", e.Hash)
		return
	}
	if e.StandsIn != "" {
		hint("look at each line; sbx run -p %s takes these tasks by that profile's name, sbx init writes an sbx.toml that has them", e.StandsIn)
		return
	}
	hint("look at each line; sbx trust agrees to them for this folder, sbx trust --show prints the hash that run --trust takes")
}

func printQuestion() {
	fmt.Fprint(os.Stderr, "sbx: agree to this, now and for later runs? yes, no, or default (run without it) [y/n/d] ")
}

// printAsked lists what a project asks for on stderr, and the hash alone on stdout, for scripts.
func printAsked(file string, asked []profiles.Grant, hash string, asJSON bool) error {
	if asJSON {
		return printJSON(struct {
			File   string      `json:"file"`
			Hash   string      `json:"hash"`
			Grants []grantJSON `json:"grants"`
		}{file, hash, grantsJSON(asked)})
	}
	printAllAsked(file, asked)
	_, err := fmt.Println(hash)
	return err
}

func printAllAsked(file string, asked []profiles.Grant) {
	if len(asked) == 0 {
		message("%s asks for no more than your own profiles give", file)
		return
	}
	printGrants(&profiles.GrantError{File: file, Grants: asked})
}

func printAgreed(file string, asked []profiles.Grant) error {
	printAllAsked(file, asked)
	if len(asked) > 0 {
		message("agreed to, for this folder; sbx untrust takes it back")
	}
	return nil
}

func printForgotten(dir string, known bool) {
	if known {
		message("what was agreed to for %s is forgotten", dir)
		return
	}
	message("nothing was agreed to for %s", dir)
}

func printRecords(list []profiles.Record, asJSON bool) error {
	if asJSON {
		return printJSON(append([]profiles.Record{}, list...))
	}
	for _, r := range list {
		fmt.Println(escape(r.Path))
		for _, g := range r.Grants {
			fmt.Println("    " + escape(g))
		}
	}
	return nil
}

func printTasks(tasks map[string]profiles.Task, asJSON bool) error {
	type task struct {
		Name string `json:"name"`
		Run  string `json:"run"`
		placeJSON
		Via  string `json:"via,omitempty"`
		from string
	}
	list := []task{}
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		t := tasks[name]
		list = append(list, task{name, t.Run.V, placeOf(t.Run.From), t.Run.From.Via, t.Run.From.Words()})
	}
	if asJSON {
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, t := range list {
		line, rest, _ := strings.Cut(strings.TrimSpace(t.Run), "\n")
		if rest != "" {
			line += " ..."
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, escape(line), escape(t.from))
	}
	return w.Flush()
}

// printInit says what was written, what it allows, and what was left out.
func printInit(path string, d profiles.Draft, asked []profiles.Grant, agreed bool, tasks map[string]profiles.Task) {
	message("wrote %s", path)
	for _, g := range asked {
		message("it allows: %s", grantWords(g))
	}
	switch {
	case len(asked) == 0:
		message("it allows no more than your own profiles give")
	case agreed:
		message("agreed to, for this folder; sbx untrust takes it back")
	default:
		hint("look at each line; sbx trust agrees to them for this folder")
	}
	for _, s := range d.LeftOut {
		message("left out: %s", s)
	}
	if names := slices.Sorted(maps.Keys(tasks)); len(names) > 0 {
		hint("sbx run :%s", strings.Join(names, ", sbx run :"))
	}
}
