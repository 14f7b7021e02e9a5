package host

import (
	"encoding/json"
	"testing"
)

func TestPrintableJSON(t *testing.T) {
	const hostile = "a\u009b31m \u202e\x7f é \U000e0041 \x1b[0m"
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	safe := PrintableJSON(text)
	if want := `"a\u009b31m \u202e\u007f é \udb40\udc41 \u001b[0m"`; string(safe) != want {
		t.Errorf("%s, want %s", safe, want)
	}
	var back string
	if err := json.Unmarshal(safe, &back); err != nil || back != hostile {
		t.Errorf("it reads as %q, %v", back, err)
	}
}
