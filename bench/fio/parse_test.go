package fio

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParse(t *testing.T) {
	o, err := Parse([]byte(sample(t, "4k-mixed.json")), "4k-mixed")
	if err != nil {
		t.Fatal(err)
	}
	if o.Version != "fio-3.33" || o.Read.Requests == 0 || o.Write.Requests == 0 || o.Sync.Requests != 0 {
		t.Errorf("%s with %d reads, %d writes, %d syncs; want fio-3.33, reads and writes, no syncs", o.Version, o.Read.Requests, o.Write.Requests, o.Sync.Requests)
	}
	var n uint64
	for _, b := range o.Read.Latency.Histogram {
		n += b.Count
	}
	if n != o.Read.Requests {
		t.Errorf("the histogram has %d requests, want %d", n, o.Read.Requests)
	}
	if !slices.IsSortedFunc(o.Read.Latency.Histogram, func(a, b Bin) int { return int(a.NS) - int(b.NS) }) {
		t.Error("the histogram is not sorted")
	}
	p50, p99 := Percentile(o.Read.Latency.Histogram, 0.5), Percentile(o.Read.Latency.Histogram, 0.99)
	if p50 <= 0 || p50 > p99 || p99 > o.Read.Latency.Max*1.05 {
		t.Errorf("p50 %v, p99 %v, max %v: want them in this order", p50, p99, o.Read.Latency.Max)
	}
	if o, err = Parse([]byte(sample(t, "4k-randwrite-fsync.json")), "4k-randwrite-fsync"); err != nil || o.Sync.Requests == 0 || len(o.Sync.Latency.Histogram) == 0 {
		t.Errorf("%d syncs (%v), want some with their latency", o.Sync.Requests, err)
	}
}

// TestParseNotes: fio writes some notes to the standard output, before the JSON.
func TestParseNotes(t *testing.T) {
	text := "note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1\n" + sample(t, "files-create.json")
	if o, err := Parse([]byte(text), "files-create"); err != nil || o.Read.Requests != 10 {
		t.Errorf("%d requests (%v), want 10", o.Read.Requests, err)
	}
}

func TestParseFailedJob(t *testing.T) {
	_, err := Parse([]byte(sample(t, "full.json")), "full")
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the target is full") {
		t.Errorf("%v, want that the target is full", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := sample(t, "4k-randwrite-fsync.json")
	change := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the sample has no %s", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":        {"", "no JSON"},
		"half":           {good[:len(good)/2], "no JSON"},
		"something else": {"fio: unrecognised option\n", "no JSON"},
		"more behind":    {good + "{}", "no JSON"},
		"null":           {"null", `"fio version" is missing`},
		"other case":     {change(`"jobname"`, `"JobName"`), "jobname is missing"},
		"twice":          {change(`"jobname"`, `"error" : 0, "jobname"`), "duplicate"},
		"other job":      {change(`"4k-randwrite-fsync"`, `"else"`), `want "4k-randwrite-fsync"`},
		"no iops":        {change(`"iops"`, `"ioops"`), "iops is missing"},
		"text":           {change(`"total_ios" : 0`, `"total_ios" : "0"`), "no JSON"},
		"negative":       {change(`"total_ios" : 0`, `"total_ios" : -1`), "no JSON"},
		"a count off":    {change(`"N" : 0`, `"N" : 7`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text), "4k-randwrite-fsync")
			if tc.want == "" {
				return // must not panic
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestVersionOf(t *testing.T) {
	for text, want := range map[string][2]int{
		"fio-3.33\n": {3, 33}, "fio-3.36-17-gabc": {3, 36}, "fio-2.1.11": {2, 1}, "fio-4": {4, 0},
	} {
		if major, minor, err := versionOf(text); err != nil || major != want[0] || minor != want[1] {
			t.Errorf("%q: %d.%d (%v), want %d.%d", text, major, minor, err, want[0], want[1])
		}
	}
	for _, text := range []string{"", "3.33", "fio-", "fio-x.y", "usage: fio"} {
		if _, _, err := versionOf(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// least is the least that is accepted: go's fuzzer stands still on the samples' 10 KB.
const least = `{"fio version":"fio-3.33","jobs":[{"jobname":"4k-mixed","error":0,
"read":{"total_ios":3,"iops":1.5,"bw_bytes":6144,"clat_ns":{"min":1,"max":9,"mean":4.5,"N":3,"bins":{"1":1,"5":2}}},
"write":{"total_ios":0,"iops":0,"bw_bytes":0,"clat_ns":{"min":0,"max":0,"mean":0,"N":0}},
"sync":{"total_ios":0,"lat_ns":{"min":0,"max":0,"mean":0,"N":0}}}]}`

func TestParseLeast(t *testing.T) {
	if o, err := Parse([]byte(least), "4k-mixed"); err != nil || o.Read.Requests != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, change := range [][2]string{
		{`"5":2`, `"5":3`},
		{`"5":2`, `"-5":2`},
		{`"min":1`, `"min":10`},
		{`"iops":1.5`, `"iops":0`},
		{`"iops":1.5`, `"iops":-1`},
		{`"N":3`, `"M":3`},
		{`"sync"`, `"sunk"`},
		{`"total_ios":3`, `"total_ios":0`},
		{`"error":0,`, ``},
	} {
		text := strings.Replace(least, change[0], change[1], 1)
		if o, err := Parse([]byte(text), "4k-mixed"); err == nil {
			t.Errorf("%s in the place of %s is accepted: %+v", change[1], change[0], o)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(strings.Replace(least, `"error":0`, `"error":28`, 1)))
	f.Add([]byte("note: something\n{\n" + least[1:]))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, job := range []string{"4k-mixed", "files-create"} {
			o, err := Parse(data, job)
			if err != nil {
				continue
			}
			if o.Version == "" && o.Read.Requests+o.Write.Requests == 0 {
				t.Error("accepted with nothing in it")
			}
			for _, d := range []Direction{o.Read, o.Write, o.Sync} {
				if p := Percentile(d.Latency.Histogram, 0.99); p < 0 {
					t.Errorf("p99 is %v", p)
				}
			}
		}
	})
}
