package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// key is one key of a schema, of the profile (R is Profile), of the user's
// configuration or of a part of it. All that is done per key is done by it, so
// a key is added in one place: the tables in schema.go.
type key[R any] interface {
	path() string
	many() bool
	rule() string // how layers merge, in a few words
	schema() schema
	read(n node, dst *R)
	merge(dst, src *R)
	drop(r *R, value string) // takes out what asks for a grant of this Value
	entries(r *R) []Entry
	wider(c *comparison, user, mine *R) []Grant
	stamp(r *R, change func(*Origin))
}

// Entry is one value of a loaded profile, as `profile show --origin` shows it.
type Entry struct {
	Key   string
	Value string // as a profile writes it, without quotes
	From  Origin
	Bare  bool // a number, true or false, which takes no quotes
	List  bool // one of many; an empty list has one entry without a Value
}

// scalar is a key with one value; a later layer overrides an earlier one.
type scalar[R, T any] struct {
	name  string
	like  string // an example
	parse parser[T]
	at    func(*R) *Val[T]
	// grant returns what mine gives beyond the user's in plain words, or "".
	// nil: the key never gives anything.
	grant func(c *comparison, user, mine Val[T]) string
}

func (k scalar[R, T]) path() string   { return k.name }
func (k scalar[R, T]) many() bool     { return false }
func (k scalar[R, T]) rule() string   { return "replaced" }
func (k scalar[R, T]) schema() schema { return describe(schemaOf(k.parse), k.like, k.rule()) }

func (k scalar[R, T]) read(n node, dst *R) {
	v, err := k.parse(n.src.base, n.raw)
	if err != nil {
		n.fail(named(k.name, err))
		return
	}
	*k.at(dst) = Val[T]{V: v, Set: true, From: n.from()}
}

func (k scalar[R, T]) merge(dst, src *R) {
	if v := *k.at(src); v.Set {
		*k.at(dst) = v
	}
}

func (k scalar[R, T]) drop(r *R, value string) {
	if written(k.at(r).V) == value {
		*k.at(r) = Val[T]{}
	}
}

func (k scalar[R, T]) entries(r *R) []Entry {
	v := k.at(r)
	if !v.Set {
		return nil
	}
	return []Entry{{Key: k.name, Value: written(v.V), From: v.From, Bare: bare(v.V)}}
}

func (k scalar[R, T]) wider(c *comparison, user, mine *R) []Grant {
	v := *k.at(mine)
	if k.grant == nil || !v.Set {
		return nil
	}
	if words := k.grant(c, *k.at(user), v); words != "" {
		return []Grant{{Key: k.name, Value: written(v.V), Words: words, From: v.From}}
	}
	return nil
}

func (k scalar[R, T]) stamp(r *R, change func(*Origin)) {
	if v := k.at(r); v.Set {
		change(&v.From)
	}
}

// maxList is how long a list may be; each entry may cost look-ups.
const maxList = 1000

// list is a key with many values; a later layer adds to an earlier one.
type list[R any, T comparable] struct {
	name  string
	like  string
	parse parser[T]
	at    func(*R) *List[T]
	// same says that the later of two entries replaces the earlier; nil: equal ones.
	same func(a, b T) bool
	// narrows: the project's list takes the place of the user's, since it may
	// only name what is in there already.
	narrows bool
	grant   func(c *comparison, user List[T], mine T) string
}

func (k list[R, T]) path() string    { return k.name }
func (k list[R, T]) example() string { return "[" + k.like + "]" }
func (k list[R, T]) many() bool      { return true }

func (k list[R, T]) schema() schema {
	return describe(schema{"type": "array", "maxItems": maxList, "items": schemaOf(k.parse)}, k.example(), k.rule())
}

func (k list[R, T]) rule() string {
	switch {
	case k.narrows:
		return "joined; a project's list takes its place"
	case k.same != nil:
		return "joined; of two at one target the later is kept"
	}
	return "joined"
}

func (k list[R, T]) read(n node, dst *R) {
	items, ok := n.items()
	if !ok {
		n.fail(faultf("write "+k.example(), "%s takes an array, not %s", k.name, typeName(n.raw)))
		return
	}
	if len(items) > maxList {
		n.fail(faultf("", "%s has more than %d entries", k.name, maxList))
		return
	}
	out := List[T]{Set: true, From: n.from()}
	for i, raw := range items {
		e := n.elem(i, raw)
		v, err := k.parse(n.src.base, raw)
		if err != nil {
			e.fail(named(k.name, err))
			continue
		}
		out.Items = append(out.Items, Val[T]{V: v, Set: true, From: e.from()})
	}
	*k.at(dst) = out
}

func (n node) items() ([]any, bool) {
	switch v := n.raw.(type) {
	case []any:
		return v, true
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out, true
	}
	return nil, false
}

func (k list[R, T]) merge(dst, src *R) {
	from, to := k.at(src), k.at(dst)
	if !from.Set {
		return
	}
	if k.narrows && from.From.Layer == LayerProject {
		*to = List[T]{Items: slices.Clone(from.Items), Set: true, From: from.From}
		return
	}
	out := List[T]{Set: true, From: from.From, Items: slices.Clone(to.Items)}
	for _, item := range from.Items {
		out.Items = slices.DeleteFunc(out.Items, func(old Val[T]) bool { return k.replaces(item.V, old.V) })
		out.Items = append(out.Items, item)
	}
	*to = out
}

