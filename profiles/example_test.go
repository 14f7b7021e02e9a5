package profiles

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// exampleParts returns the two parts of config.toml.example.
func exampleParts(t *testing.T) (config, profile string) {
	t.Helper()
	data, err := os.ReadFile("../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	config, profile, ok := strings.Cut(string(data), "# ---- Part 2")
	if !ok {
		t.Fatal("config.toml.example has no part 2")
	}
	return config, "# " + profile
}

func live(part string) string {
	return strings.ReplaceAll("\n"+part, "\n#:", "\n")
}

func TestExampleLoadsAsItIs(t *testing.T) {
	data, err := os.ReadFile("../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseConfig(string(data), Origin{File: "config.toml.example"}, base{dir: "/c", home: "/h"}); err != nil {
		t.Fatal(err)
	}
}

func TestExampleShowsEveryKeyOfTheConfiguration(t *testing.T) {
	part, _ := exampleParts(t)
	src := &source{origin: Origin{File: "config.toml.example"}, base: base{dir: "/c", home: "/h"}}
	n, ok := src.document(live(part))
	var c Config
	if ok {
		readTable(n, "", configKeys, &c, map[string]func(node){"registries": func(n node) { readRegistries(n, &c) }})
	}
	if err := src.errs.orNil(); err != nil {
		t.Fatal(err)
	}
	wantAllSet(t, reflect.ValueOf(c), "")
	all := Registry{}
	for _, r := range c.Registries {
		for _, k := range registryKeys {
			k.merge(&all, &r)
		}
	}
	wantAllSet(t, reflect.ValueOf(all), "registries")
}

func TestExampleShowsEveryKeyOfAProfile(t *testing.T) {
	_, part := exampleParts(t)
	src := &source{origin: Origin{File: "config.toml.example"}, base: base{dir: "/c", home: "/h", project: "/c"}}
	n, ok := src.document(live(part))
	p := &Profile{}
	if ok {
		readProfile(n, p, wholeFile)
	}
	if err := src.errs.orNil(); err != nil {
		t.Fatal(err)
	}
	wantAllSet(t, reflect.ValueOf(*p), "")
	if len(p.Tasks) == 0 || len(p.Variants) == 0 {
		t.Error("the example shows no task or no variant")
	}
}

// wantAllSet walks the Go types: a field without a key in the schema, or a key
// without a line in the example, is not set.
func wantAllSet(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), path+"."+v.Type().Field(i).Name
		switch set := f.Kind() == reflect.Struct && f.FieldByName("Set").IsValid() && f.FieldByName("From").IsValid(); {
		case set && !f.FieldByName("Set").Bool():
			t.Errorf("%s: not in the example, or not in the schema", name)
		case set:
		case f.Kind() == reflect.Map && f.Len() == 0:
			t.Errorf("%s: not in the example, or not in the schema", name)
		case f.Kind() == reflect.Struct:
			wantAllSet(t, f, name)
		}
	}
}
