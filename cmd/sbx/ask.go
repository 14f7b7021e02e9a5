package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sbx/sandbox"
)

// canAsk tells whether somebody is there to be asked, and to see the question.
func canAsk() bool { return sandbox.IsTerminal(os.Stdin) && sandbox.IsTerminal(os.Stderr) }

// confirm asks before something goes that cannot be had back. refused is the error of a no, and of no answer at all;
// nobody that of a place where nobody can be asked.
func confirm(question string, nobody *sandbox.UsageError, refused string) error {
	if !canAsk() {
		return nobody
	}
	if said, err := askOne(question, "yn", "y yes, n no"); err != nil || said != 'y' {
		return errors.New(refused)
	}
	return nil
}

// askOne asks until one of the letters is the answer. At the end of the input it is errNotApplied: of what is asked for
// one by one nothing is then applied, whatever was said before.
func askOne(question, letters, means string) (byte, error) {
	for {
		fmt.Fprintf(os.Stderr, "%s? [%s] ", question, strings.Join(strings.Split(letters, ""), ","))
		line, err := readLine(os.Stdin)
		if err != nil {
			fmt.Fprintln(os.Stderr)
			return 0, errNotApplied
		}
		line = strings.ToLower(strings.TrimSpace(line))
		if line != "" && strings.Contains(letters, line[:1]) {
			return line[0], nil
		}
		fmt.Fprintln(os.Stderr, means)
	}
}
