package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleOf(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseFio(t *testing.T) {
	for name, tc := range map[string]struct {
		direction string
		want      measured
	}{
		"randwrite": {"write", measured{"fio-3.33", 647.761194, 2653229}},
		"randread":  {"read", measured{"fio-3.33", 26334.665335, 107866789}},
	} {
		got, err := parseFio([]byte(sampleOf(t, name)), name, tc.direction)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(measured{})); d != "" {
			t.Errorf("%s: want -, got +\n%s", name, d)
		}
	}
}

func TestParseFioRefuses(t *testing.T) {
	good := sampleOf(t, "randwrite")
	for name, tc := range map[string]struct{ in, direction, want string }{
		"nothing":                 {"", "write", "it is no JSON"},
		"another job":             {strings.Replace(good, `"jobname" : "randwrite"`, `"jobname" : "other"`, 1), "write", `want "randwrite"`},
		"it wrote and shall read": {good, "read", "shall only read"},
	} {
		m, err := parseFio([]byte(tc.in), "randwrite", tc.direction)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %+v, %v; want an error with %q", name, m, err, tc.want)
		}
	}
}
