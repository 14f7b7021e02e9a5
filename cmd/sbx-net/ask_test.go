package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sbx/slirp"
)

// asking is an asker, and what it puts.
func asking() (*asker, chan *slirp.Question) {
	put := make(chan *slirp.Question, 1000)
	return newAsker(true, func(q *slirp.Question) { put <- q }), put
}

func wanted(n int) (slirp.Question, slirp.Rule) {
	name := fmt.Sprintf("n%d.test", n)
	return slirp.Question{Name: name, Entry: name}, slirp.Rule{Name: name}
}

// However many destinations a payload wants at once, eight questions are open, and nobody waits for a ninth.
func TestQuestionsOpenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, put := asking()
		for n := range maxOpen {
			go a.allows(wanted(n))
		}
		synctest.Wait()
		began := time.Now()
		allowed, why := a.allows(wanted(maxOpen))
		if allowed || why != "too many questions are open" || time.Since(began) > 0 {
			t.Errorf("one more: %v, %q after %v", allowed, why, time.Since(began))
		}
		if len(put) != maxOpen {
			t.Errorf("%d questions were put", len(put))
		}
		rules, err := newPolicy(&slirp.Setup{Restricted: true})
		if err != nil {
			t.Fatal(err)
		}
		a.decide(slirp.Answer{ID: (<-put).ID}, rules)
		go a.allows(wanted(maxOpen))
		synctest.Wait()
		if len(put) != maxOpen {
			t.Error("an answer makes no room for another question")
		}
		time.Sleep(holdTime) // until all have given up
	})
}

// All in all 32 questions are put, whatever the answers; what is known by then stays so.
func TestQuestionsInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, put := asking()
		rules, err := newPolicy(&slirp.Setup{Restricted: true})
		if err != nil {
			t.Fatal(err)
		}
		for n := range slirp.MaxQuestions {
			go func() { a.decide(slirp.Answer{ID: (<-put).ID, Allow: n%2 == 0}, rules) }()
			if allowed, why := a.allows(wanted(n)); allowed != (n%2 == 0) {
				t.Errorf("question %d: %v, %q", n, allowed, why)
			}
		}
		if allowed, why := a.allows(wanted(slirp.MaxQuestions)); allowed || why != "no more questions are put" {
			t.Errorf("one more: %v, %q", allowed, why)
		}
		if allowed, _ := a.allows(wanted(0)); !allowed || len(put) > 0 {
			t.Error("what was allowed before is asked again, or refused")
		}
	})
}

// Who asks waits for less than the minute that programs inside wait for a name. The question stays open for who tries
// again, and is not put twice.
func TestWhoAsksWaitsLessThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, put := asking()
		for range 2 {
			began := time.Now()
			allowed, why := a.allows(wanted(1))
			if waited := time.Since(began); allowed || why != whyUndecided || waited != holdTime || waited >= time.Minute {
				t.Errorf("%v, %q after %v", allowed, why, waited)
			}
		}
		if len(put) != 1 {
			t.Errorf("put %d times", len(put))
		}
	})
}
