package profiles

import (
	"os"
	"testing"
)

// BenchmarkLoad: every start of sbx pays for this.
func BenchmarkLoad(b *testing.B) {
	home := b.TempDir()
	if err := os.WriteFile(home+"/sbx.toml", []byte("[files]\nhide = ['secrets']\n[limits]\ntime = '5m'\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Load(Options{Home: home, ConfigHome: home, Project: Project{Dir: home, HasFile: true}}); err != nil {
			b.Fatal(err)
		}
	}
}
