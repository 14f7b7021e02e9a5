package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"sbx/sandbox"
)

type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish."`
}

// Run prints a completion script, generated from the same grammar that parses the command line.
func (c *completionCmd) Run(k *kong.Kong) error {
	generate, ok := map[string]func([]verb) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	if !ok {
		return &sandbox.UsageError{Problem: fmt.Sprintf("no completion for the shell %q", c.Shell), Hint: "bash, zsh or fish"}
	}
	return printScript(generate(verbs(k.Model)))
}

// verb is a subcommand with its flags, and those of its own subcommands.
type verb struct {
	name, help string
	subverbs   []string
	flags      []flagWords
}

// flagWords are how a flag is written, and the values that are known for it.
type flagWords struct {
	long, help string
	short      rune
	values     []string
	takesValue bool
}

func verbs(app *kong.Application) []verb {
	var list []verb
	for _, node := range app.Children {
		if node.Hidden {
			continue
		}
		v := verb{name: node.Name, help: node.Help}
		v.addFlags(node.Flags)
		for _, sub := range node.Children {
			v.subverbs = append(v.subverbs, sub.Name)
			v.addFlags(sub.Flags)
		}
		list = append(list, v)
	}
	return list
}

func (v *verb) addFlags(flags []*kong.Flag) {
	for _, f := range flags {
		if !f.Hidden && !slices.ContainsFunc(v.flags, func(have flagWords) bool { return have.long == f.Name }) {
			v.flags = append(v.flags, flagWords{f.Name, f.Help, f.Short, alternatives(f.PlaceHolder), !f.IsBool()})
		}
	}
}

// alternatives are the fixed words of a placeholder such as none|host|join:NAME.
func alternatives(placeholder string) []string {
	if !strings.Contains(placeholder, "|") {
		return nil
	}
	var words []string
	for word := range strings.SplitSeq(placeholder, "|") {
		if word == strings.ToLower(word) && !strings.ContainsAny(word, "[:") {
			words = append(words, word)
		}
	}
	return words
}

func (v verb) words() string {
	words := slices.Clone(v.subverbs)
	for _, f := range v.flags {
		words = append(words, "--"+f.long)
		if f.short != 0 {
			words = append(words, "-"+string(f.short))
		}
	}
	return strings.Join(words, " ")
}

func names(list []verb) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.name
	}
	return strings.Join(words, " ")
}

func bashScript(list []verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# completion of sbx for bash\n_sbx() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n")
	fmt.Fprintf(&b, "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W '%s' -- \"$cur\")); return\n\tfi\n", names(list))
	b.WriteString("\tcase \"${COMP_WORDS[1]} $prev\" in\n")
	for _, v := range list {
		for _, f := range v.flags {
			if len(f.values) > 0 {
				fmt.Fprintf(&b, "\t'%s --%s') COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", v.name, f.long, strings.Join(f.values, " "))
			}
		}
	}
	b.WriteString("\tesac\n\tcase \"${COMP_WORDS[1]}\" in\n")
	for _, v := range list {
		extra := ""
		if v.name == "completion" {
			extra = " bash zsh fish"
		}
		fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -W '%s%s' -- \"$cur\")) ;;\n", v.name, v.words(), extra)
	}
	b.WriteString("\tesac\n}\ncomplete -o default -F _sbx sbx\n")
	return b.String()
}

func zshScript(list []verb) string {
	var b strings.Builder
	b.WriteString("#compdef sbx\n_sbx() {\n\tlocal -a verbs=(\n")
	for _, v := range list {
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", v.name, zshQuote(v.help))
	}
	b.WriteString("\t)\n\tif (( CURRENT == 2 )); then _describe verb verbs; return; fi\n\tcase $words[2] in\n")
	for _, v := range list {
		fmt.Fprintf(&b, "\t%s) _arguments", v.name)
		for _, f := range v.flags {
			fmt.Fprintf(&b, " \\\n\t\t'--%s[%s]%s'", f.long, zshQuote(f.help), zshValue(f))
		}
		if len(v.subverbs) > 0 {
			fmt.Fprintf(&b, " \\\n\t\t'1:subcommand:(%s)'", strings.Join(v.subverbs, " "))
		}
		b.WriteString(" \\\n\t\t'*::command:_normal' ;;\n")
	}
	b.WriteString("\tesac\n}\ncompdef _sbx sbx\n")
	return b.String()
}

func zshValue(f flagWords) string {
	switch {
	case !f.takesValue:
		return ""
	case len(f.values) > 0:
		return ":value:(" + strings.Join(f.values, " ") + ")"
	}
	return ":value:_files"
}

func zshQuote(s string) string {
	return strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
}

func fishScript(list []verb) string {
	var b strings.Builder
	b.WriteString("# completion of sbx for fish\n")
	for _, v := range list {
		fmt.Fprintf(&b, "complete -c sbx -n __fish_use_subcommand -x -a %s -d '%s'\n", v.name, fishQuote(v.help))
		if len(v.subverbs) > 0 {
			fmt.Fprintf(&b, "complete -c sbx -n '__fish_seen_subcommand_from %s' -x -a '%s'\n", v.name, strings.Join(v.subverbs, " "))
		}
		for _, f := range v.flags {
			fmt.Fprintf(&b, "complete -c sbx -n '__fish_seen_subcommand_from %s' -l %s%s -d '%s'\n", v.name, f.long, fishValue(f), fishQuote(f.help))
		}
	}
	return b.String()
}

func fishValue(f flagWords) string {
	s := ""
	if f.short != 0 {
		s = " -s " + string(f.short)
	}
	if f.takesValue {
		s += " -r"
	}
	if len(f.values) > 0 {
		s += " -x -a '" + strings.Join(f.values, " ") + "'"
	}
	return s
}

func fishQuote(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
