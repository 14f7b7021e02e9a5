package main

import (
	"bufio"
	"fmt"
	"os"
	"text/tabwriter"

	"sbx/review"
)

// printBetween prints in what one point of a sandbox differs from another.
func printBetween(out *screen, list []*review.Difference, patch bool) error {
	for _, d := range list {
		line := fmt.Sprintf("%-9s%s", d.Kind, escape(d.Where()))
		if d.Later != "" {
			line = out.in(warning, line+"  runs later: "+escape(d.Later))
		}
		fmt.Fprintln(out, line)
		if !patch || d.Kind == review.Mode {
			continue
		}
		p, err := d.Patch()
		if err != nil {
			return err
		}
		if p.Binary {
			fmt.Fprintln(out, "binary")
		}
		for _, h := range p.Hunks {
			printHunk(out, h)
		}
	}
	return nil
}

// printDifferences prints the paths alone.
func printDifferences(list []*review.Difference) error {
	w := bufio.NewWriter(os.Stdout)
	for _, d := range list {
		fmt.Fprintln(w, escape(d.Where()))
	}
	return w.Flush()
}

// printDifferenceCounts is one line for each path, with lines that came and went, or a word.
func printDifferenceCounts(list []*review.Difference) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, d := range list {
		p, err := d.Patch()
		if err != nil {
			return err
		}
		words := "binary"
		switch {
		case d.Kind == review.Mode:
			words = "mode"
		case !p.Binary:
			words = linesOf(p)
		}
		if d.Later != "" {
			words += "\truns later: " + escape(d.Later)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", d.Kind, escapePath(d.Where()), words)
	}
	return w.Flush()
}

func differencesAsJSON(list []*review.Difference) []changeJSON {
	out := []changeJSON{}
	for _, d := range list {
		j := changeJSON{Path: d.Path, Change: string(d.Kind), Folder: d.Folder}
		if d.Later != "" {
			j.RunsLater = &d.Later
		}
		out = append(out, j)
	}
	return out
}
