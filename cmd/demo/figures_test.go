package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   spread
		text   string
		noisy  bool
	}{
		{nil, spread{}, "0.00 (0.00 to 0.00)", true},
		{[]float64{7}, spread{7, 7, 7}, "7.00 (7.00 to 7.00)", false},
		{[]float64{30, 10, 20}, spread{10, 20, 30}, "20.0 (10.0 to 30.0)", true},
		{[]float64{4, 1000, 2, 3}, spread{2, 3.5, 1000}, "3.50 (2.00 to 1000)", true},
		{[]float64{1.9, 1}, spread{1, 1.45, 1.9}, "1.45 (1.00 to 1.90)", false},
	} {
		got := spreadOf(tc.values)
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(spread{})); d != "" {
			t.Errorf("%v: want -, got +\n%s", tc.values, d)
		}
		if got.String() != tc.text || got.noisy() != tc.noisy {
			t.Errorf("%v: %q, noisy %v; want %q, %v", tc.values, got, got.noisy(), tc.text, tc.noisy)
		}
	}
}

// The machine is half as fast in the second round: the medians differ, the ratio
// does not move.
func TestRatiosCancelDrift(t *testing.T) {
	ours, theirs := []float64{200, 100, 190}, []float64{100, 50, 95}
	if got := spreadOf(ratios(ours, theirs)); got != (spread{2, 2, 2}) {
		t.Errorf("got %v", got)
	}
	if got := ratios([]float64{1, 2}, []float64{0, 4, 9}); !slices.Equal(got, []float64{0.5}) {
		t.Errorf("a zero and a round too many: %v", got)
	}
}

func TestEachTurnsAround(t *testing.T) {
	var order []int
	for round := range 3 {
		if err := each(3, round, func(v int) error { order = append(order, v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{0, 1, 2, 2, 1, 0, 0, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

// benchOf is a bench of one job with these figures of each volume.
func benchOf(l load, volumes ...[]float64) *bench {
	b := &bench{jobs: jobs()[:1], runs: [][][]run{nil}, rounds: len(volumes[0]), version: "fio-3.33"}
	for _, values := range volumes {
		var runs []run
		for _, v := range values {
			runs = append(runs, run{measured{iops: v}, l})
		}
		b.runs[0] = append(b.runs[0], runs)
	}
	return b
}

func TestCell(t *testing.T) {
	b := benchOf(load{0.97, 0.1}, []float64{50, 55}, []float64{10, 100}, []float64{50, 50})
	for volume, want := range []string{
		"52.5 (50.0 to 55.0) IOPS\n1.05 × by hand (1.00 to 1.10)\nCPU 97 %, disk 10 %",
		"55.0 (10.0 to 100) IOPS\n1.10 × by hand (0.20 to 2.00), too noisy to judge\nCPU 97 %, disk 10 %",
		"50.0 (50.0 to 50.0) IOPS\nCPU 97 %, disk 10 %",
	} {
		if d := cmp.Diff(want, b.cell(0, volume, 2)); d != "" {
			t.Errorf("volume %d: want -, got +\n%s", volume, d)
		}
	}
}

func TestVerdict(t *testing.T) {
	for want, l := range map[string]load{
		"Bound by CPU, in every job":             {0.95, 0.2},
		"Bound by CPU, in every job on every vo": {0.9, 0.99},
		"Bound by disk, in every job":            {0.2, 0.95},
		"by neither in 1, which waited":          {0.3, 0.3},
	} {
		if got := benchOf(l, []float64{1}).verdict(); !strings.Contains(got, want) {
			t.Errorf("%+v: %q; want %q in it", l, got, want)
		}
	}
	b := benchOf(load{0.95, 0}, []float64{1}, []float64{1}, []float64{1})
	b.runs[0][1][0].load = load{0.5, 0.9}
	want := "Bound by CPU in 2 of 3 cases (a job on a volume), by disk in 1, by neither in 0, which waited for answers: " +
		"the processors of this machine were 50 % to 95 % busy, the busiest disk of a storage node 0 % to 90 %"
	if got := b.verdict(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

const (
	statBefore = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n"
	statAfter  = "cpu  150 10 110 720 110 0 5 5 99 0\n"
	ubdBefore  = "  98  0 ubda 1 0 0 0 0 0 0 0 0 5000 0\n  98 16 ubdb 1 0 0 0 0 0 0 0 0 1000 0\n"
	ubdAfter   = "  98  0 ubda 1 0 0 0 0 0 0 0 0 9000 0\n  98 16 ubdb 1 0 0 0 0 0 0 0 0 1500 0\n  7 0 loop0 1 0 0 0 0 0 0 0 0 9000 0\n"
)

func TestLoad(t *testing.T) {
	at := time.Unix(1000, 0)
	counted := func(at time.Time, stat, disks string) counters {
		t.Helper()
		c := counters{at: at, disks: map[string]time.Duration{}}
		if err := c.setCPU(stat); err != nil {
			t.Fatal(err)
		}
		if err := c.addDisks("n1", disks); err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := counted(at, statBefore, ubdBefore)
	got := before.until(counted(at.Add(2*time.Second), statAfter, ubdAfter))
	// 80 ticks of work in 110; half a second of two.
	if want := (load{80.0 / 110, 0.25}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = before.until(counted(at.Add(100*time.Millisecond), statBefore, ubdAfter))
	if want := (load{0, 1}); got != want {
		t.Errorf("a disk that was busy for longer than the time between: %+v, want %+v", got, want)
	}
}

func TestCountersRefuse(t *testing.T) {
	for stat, want := range map[string]string{
		"":                             "it begins",
		"cpu 1 2 3":                    "want cpu and 8 numbers",
		"cpu0 1 2 3 4 5 6 7 8":         "want cpu and 8 numbers",
		"cpu 1 2 3 4 5 6 7 -8":         "invalid syntax",
		"intr 1 2 3 4 5 6 7 8 9 10 11": "want cpu",
	} {
		if err := new(counters).setCPU(stat); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", stat, err, want)
		}
	}
	for stats, want := range map[string]string{
		"98 0 ubdb 1 2":                      "want 13 or more",
		"98 0 ubdb 1 0 0 0 0 0 0 0 0 many 0": "invalid syntax",
	} {
		c := counters{disks: map[string]time.Duration{}}
		if err := c.addDisks("n1", stats); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", stats, err, want)
		}
	}
}
