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

// Whatever fio writes that is not as expected is named, with its place.
func TestParseFioRefuses(t *testing.T) {
	good := sampleOf(t, "randwrite")
	swap := func(old, text string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("the sample has no %q", old)
		}
		return strings.Replace(good, old, text, 1)
	}
	before, write, _ := strings.Cut(good, `"write" : {`)
	beforeRead, _, _ := strings.Cut(before, `"read" :`)
	inWrite := func(old, text string) string {
		t.Helper()
		if !strings.Contains(write, old) {
			t.Fatalf("the sample's write has no %q", old)
		}
		return before + `"write" : {` + strings.Replace(write, old, text, 1)
	}
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":             {"", "no JSON object"},
		"a note before it":    {"note: both iodepth >= 1\n" + good, `it begins "note: both iodepth`},
		"an array":            {"[]", "no JSON object"},
		"null":                {"null", "want a JSON object"},
		"cut short":           {good[:len(good)/2], "no JSON object"},
		"more behind it":      {good + "{}", "more behind"},
		"unknown at the top":  {swap(`"timestamp" :`, `"stamp" :`), `unknown field "stamp"`},
		"unknown in the job":  {swap(`"groupid" :`, `"group" :`), "unknown field jobs[0].group"},
		"unknown in write":    {inWrite(`"short_ios" :`, `"tall_ios" :`), "unknown field jobs[0].write.tall_ios"},
		"no version":          {swap(`"fio version" : "fio-3.33",`, ""), `"fio version" is missing`},
		"a version of 3":      {swap(`"fio-3.33"`, "3"), `"fio version": 3: want a text`},
		"no jobs":             {swap(`"jobs" :`, `"global options" :`), `"jobs" is missing`},
		"jobs null":           {`{"fio version": "fio-3.33", "jobs": null}`, "jobs: 0 of them"},
		"two jobs":            {`{"fio version": "fio-3.33", "jobs": [{}, {}]}`, "jobs: 2 of them"},
		"a job of null":       {`{"fio version": "fio-3.33", "jobs": [null]}`, "jobs[0]: null"},
		"another job":         {swap(`"jobname" : "randwrite"`, `"jobname" : "other"`), `jobs[0].jobname: "other": want "randwrite"`},
		"a job that failed":   {swap(`"error" : 0`, `"error" : 28`), "jobs[0].error: 28: want 0"},
		"no error":            {swap(`"error" : 0,`, ""), "jobs[0].error is missing"},
		"no reads":            {swap(`"read" : {`, `"mixed" : {`), "jobs[0].read is missing"},
		"reads that are one":  {beforeRead + `"read" : 1, "write" : {` + write, "jobs[0].read: it is no JSON object"},
		"it read as well":     {swap(`"total_ios" : 0`, `"total_ios" : 7`), "jobs[0].read.total_ios: 7: want 0"},
		"no iops":             {inWrite(`"iops" :`, `"iops_mean" :`), "jobs[0].write.iops is missing"},
		"iops null":           {inWrite(`"iops" : `, `"iops" : null, "bw_dev" : `), "jobs[0].write.iops: null: want a number"},
		"iops below zero":     {inWrite(`"iops" : `, `"iops" : -`), "want a number of at least 0"},
		"iops of text":        {inWrite(`"iops" : `, `"iops" : "many", "bw_dev" : `), `jobs[0].write.iops: "many": want a number`},
		"iops beyond numbers": {inWrite(`"iops" : `, `"iops" : 1e999, "bw_dev" : `), "want a number"},
		"no bandwidth":        {inWrite(`"bw_bytes" : `, `"bw_bytes" : 0, "bw_dev" : `), "jobs[0].write.bw_bytes: 0: want more"},
		"it did nothing":      {inWrite(`"total_ios" : `, `"total_ios" : 0, "bw_dev" : `), "jobs[0].write.total_ios: 0: want more"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parseFio([]byte(tc.in), "randwrite", "write")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want an error with %q", m, err, tc.want)
			}
		})
	}
}

func FuzzParseFio(f *testing.F) {
	f.Add([]byte(sampleOf(f, "randwrite")))
	f.Add([]byte(`{"fio version": "fio-3.33", "jobs": [{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseFio(data, "randwrite", "write")
		if err == nil && (m.iops <= 0 || m.bytesPerSecond <= 0 || m.version == "") {
			t.Errorf("%+v from %q", m, data)
		}
	})
}