// drop leaves a list that has lost all its items set: an empty allowlist
// refuses everything.
func (k list[R, T]) drop(r *R, value string) {
	l := k.at(r)
	l.Items = slices.DeleteFunc(slices.Clone(l.Items), func(v Val[T]) bool { return written(v.V) == value })
}

func (k list[R, T]) replaces(a, b T) bool {
	return a == b || k.same != nil && k.same(a, b)
}

// entries returns one entry per value, or one without a value for a list that
// is set and empty.
func (k list[R, T]) entries(r *R) []Entry {
	l := k.at(r)
	if l.Set && len(l.Items) == 0 {
		return []Entry{{Key: k.name, From: l.From, List: true}}
	}
	var out []Entry
	for _, item := range l.Items {
		out = append(out, Entry{Key: k.name, Value: written(item.V), From: item.From, List: true})
	}
	return out
}

func (k list[R, T]) wider(c *comparison, user, mine *R) []Grant {
	if k.grant == nil {
		return nil
	}
	var out []Grant
	has := *k.at(user)
	for _, item := range k.at(mine).Items {
		if c.mergedList && slices.ContainsFunc(has.Items, func(u Val[T]) bool { return u.V == item.V }) {
			continue
		}
		if words := k.grant(c, has, item.V); words != "" {
			out = append(out, Grant{Key: k.name, Value: written(item.V), Words: words, From: item.From})
		}
	}
	return out
}

func (k list[R, T]) stamp(r *R, change func(*Origin)) {
	l := k.at(r)
	if l.Set {
		change(&l.From)
	}
	for i := range l.Items {
		change(&l.Items[i].From)
	}
}

// dict is a key whose own keys are names; a later layer overrides by name.
type dict[R any] struct {
	name  string
	like  string
	names func(string) (string, error)
	parse parser[string]
	at    func(*R) *map[string]Val[string]
}

func (k dict[R]) path() string { return k.name }
func (k dict[R]) many() bool   { return false }
func (k dict[R]) rule() string { return "by name" }

func (k dict[R]) schema() schema {
	return describe(schema{"type": "object", "additionalProperties": schema{"type": "string"}}, k.like, k.rule())
}

func (k dict[R]) read(n node, dst *R) {
	t, ok := n.table(k.name)
	if !ok {
		return
	}
	out := map[string]Val[string]{}
	for name, raw := range t {
		e := n.sub(name, raw)
		if _, err := k.names(name); err != nil {
			e.failKey(named(k.name, err))
			continue
		}
		v, err := k.parse(n.src.base, raw)
		if err != nil {
			e.fail(named(k.name+"."+escapeControl(name), err))
			continue
		}
		out[name] = Val[string]{V: v, Set: true, From: e.from()}
	}
	*k.at(dst) = out
}

func (k dict[R]) merge(dst, src *R) {
	if *k.at(src) == nil {
		return
	}
	out := maps.Clone(*k.at(dst))
	if out == nil {
		out = map[string]Val[string]{}
	}
	maps.Copy(out, *k.at(src))
	*k.at(dst) = out
}

func (k dict[R]) drop(*R, string) {}

func (k dict[R]) entries(r *R) []Entry {
	var out []Entry
	m := *k.at(r)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Entry{Key: k.name + "." + name, Value: m[name].V, From: m[name].From})
	}
	return out
}

func (k dict[R]) wider(*comparison, *R, *R) []Grant { return nil }

func (k dict[R]) stamp(r *R, change func(*Origin)) {
	m := *k.at(r)
	for name, v := range m {
		change(&v.From)
		m[name] = v
	}
}

// named puts the key before what is wrong with its value.
func named(key string, err error) error {
	f := *err.(*fault)
	f.msg = key + ": " + f.msg
	return &f
}

// bare tells whether a profile writes a value without quotes.
func bare(v any) bool {
	switch v.(type) {
	case float64, int64, bool, Size:
		return true
	}
	return false
}

// written is a value as a profile writes it.
func written(v any) string {
	switch v := v.(type) {
	case fmt.Stringer:
		return v.String()
	case float64:
		return strings.TrimSuffix(fmt.Sprintf("%g", v), ".0")
	}
	return fmt.Sprint(v)
}

// String is the user as a profile writes it.
func (u User) String() string {
	switch {
	case u.Kind != UserID:
		return string(u.Kind)
	case u.HasGID:
		return fmt.Sprintf("%d:%d", u.UID, u.GID)
	}
	return fmt.Sprint(u.UID)
}

// String is the mount as a profile writes it.
func (m Mount) String() string { return m.Src + ":" + m.Dst + mode(m.ReadOnly) }

// String is the volume as a profile writes it.
func (v Volume) String() string { return v.Name + ":" + v.Dst + mode(v.ReadOnly) }

func mode(readOnly bool) string {
	if readOnly {
		return ":ro"
	}
	return ":rw"
}
