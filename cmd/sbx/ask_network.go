package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"

	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
)

// networkAsker asks whether a sandbox may reach what no rule allows.
type networkAsker struct {
	loaded *profiles.Loaded
	kept   []string // entries that are wanted in the profile
	done   bool     // nothing more is to be asked
}

var errNoAnswer = errors.New("that was no answer")

// decide asks one question. An answer that allows repeats a number that only who reads the question knows.
func (a *networkAsker) decide(q *slirp.Question, d *sandbox.Dialogue) (bool, error) {
	if a.done {
		return false, nil
	}
	number := strconv.Itoa(100 + rand.IntN(900))
	d.Say(questionWords(q, number))
	for range 3 {
		line, err := d.Line()
		if err != nil {
			d.Say(noAnswerWords(err))
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y" + number:
			a.last(q, d)
			return true, nil
		case "p" + number:
			a.kept = append(a.kept, q.Entry)
			d.Say(profileWords(a.loaded.Profile.Network.Allow.Values(), a.kept))
			a.last(q, d)
			return true, nil
		case "n":
			a.last(q, d)
			return false, nil
		case "d":
			a.done = true
			return false, nil
		}
		d.Say(answersWords(number))
	}
	d.Say(noAnswerWords(errNoAnswer))
	return false, errNoAnswer
}

// last says that no more questions are put.
func (a *networkAsker) last(q *slirp.Question, d *sandbox.Dialogue) {
	if q.ID == slirp.MaxQuestions {
		d.Say(lastQuestionWords())
	}
}

// noAnswerWords say what became of a question that got no answer.
func noAnswerWords(err error) string {
	if err == io.EOF || err == sandbox.ErrInterrupted {
		return "\nsbx: refused\n"
	}
	return "\nsbx: refused: " + escape(err.Error()) + "\n"
}
