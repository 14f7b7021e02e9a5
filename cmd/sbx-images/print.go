package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"sbx/host"
	"sbx/images"
	"sbx/images/registry"
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/state"
)

// All that a person reads of this program is printed from this file, in the manner of sbx: messages go
// to stderr and begin with "sbx: ".

func message(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "sbx: "+host.Printable(fmt.Sprintf(format, args...)))
}

func hint(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "sbx: hint: "+host.Printable(fmt.Sprintf(format, args...)))
}

func printUsageError(err error) {
	message("%v", err)
	hint("sbx --help, or man sbx")
}

// printError prints an error, with advice where there is some.
func printError(err error) {
	var several profiles.Errors
	if errors.As(err, &several) {
		for _, e := range several {
			message("%s: %s", e.Place(), e.Msg)
			if e.Hint != "" {
				hint("%s", e.Hint)
			}
		}
		return
	}
	for line := range strings.Lines(err.Error()) {
		message("%s", strings.TrimSuffix(line, "\n"))
	}
	if advice := adviceFor(err); advice != "" {
		hint("%s", advice)
	}
}

func adviceFor(err error) string {
	var refused *registry.RefusedError
	var inside *insideError
	var usage *usageError
	var missing *images.NotFoundError
	var request *sandbox.UsageError
	var nobody *state.NotFoundError
	switch {
	case errors.As(err, &request):
		return request.Hint
	case errors.As(err, &nobody):
		return "sbx ps -a lists all there are"
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &inside):
		return inside.hint
	case errors.As(err, &missing):
		return "sbx images lists what is there, sbx pull brings more"
	case errors.As(err, &refused):
		return `a registry that is to be talked to by plain http needs [registries."HOST"] insecure = true in config.toml`
	case registry.IsDenied(err):
		return "if the name is right: sbx login HOST, for images that not everybody may see"
	}
	return ""
}

// usageError is a request that cannot be meant.
type usageError struct{ problem, hint string }

func (e *usageError) Error() string { return e.problem }

func printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = os.Stdout.Write(append(host.PrintableJSON(text), '\n'))
	}
	return err
}

func printTags(tags []string) error {
	for _, tag := range tags {
		if _, err := fmt.Println(host.Printable(tag)); err != nil {
			return err
		}
	}
	return nil
}

func printPulled(img *images.Image) error {
	_, err := fmt.Println(img.Ref + " " + img.Digest)
	return err
}

// printLeftOut says what of a layer cannot be had here.
func printLeftOut(l images.Layer, meta *images.Meta) {
	if len(meta.Devices) > 0 {
		message("layer %s: device nodes left out: %s", short(l.Digest), plainWords(meta.Devices))
	}
	if len(meta.Attributes) > 0 {
		message("layer %s: extended attributes left out: %s", short(l.Digest), plainWords(meta.Attributes))
	}
}

// printNotPacked says what of a folder has no place in a layer.
func printNotPacked(left []string) {
	if len(left) > 0 {
		message("left out, for a layer cannot hold them: %s", plainWords(left))
	}
}

func printGoesOn(name string) {
	message("warning: %s goes on meanwhile, for it has no cgroup to be held by: what it writes just now may be in the image by half", name)
}

// short is the part of a digest that people read.
func short(digest string) string { return strings.TrimPrefix(digest, "sha256:")[:12] }

func printImages(list []listed, asJSON bool) error {
	if asJSON {
		return printJSON(nonNil(list))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tLAYERS\tSIZE\tOWN\tHERE SINCE")
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", l.Ref, short(l.Digest), l.Layers, bytesWord(l.Size), bytesWord(l.Own), l.Created.Local().Format(time.DateTime))
	}
	return w.Flush()
}

// nonNil makes an empty list print as one.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func bytesWord(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

func printGarbage(list []images.Garbage, asJSON bool) error {
	if asJSON {
		return printJSON(nonNil(list))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	var sum int64
	for _, g := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.What, g.Name, bytesWord(g.Size))
		sum += g.Size
	}
	fmt.Fprintf(w, "together\t\t%s\n", bytesWord(sum))
	return w.Flush()
}

// progress shows how layers come: a line that changes on a terminal, else a line when one is done.
type progress struct {
	mutex    sync.Mutex
	terminal bool
	have     map[string]int64
	size     map[string]int64
	shown    time.Time
	drawn    bool
}

func newProgress() *progress {
	return &progress{terminal: term.IsTerminal(2), have: map[string]int64{}, size: map[string]int64{}}
}

// often is how often the line on a terminal changes.
const often = 100 * time.Millisecond

func (p *progress) event(e registry.Event) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.have[e.Layer.Digest], p.size[e.Layer.Digest] = e.Bytes, e.Layer.Size
	name := short(e.Layer.Digest)
	switch e.Kind {
	case registry.Waiting:
		p.line("layer %s: another sbx is bringing it", name)
	case registry.Resumed:
		p.line("layer %s: going on after %s", name, bytesWord(e.Bytes))
	case registry.Done:
		p.line("layer %s: %s", name, bytesWord(e.Layer.Size))
	}
	if p.terminal && time.Since(p.shown) > often {
		p.draw()
	}
}

func (p *progress) line(format string, args ...any) {
	p.clear()
	message(format, args...)
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(os.Stderr, "\r\033[K")
		p.drawn = false
	}
}

// draw shows each layer that is on its way.
func (p *progress) draw() {
	var parts []string
	for digest, have := range p.have {
		if size := p.size[digest]; have < size {
			parts = append(parts, fmt.Sprintf("%s %d%%", short(digest)[:6], have*100/size))
		}
	}
	p.shown = time.Now()
	p.clear()
	if len(parts) > 0 {
		fmt.Fprint(os.Stderr, strings.Join(parts, "  "))
		p.drawn = true
	}
}

func (p *progress) end() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.clear()
}
