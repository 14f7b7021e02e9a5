package state

import (
	"fmt"
	"math/rand/v2"
)

// NameError is a name that no sandbox can have.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("%q is no name for a sandbox: up to %d letters, digits, dots, dashes and underscores, the first a letter or digit", e.Name, maxName)
}

// maxName keeps the name of a socket within what a folder takes.
const maxName = 63

// CheckName holds a name against what is safe as a file name and in every sentence and command line.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > maxName {
		return &NameError{name}
	}
	for i := range len(name) {
		c := name[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || c != '.' && c != '-' && c != '_') {
			return &NameError{name}
		}
	}
	return nil
}

// NewName is a name for a sandbox that was given none: easy to say, and with so many possible ones that
// Create hardly ever finds it taken.
func NewName() string {
	return fmt.Sprintf("%s-%s-%03x", pick(adjectives), pick(animals), rand.IntN(1<<12))
}

func pick(words [32]string) string { return words[rand.IntN(len(words))] }

var adjectives = [32]string{
	"amber", "brave", "brisk", "calm", "clear", "crisp", "dapper", "deft", "eager", "early", "fair", "fleet", "fresh", "gentle", "glad", "grand",
	"happy", "hardy", "jolly", "keen", "kind", "light", "lively", "lucid", "merry", "neat", "noble", "proud", "quick", "quiet", "sunny", "witty",
}

var animals = [32]string{
	"badger", "beaver", "bison", "crane", "dingo", "eagle", "egret", "ermine", "falcon", "ferret", "finch", "gecko", "gibbon", "heron", "hare", "ibis",
	"jackal", "kestrel", "lark", "lemur", "lynx", "marten", "newt", "otter", "owl", "panda", "puffin", "raven", "robin", "stoat", "tapir", "wren",
}
