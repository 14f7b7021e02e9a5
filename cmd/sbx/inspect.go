package main

import (
	"encoding/json"
	"errors"
	"time"

	"sbx/images"
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/slirp"
	"sbx/state"
)

type inspectCmd struct {
	JSON    bool   `name:"json" help:"Print JSON, as it does without, but for --network."`
	Network bool   `help:"Print what its network has reached and refused."`
	Name    string `arg:"" help:"A sandbox, or an image of this machine."`
}

// inspected is a record with what is known beside it.
type inspected struct {
	*state.Record
	Status  state.Status    `json:"status"`
	Spec    json.RawMessage `json:"spec,omitempty"`
	Traffic *slirp.Report   `json:"network_report,omitempty"`
}

// Run prints all that is known of a sandbox, or of an image where no sandbox has the name.
func (c *inspectCmd) Run() error {
	store, record, err := lookUp(c.Name)
	if isMissing(err) {
		img, failed := inspectImage(c.Name)
		if errors.As(failed, new(*images.NotFoundError)) || errors.As(failed, new(*images.RefError)) {
			return &sandbox.UsageError{Problem: "neither a sandbox nor an image here is called " + c.Name, Hint: "sbx ps -a and sbx images list what there is"}
		}
		if failed != nil {
			return failed
		}
		return printJSON(img)
	}
	if err != nil {
		return err
	}
	report, err := sandbox.Network(store, record)
	if c.Network {
		if err != nil {
			return err
		}
		return printTraffic(record, report, c.JSON)
	}
	answer := inspected{Record: record, Status: record.Status(), Traffic: report}
	if folder, err := store.Open(c.Name); err == nil {
		defer folder.Close()
		if spec, err := folder.ReadFile("spec.json"); err == nil && json.Valid(spec) {
			answer.Spec = spec
		}
	}
	return printJSON(answer)
}

// inspectedImage is what is known of an image.
type inspectedImage struct {
	Image    string           `json:"image"`
	Digest   string           `json:"digest"`
	Manifest string           `json:"manifest"`
	Since    time.Time        `json:"here_since"`
	Created  *time.Time       `json:"created,omitempty"`
	Author   string           `json:"author,omitempty"`
	Platform string           `json:"platform"`
	Size     int64            `json:"size"` // in the store, in bytes
	Own      int64            `json:"own"`  // of which no other image has
	Config   images.Config    `json:"config"`
	Layers   []inspectedLayer `json:"layers"`
	History  []images.History `json:"history,omitempty"`
}

// inspectedLayer is a layer of an image, the lowest first.
type inspectedLayer struct {
	Digest   string `json:"digest"`
	DiffID   string `json:"diff_id"`
	Size     int64  `json:"size"`     // compressed, in bytes
	Unpacked int64  `json:"unpacked"` // for all id layouts, in bytes
	Shared   bool   `json:"shared"`   // with another image
}

func inspectImage(name string) (*inspectedImage, error) {
	at, err := findPlace()
	if err != nil {
		return nil, err
	}
	config, err := profiles.LoadConfig(profiles.ConfigHome(at.account.Home), at.account.Home)
	if err != nil {
		return nil, err
	}
	ref, err := images.ParseRef(name, config.ImageAliases())
	if err != nil {
		return nil, err
	}
	store := sandbox.ImageStore(at.account.Home)
	img, err := store.Find(ref)
	if err != nil {
		return nil, err
	}
	all, _, err := store.All()
	if err != nil {
		return nil, err
	}
	return inspectedOf(img, store.Sizes(all)), nil
}

func inspectedOf(img *images.Image, sizes *images.Sizes) *inspectedImage {
	c := &img.Config
	i := &inspectedImage{
		Image: img.Ref, Digest: img.Digest, Manifest: img.Record.Manifest, Since: img.Record.Created, Created: c.Created, Author: c.Author,
		Platform: c.OS + "/" + c.Architecture, Config: c.Config, History: c.History, Layers: []inspectedLayer{},
	}
	i.Size, i.Own = sizes.Image(img)
	for _, l := range img.Layers {
		_, trees := sizes.Layer(l)
		i.Layers = append(i.Layers, inspectedLayer{l.Digest, l.DiffID, l.Size, trees, sizes.Shared(l)})
	}
	return i
}
