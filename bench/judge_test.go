package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/bench/host"
	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/volume"
)

// resultOf makes a result of figures by target, one a round.
func resultOf(figures map[string][]float64) Result {
	r := Result{Schema: Schema, Plan: PlanInfo{Rounds: 6, Baseline: "hand"}, Jobs: []JobInfo{{Name: "j", Title: "a job", Unit: "IOPS"}}}
	for _, name := range []string{"plain", "lvm", "hand"} {
		if _, ok := figures[name]; !ok {
			continue
		}
		r.Targets = append(r.Targets, TargetInfo{Name: name, Kind: "class"})
		for i, v := range figures[name] {
			r.Runs = append(r.Runs, Run{Job: "j", Target: name, Round: i + 1, Figure: v})
		}
	}
	return r
}

func sampleResult() Result {
	return resultOf(map[string][]float64{
		"plain": {100, 102, 98, 101, 99, 100},
		"lvm":   {50, 49, 52, 51, 50, 48},
		"hand":  {101, 100, 99, 100, 101, 99},
	})
}

func TestJudge(t *testing.T) {
	r := sampleResult()
	r.Runs = append(r.Runs, Run{Job: "j", Target: "lvm", Round: 0, Figure: 1e9}, Run{Job: "j", Target: "lvm", Round: 3, Fault: "it broke"})
	row := r.Judge()[0]
	if len(row.Cells) != 3 || len(row.Pairs) != 3 {
		t.Fatalf("%d cells and %d pairs, want 3 and 3", len(row.Cells), len(row.Pairs))
	}
	plain, lvm, hand := row.Cells[0], row.Cells[1], row.Cells[2]
	if plain.Ratio == nil || plain.Ratio.Verdict != stats.Same || lvm.Ratio == nil || lvm.Ratio.Verdict != stats.Lower || hand.Ratio != nil {
		t.Errorf("plain %+v, lvm %+v, hand %+v", plain.Ratio, lvm.Ratio, hand.Ratio)
	}
	if lvm.Value.Median != 50 || lvm.Fault != "it broke" {
		t.Errorf("lvm %+v: want a warm-up and a failed run left out, and said", lvm)
	}
}

func TestVerify(t *testing.T) {
	r := sampleResult()
	noisy := resultOf(map[string][]float64{"plain": {100, 50, 150, 99, 70, 130}, "hand": {101, 100, 99, 100, 101, 99}})
	few := resultOf(map[string][]float64{"plain": {1}, "hand": {100}})
	for name, tc := range map[string]struct {
		result Result
		rules  string
		ok     bool
		why    string
	}{
		"held":                {r, `{job: "*", target: plain, to: hand, atLeast: 0.9}`, true, "within"},
		"missed":              {r, `{job: j, target: lvm, to: hand, atLeast: 0.98}`, false, "beyond"},
		"too much":            {r, `{job: j, target: plain, to: lvm, atMost: 1.05}`, false, "beyond"},
		"noise fails nobody":  {noisy, `{job: j, target: plain, to: hand, atLeast: 0.98}`, true, "crosses"},
		"noise passes naught": {noisy, `{job: j, target: plain, to: hand, atLeast: 0.98, proof: for}`, false, "crosses"},
		"one round":           {few, `{job: j, target: plain, to: hand, atLeast: 0.98}`, true, "too few"},
		"one round, for":      {few, `{job: j, target: plain, to: hand, atLeast: 0.98, proof: for}`, false, "too few"},
		"no such job":         {r, `{job: "k*", target: plain, to: hand, atLeast: 0.98}`, false, "no such job"},
		"no such target":      {r, `{job: "*", target: shiny, to: hand, atLeast: 0.98}`, false, "no target shiny"},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := ParseThresholds([]byte("rules: [" + tc.rules + "]"))
			if err != nil {
				t.Fatal(err)
			}
			checks := tc.result.Verify(rules)
			if len(checks) != 1 || checks[0].OK != tc.ok || !strings.Contains(checks[0].Why, tc.why) {
				t.Errorf("%+v, want %v because %q", checks, tc.ok, tc.why)
			}
		})
	}
}

func TestParseThresholdsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"": "there is none", "rules: []": "there is none", "rulez: []": "rulez",
		`rules: [{job: "[", target: a, to: b, atLeast: 1}]`:            "rules[0].job",
		`rules: [{job: j, to: b, atLeast: 1}]`:                         "rules[0].target",
		`rules: [{job: j, target: a, to: a, atLeast: 1}]`:              "rules[0].to",
		`rules: [{job: j, target: a, to: b}]`:                          "atLeast",
		`rules: [{job: j, target: a, to: b, atLeast: 2, atMost: 1}]`:   "atMost",
		`rules: [{job: j, target: a, to: b, atLeast: 1, proof: good}]`: "proof",
		`rules: [{job: j, target: a, to: b, atLeast: -1, atMost: 1}]`:  "atLeast",
	} {
		if _, err := ParseThresholds([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
	if _, err := ReadThresholds(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no file: no error")
	}
}

func TestCompare(t *testing.T) {
	older, newer := sampleResult(), sampleResult()
	for i := range newer.Runs {
		if newer.Runs[i].Target == "plain" {
			newer.Runs[i].Figure /= 2
		}
	}
	newer.Machine.Kernel = "other"
	newer.Jobs = append(newer.Jobs, JobInfo{Name: "k"})
	c := Compare(older, newer)
	if len(c.Changes) != 3 || len(c.Only) != 1 || len(c.Differs) != 1 {
		t.Fatalf("%+v", c)
	}
	for _, ch := range c.Changes {
		want := stats.Same
		if ch.Target == "plain" {
			want = stats.Lower
		}
		if ch.Ratio.Verdict != want {
			t.Errorf("%s: %+v, want %s", ch.Target, ch.Ratio, want)
		}
	}
}

func TestParseResultRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "no JSON",
		"{}":                                     "schema",
		`{"schema":"v2"}`:                        Schema,
		`{"schema":"` + Schema + `","colour":1}`: "colour",
		`{"schema":"` + Schema + `","jobs":[{"name":"a"},{"name":"a"}]}`:                      "jobs[1].name",
		`{"schema":"` + Schema + `","targets":[{"name":""}]}`:                                 "targets[0].name",
		`{"schema":"` + Schema + `","plan":{"baseline":"x"}}`:                                 "plan.baseline",
		`{"schema":"` + Schema + `","runs":[{"job":"x"}]}`:                                    "runs[0].job",
		`{"schema":"` + Schema + `","jobs":[{"name":"a"}],"runs":[{"job":"a","target":"t"}]}`: "runs[0].target",
	} {
		if _, err := ParseResult([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no file: no error")
	}
}

func FuzzParseResult(f *testing.F) {
	file := filepath.Join(f.TempDir(), "r")
	if err := sampleResult().Write(file); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseResult(data)
		if err != nil || r.Plan.Rounds > 100 || len(r.Runs) > 100 || len(r.Targets) > 5 || len(r.Jobs) > 5 {
			return
		}
		for _, row := range r.Judge() {
			if len(row.Cells) != len(r.Targets) {
				t.Error("a target is missing")
			}
		}
	})
}

func TestCounters(t *testing.T) {
	text := func(busy, idle, ms string) string {
		return "cpu " + busy + " 0 0 " + idle + " 0 0 0 0 0 0\n   8       0 sda 1 0 1 1 1 0 1 1 0 " + ms + " 1\n   8       1 sda1 1 0 1 1 1 0 1 1 0 99999 1\n"
	}
	var before, after counters
	if err := before.read(text("100", "100", "1000")); err != nil {
		t.Fatal(err)
	}
	if err := after.read(text("190", "110", "1500")); err != nil {
		t.Fatal(err)
	}
	before.at = time.Now()
	after.at = before.at.Add(time.Second)
	l := loadOf([]host.Host{{}}, []counters{before}, []counters{after})
	if l.CPU != 0.9 || l.Disk != 0.5 || l.DiskOf != "sda of this host" || l.Bound() != BoundCPU {
		t.Errorf("%+v, %s", l, l.Bound())
	}
	if b := (Load{CPU: 0.2, Disk: 0.9}).Bound(); b != BoundDisk {
		t.Errorf("%s, want disk", b)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu a b c d e f g h\n", "mem 1 2 3 4 5 6 7 8\n", "cpu 1 2 3 4 5 6 7 8\n 8 0 sda 1 0 1 1 1 0 1 1 0 x 1\n"} {
		if err := new(counters).read(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestShape(t *testing.T) {
	for text, want := range map[string]string{
		"replicate:3": "replica 3", "replicate:3:arbiter:1": "replica 2 arbiter 1", "disperse:4:2": "disperse-data 4 redundancy 2", "none": "",
	} {
		typ, err := volume.ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(shape(typ), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
