package state

import (
	"encoding/json"
	"testing"
	"time"
)

// A record may be cut off, of a newer version or edited by hand: it is read whole, or an error says which it was.
func FuzzParseRecord(f *testing.F) {
	whole, err := json.Marshal(&Record{Version: Version, Verb: "run", Created: time.Unix(1, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"version":1e9,"verb":"run"}`))
	f.Add([]byte(`{"version":1,"verb":"run","created":"2026-01-01T00:00:00Z","supervisor":{"pid":-1,"start":18446744073709551615}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord("dev", "/nowhere", data, nil)
		if (r == nil) == (err == nil) {
			t.Fatalf("record %v, error %v", r, err)
		}
		if err != nil {
			_ = err.Error()
			return
		}
		if r.Name != "dev" || r.Version < 1 || r.Version > Version {
			t.Fatalf("taken as whole: %+v", r)
		}
		r.Status()
		if _, err := json.Marshal(r); err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
	})
}
