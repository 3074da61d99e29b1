package mountd

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzPlace looks that no path passes that is not below the directory, however
// it is spelled.
func FuzzPlace(f *testing.F) {
	for _, seed := range []string{"", "/", "/k", "/k/", "/k/a", "/k/../etc", "/k/a/..", "/kx", "/k//a", "/k/a\x00", "/k/a\n", "k/a", "/k/\xff", "/k/./a"} {
		f.Add(seed)
	}
	g := guard{dirs: []string{"/k"}}
	f.Fuzz(func(t *testing.T, path string) {
		if g.place("target", path) != nil {
			return
		}
		below, err := filepath.Rel("/k", path)
		if err != nil || below == "." || strings.HasPrefix(below, "..") || filepath.Clean(path) != path || strings.ContainsAny(path, "\x00\n") {
			t.Errorf("%q passes", path)
		}
	})
}
