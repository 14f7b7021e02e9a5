package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"

	"sbx/host"
	"sbx/images"
	"sbx/images/registry"
	"sbx/profiles"
	"sbx/sandbox"
	"sbx/userns"
)

// app is what all verbs need: who asks, what the configuration says, and the store.
type app struct {
	account host.Account
	config  profiles.Config
	store   *images.Store
	aliases map[string]string
}

func newApp() (*app, error) {
	account, err := host.User()
	if err != nil {
		return nil, fmt.Errorf("looking up the user: %w", err)
	}
	config, err := profiles.LoadConfig(profiles.ConfigHome(account.Home), account.Home)
	if err != nil {
		return nil, err
	}
	a := &app{account: account, config: config, store: sandbox.ImageStore(account.Home)}
	a.aliases = config.ImageAliases()
	return a, a.store.Prepare()
}

func (a *app) ref(name string) (images.Ref, error) { return images.ParseRef(name, a.aliases) }

// target is a name that an image is to be filed under. A digest cannot be chosen.
func (a *app) target(name string) (images.Ref, error) {
	ref, err := images.ParseRef(name, nil)
	if err == nil && ref.Digest != "" {
		err = &usageError{name + ": an image cannot be given a digest", "give a name with a tag"}
	}
	return ref, err
}

// find is an image of the store by the name that a person gave it.
func (a *app) find(name string) (*images.Image, error) {
	ref, err := a.ref(name)
	if err != nil {
		return nil, err
	}
	return a.store.Find(ref)
}

func (a *app) client() *registry.Client {
	c := &registry.Client{Registries: map[string]registry.Config{}, Keychain: authn.DefaultKeychain}
	for host, r := range a.config.Registries {
		c.Registries[host] = registry.Config{Mirrors: r.Mirrors.Values(), Insecure: r.Insecure.V}
	}
	return c
}

// layout is where layers go for sandboxes whose payload is one user.
type layout struct {
	app    *app
	maps   userns.Maps
	name   string
	single bool
}

func (a *app) layout(user profiles.User) (*layout, error) {
	maps, single, err := sandbox.IDMaps(a.account, user)
	if err != nil {
		return nil, err
	}
	l := a.layoutOf(maps)
	l.single = single
	return l, nil
}

// layoutOf is where layers go for sandboxes with these maps.
func (a *app) layoutOf(maps userns.Maps) *layout {
	return &layout{app: a, maps: maps, name: images.LayoutOf(maps), single: len(maps.UID) == 1}
}

// rootLayout is that of sandboxes whose payload is root inside. Its map has all ids that are ours, so
// that it serves to remove files of every layout.
func (a *app) rootLayout() (*layout, error) {
	return a.layout(profiles.User{Kind: profiles.UserRoot})
}

// remove removes what may belong to sub-ids: first as ourselves, and where that is refused from inside.
func (l *layout) remove(path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	_, err := l.inside(filepath.Dir(path), nil, nil, "remove", filepath.Base(path))
	return err
}

// sweep removes what killed processes left.
func (l *layout) sweep() error {
	for _, path := range l.app.store.Remnants() {
		if err := l.remove(path); err != nil {
			return fmt.Errorf("removing a remnant of an earlier pull: %w", err)
		}
	}
	return nil
}
