package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sbx/images"
	"sbx/images/archive"
	"sbx/images/layer"
)

type importCmd struct {
	Source string   `arg:"" help:"A tar of a root file system, compressed or not, or a folder; - is a tar on stdin."`
	Ref    string   `arg:"" name:"image" help:"The name of the new image."`
	Change []string `short:"c" sep:"none" placeholder:"KEY VALUE" help:"A part of its configuration, as in a Dockerfile: ENV, CMD, ENTRYPOINT, USER, WORKDIR, VOLUME, LABEL, STOPSIGNAL."`
}

// Run makes an image of one layer from a root file system.
func (c *importCmd) Run(ctx context.Context) error {
	a, err := newApp()
	if err != nil {
		return err
	}
	if _, err := a.target(c.Ref); err != nil {
		return err
	}
	keep, err := a.store.KeepGarbage()
	if err != nil {
		return err
	}
	defer keep.Close()
	var config images.Config
	if err := change(&config, c.Change); err != nil {
		return err
	}
	lay, err := a.importLayer(c.Source)
	if err != nil {
		return err
	}
	what := "sbx import " + filepath.Base(c.Source)
	img, err := archive.NewImage(a.store, nil, lay, config, images.History{CreatedBy: what})
	if err != nil {
		return err
	}
	l, err := a.rootLayout()
	if err != nil {
		return err
	}
	return l.file(ctx, img, c.Ref)
}

// importLayer takes a tar or a folder into the store.
func (a *app) importLayer(source string) (images.Layer, error) {
	limit := a.layerOptions().MaxBytes
	if source == "-" {
		return archive.NewLayer(a.store, os.Stdin, limit)
	}
	info, err := os.Stat(source)
	if err != nil {
		return images.Layer{}, err
	}
	if info.IsDir() {
		l, err := a.rootLayout()
		if err != nil {
			return images.Layer{}, err
		}
		return l.packed(source, layer.PackOptions{})
	}
	f, err := os.Open(source)
	if err != nil {
		return images.Layer{}, err
	}
	defer f.Close()
	return archive.NewLayer(a.store, f, limit)
}

// packed makes a layer of a folder, whose files may belong to sub-ids.
func (l *layout) packed(dir string, o layer.PackOptions) (lay images.Layer, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return lay, err
	}
	done := make(chan outcome, 1)
	go func() {
		said, err := l.inside(dir, nil, w, "pack", packText(o))
		w.Close()
		done <- outcome{said, err}
	}()
	lay, err = archive.NewLayer(l.app.store, r, l.app.layerOptions().MaxBytes)
	r.Close()
	end := <-done
	if end.err != nil {
		return lay, fmt.Errorf("reading %s: %w", dir, end.err)
	}
	printNotPacked(end.Left)
	return lay, err
}

// change applies lines such as those of a Dockerfile to a configuration.
func change(config *images.Config, lines []string) error {
	for _, line := range lines {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		set, ok := changes[strings.ToUpper(key)]
		if !ok || value == "" {
			return &usageError{fmt.Sprintf("no such change of a configuration: %q", line), "as in: --change 'ENV LANG=C.UTF-8', --change 'CMD [\"bash\"]'"}
		}
		set(config, value)
	}
	return nil
}
