package main

import (
	"fmt"
	"os"
	"regexp"

	"sbx/tests/gotest"
)

// report prints the results of each part as they come, in the form of tests/run.
func (g *guest) report(j job, o options) (int, error) {
	allowed, err := gotest.ReadAllowedSkips("tests/skips.txt")
	if err != nil {
		return 0, err
	}
	var total gotest.Count
	readers := make([]*gotest.Reader, len(j.Parts))
	for i := range readers {
		readers[i] = gotest.NewReader()
	}
	for {
		m, err := g.next()
		switch {
		case err != nil:
			return 0, err
		case m.End:
			fmt.Printf("guest: %d passed, %d failed, %d skipped\n", total.Passed, total.Failed, total.Skipped)
			if total.Failed > 0 || total.Passed == 0 {
				return 1, nil
			}
			return 0, nil
		case m.Part < 0 || m.Part >= len(readers):
			return 0, fmt.Errorf("the guest: a message of part %d of %d", m.Part, len(readers))
		case m.Line != nil:
			if o.loud {
				fmt.Println(*m.Line)
			}
			readers[m.Part].Line(*m.Line)
		case m.Exit != nil:
			total.Add(partResult(j.Parts[m.Part].Name, readers[m.Part], *m.Exit, *m.Time, allowed))
			readers[m.Part].Slowest(os.Stdout, o.times)
		}
	}
}

func partResult(name string, r *gotest.Reader, status int, seconds float64, allowed []*regexp.Regexp) gotest.Count {
	c := r.Report(os.Stdout, name, allowed)
	if status != 0 && c.Failed == 0 {
		fmt.Printf("%s: exit status %d\n%s", name, status, r.Tail())
		c.Failed++
	}
	fmt.Printf("%-28s %7.1f s   %d passed, %d failed, %d skipped\n", name, seconds, c.Passed, c.Failed, c.Skipped)
	return c
}

// showOutput prints the output of a single command and returns its exit status.
func (g *guest) showOutput() (int, error) {
	for {
		m, err := g.next()
		switch {
		case err != nil:
			return 0, err
		case m.Line != nil:
			fmt.Println(*m.Line)
		case m.Exit != nil:
			return *m.Exit, nil
		}
	}
}
