package profiles

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// shippedSchema holds a schema that is shipped against the keys, and compiles it.
func shippedSchema(t *testing.T, file string, want []byte) *jsonschema.Schema {
	t.Helper()
	path := filepath.Join("../packaging/schema", file)
	got, err := os.ReadFile(path)
	if *update && !bytes.Equal(got, want) {
		got, err = want, os.WriteFile(path, want, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the keys say: go test ./profiles -update writes it anew", path)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(file, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid tells what a schema says of a TOML text.
func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	raw := map[string]any{}
	if _, err := toml.Decode(text, &raw); err != nil {
		t.Fatal(err)
	}
	return s.Validate(plain(raw))
}

// plain gives arrays of tables the type that the validator knows.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []map[string]any:
		var list []any
		for _, m := range v {
			list = append(list, plain(m))
		}
		return list
	}
	return v
}

func TestSchemaOfProfiles(t *testing.T) {
	s := shippedSchema(t, "sbx.schema.json", ProfileSchema())
	_, example := exampleParts(t)
	if err := valid(t, s, live(example)); err != nil {
		t.Errorf("config.toml.example, part 2: %v", err)
	}
	for _, name := range builtinNames() {
		text, err := builtins.ReadFile("builtin/" + name + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, string(text)); err != nil {
			t.Errorf("built-in %s: %v", name, err)
		}
	}
	for _, text := range []string{
		"netwrok = {}", "[network]\nmod = 'none'", "[network]\nmode = 'nnoe'", "[files]\nread = 'x'", "[files]\nread = [3]", "[files]\ngit = 'review'",
		"[limits]\ntime = 30", "[limits]\ncpus = 'two'", "[limits]\nmemory = 'much'", "[harden]\nnested = 'true'", "[tasks.x]\nlimits.time = '1m'", "[tasks]\nx = 3",
		"[profiles.x]\nextends = 'y'", "[profiles.x.profiles.y]", "[env]\nset = { A = 3 }", "[root]\nuser = 'alice'",
	} {
		if valid(t, s, text) == nil {
			t.Errorf("%q is valid to the schema", text)
		}
		if _, err := parseText(text); err == nil {
			t.Errorf("%q is valid to the parser", text)
		}
	}
	for _, text := range []string{"[network]\nmode = 'join:a'", "[limits]\nmemory = '1.5 GiB'\ntime = '1h30m'", "[limits]\nmemory = 100", "[root]\nuser = '7:8'", "[profiles.x.tasks]\ny = 'z'"} {
		if err := valid(t, s, text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSchemaOfTheConfiguration(t *testing.T) {
	s := shippedSchema(t, "config.schema.json", ConfigSchema())
	part, _ := exampleParts(t)
	whole, err := os.ReadFile("../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{live(part), string(whole)} {
		if err := valid(t, s, text); err != nil {
			t.Errorf("config.toml.example: %v", err)
		}
	}
	for _, text := range []string{"profil = 'x'", "[storage]\ndriver = 'fuse'", "[registries.'a:1']\ninsecure = 'x'", "[trust]\nfolders = '~'"} {
		if valid(t, s, text) == nil {
			t.Errorf("%q is valid to the schema", text)
		}
	}
}
