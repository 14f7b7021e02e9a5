package sandbox

import (
	"reflect"
	"testing"

	"sbx/host"
	"sbx/userns"
)

func TestIDMap(t *testing.T) {
	sub := []host.IDRange{{Start: 100000, Count: 65536}}
	for name, c := range map[string]struct {
		inside uint32
		sub    []host.IDRange
		want   []userns.Range
	}{
		"none": {1000, nil, []userns.Range{{Inside: 1000, Outside: 1000, Count: 1}}},
		"root": {0, sub, []userns.Range{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}},
		"me": {1000, sub, []userns.Range{
			{Inside: 1000, Outside: 1000, Count: 1}, {Inside: 0, Outside: 100000, Count: 1000}, {Inside: 1001, Outside: 101000, Count: 64536},
		}},
		"above all": {1234567, sub, []userns.Range{{Inside: 1234567, Outside: 1000, Count: 1}, {Inside: 0, Outside: 100000, Count: 65536}}},
		"two ranges": {10, []host.IDRange{{Start: 5000, Count: 5}, {Start: 9000, Count: 10}}, []userns.Range{
			{Inside: 10, Outside: 1000, Count: 1}, {Inside: 0, Outside: 5000, Count: 5}, {Inside: 5, Outside: 9000, Count: 5}, {Inside: 11, Outside: 9005, Count: 5},
		}},
	} {
		if got := idMap(c.inside, 1000, c.sub); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
