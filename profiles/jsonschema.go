package profiles

import (
	"encoding/json"
	"strings"
	"time"
)

// schema is a part of a JSON Schema, draft 2020-12.
type schema map[string]any

const dialect = "https://json-schema.org/draft/2020-12/schema"

// ProfileSchema is the JSON Schema of a profile, by which editors complete and
// check one. It is made from the keys and their Go types. It knows less than
// the parser: paths, names and rules of `allow` are strings to it.
func ProfileSchema() []byte {
	tables, keys := propertiesOf(profileKeys), schema{}
	for name := range tables {
		keys[name] = schema{"$ref": "#/$defs/" + name}
	}
	return schemaText(schema{
		"$schema": dialect, "title": "a profile of sbx", "type": "object", "additionalProperties": false,
		"properties": with(keys, schema{
			"extends":  schema{"type": "string", "description": "a built-in profile, or one in the user's profile folder"},
			"tasks":    schema{"$ref": "#/$defs/tasks"},
			"profiles": schema{"type": "object", "description": "variants of this file, for -p", "additionalProperties": schema{"$ref": "#/$defs/variant"}},
		}),
		"$defs": with(tables, schema{
			"variant": schema{"type": "object", "additionalProperties": false, "properties": with(keys, schema{"tasks": schema{"$ref": "#/$defs/tasks"}})},
			"tasks": schema{"type": "object", "description": "lines for the shell inside, for sbx run :NAME", "additionalProperties": schema{"anyOf": []schema{
				{"type": "string", "minLength": 1},
				{"type": "object", "additionalProperties": false, "required": []string{"run"}, "properties": with(keys, schema{"run": schema{"type": "string", "minLength": 1}})},
			}}},
		}),
	})
}

// ConfigSchema is the JSON Schema of config.toml.
func ConfigSchema() []byte {
	return schemaText(schema{
		"$schema": dialect, "title": "the configuration of sbx", "type": "object", "additionalProperties": false,
		"properties": with(propertiesOf(configKeys), schema{
			"registries": schema{"type": "object", "additionalProperties": schema{
				"type": "object", "additionalProperties": false, "properties": propertiesOf(registryKeys),
			}},
		}),
	})
}

func schemaText(s schema) []byte {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // of maps, slices and strings
	}
	return append(text, '\n')
}

func with(a, b schema) schema {
	out := schema{}
	for _, m := range []schema{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// propertiesOf nests the keys by their tables.
func propertiesOf[R any](keys []key[R]) schema {
	out := schema{}
	for _, k := range keys {
		table, name, nested := strings.Cut(k.path(), ".")
		if !nested {
			out[k.path()] = k.schema()
			continue
		}
		t, ok := out[table].(schema)
		if !ok {
			t = schema{"type": "object", "additionalProperties": false, "properties": schema{}}
			out[table] = t
		}
		t["properties"].(schema)[name] = k.schema()
	}
	return out
}

func describe(s schema, like, rule string) schema {
	return with(s, schema{"description": "as in " + like + "; a later layer's value is " + rule})
}

// wordsOfKeys are all that keys take as one of a few words. A key's own are those
// that its parser takes, so the schema cannot say anything else.
var wordsOfKeys = []string{
	"none", "read", "review", "write", "drop", "keep", "host", "zero", "empty", "kept", "required", "best-effort", "off", "default", "strict",
	"full", "single-id", "outer-proc", "unlimited", "on", "slirp", "pasta", "builtin", "auto", "overlay", "fuse-overlayfs", "copy",
}

// schemaOf is the schema of what a parser takes for a value of the type T.
func schemaOf[T any](parse parser[T]) schema {
	var zero T
	switch any(zero).(type) {
	case bool:
		return schema{"type": "boolean"}
	case int64:
		return schema{"type": "integer"}
	case float64:
		return schema{"type": "number", "exclusiveMinimum": 0}
	case Size:
		return schema{"anyOf": []schema{{"type": "integer"}, {"type": "string", "pattern": `^[0-9.]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$`}}}
	case time.Duration:
		return schema{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`}
	}
	for _, other := range []string{"no such value", "no_such_value"} {
		if _, err := parse(base{}, other); err == nil {
			return schema{"type": "string"}
		}
	}
	var some []string
	for _, w := range wordsOfKeys {
		if _, err := parse(base{}, w); err == nil {
			some = append(some, w)
		}
	}
	switch any(zero).(type) {
	case NetMode:
		return schema{"anyOf": []schema{{"enum": some}, {"type": "string", "pattern": "^join:[A-Za-z0-9][A-Za-z0-9._-]*$"}}}
	case User:
		return schema{"type": "string", "pattern": "^(me|root|[0-9]+(:[0-9]+)?)$"}
	}
	if _, err := parse(base{}, "ubuntu:24.04"); err == nil || len(some) == 0 || len(some) == len(wordsOfKeys) {
		return schema{"type": "string"}
	}
	return schema{"enum": some}
}
