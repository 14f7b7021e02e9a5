package host

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools"
)

// Whatever stands in subuid(5): a range that is given to the kernel has ids, ends within 32 bits, and overlaps no other.
func FuzzSubIDRanges(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0x86, 0xa0, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		var in []idtools.SubIDRange
		for len(data) >= 16 {
			in = append(in, idtools.SubIDRange{Start: int(binary.BigEndian.Uint64(data)), Length: int(binary.BigEndian.Uint64(data[8:]))})
			data = data[16:]
		}
		out, err := ranges(in)
		if err != nil {
			return
		}
		for i, r := range out {
			end := uint64(r.Start) + uint64(r.Count)
			if r.Count == 0 || end > math.MaxUint32 {
				t.Fatalf("%v is no range", r)
			}
			for _, o := range out[:i] {
				if uint64(o.Start) < end && uint64(r.Start) < uint64(o.Start)+uint64(o.Count) {
					t.Fatalf("%v overlaps %v", r, o)
				}
			}
		}
	})
}
