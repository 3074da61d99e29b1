package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
)

// sample is a result with a job that differs, one that is noisy, and one that failed.
func sample() bench.Result {
	r := bench.Result{
		Schema: bench.Schema, Begun: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Ended: time.Date(2026, 11, 1, 12, 9, 0, 0, time.UTC),
		Machine: bench.Machine{Kernel: "6.1", CPUs: 2, MemoryBytes: 1 << 30, FIO: "fio-3.33", Bricklayer: "v1"},
		Plan:    bench.PlanInfo{Rounds: 6, WarmUp: 1, Seconds: 2, Caches: "warm", Baseline: "hand"},
		Jobs: []bench.JobInfo{
			{Name: "differs", Title: "a job that differs", Unit: "IOPS", Latency: "one request", File: "[differs]\n"},
			{Name: "noisy", Title: "a job that is noisy", Unit: "MiB/s", Latency: "one request", File: "[noisy]\n"},
			{Name: "failed", Title: "a job that failed", Unit: "IOPS", Latency: "one request", File: "[failed]\n"},
		},
	}
	figures := map[string][2][]float64{
		"plain": {{1000, 1010, 990, 1005, 995, 1000}, {10, 90, 30, 70, 20, 55}},
		"lvm":   {{400, 410, 390, 405, 395, 400}, {90, 10, 70, 30, 60, 15}},
		"hand":  {{1001, 1000, 1000, 999, 1002, 1000}, {50, 50, 50, 50, 50, 50}},
	}
	for _, name := range []string{"plain", "lvm", "hand"} {
		r.Targets = append(r.Targets, bench.TargetInfo{Name: name, Kind: "class", Facts: map[string]string{"bricks": "n1:/bricks/root1"}})
		for k, job := range []string{"differs", "noisy"} {
			for i, v := range figures[name][k] {
				out := fio.Output{Read: fio.Direction{Requests: 10, IOPS: v, Latency: fio.Latency{Histogram: []fio.Bin{
					{NS: uint64(1e9 / v), Count: 5}, {NS: uint64(2e9 / v), Count: 4}, {NS: uint64(9e9 / v), Count: 1},
				}}}}
				r.Runs = append(r.Runs, bench.Run{Job: job, Target: name, Round: i + 1, Figure: v, FIO: out, Load: bench.Load{CPU: 0.9, Disk: 0.1}})
			}
		}
		r.Runs = append(r.Runs, bench.Run{Job: "failed", Target: name, Round: 1, Fault: "no space"})
	}
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`differs +lvm +400 .* 0\.40 \(.*\) slower`, `differs +plain +1000 .* same`, `noisy +plain .* too noisy to judge`,
		`failed +lvm +failed`, `Slower than hand: differs on lvm\.`, `bound by CPU`, `failed: hand, failed, round 1: no space`,
	} {
		if !regexp.MustCompile(want).MatchString(b.String()) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

// TestNoNumberWhereTooNoisy: a reader must not find one to quote.
func TestNoNumberWhereTooNoisy(t *testing.T) {
	for _, row := range sample().Judge() {
		for _, c := range row.Cells {
			if c.Ratio != nil && !c.Ratio.Judged() && strings.ContainsAny(ratio(c.Ratio), "0123456789") {
				t.Errorf("%s on %s: %s", row.Job.Name, c.Target, ratio(c.Ratio))
			}
		}
	}
	page, err := HTML(sample())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "too noisy to judge"); n < 3 {
		t.Errorf("said %d times, want it in the table and in the chart", n)
	}
}

func TestHTML(t *testing.T) {
	r := sample()
	r.Stopped = "interrupted"
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{`class="c1"`, `class="line s2"`, "prefers-color-scheme: dark", "@media print", "no space", "The run ended early: interrupted", "a job that differs"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if m := regexp.MustCompile(`(?i)(https?:)?//[a-z]|<script|url\(|@import|<link|src=`).FindString(text); m != "" {
		t.Errorf("the page loads something: %q", m)
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, "ZgotmplZ") {
		t.Error("the page has a number that is none, or something that the template refused")
	}
	for i, drawing := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1) {
		d := xml.NewDecoder(strings.NewReader(drawing))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("drawing %d: %v", i, err)
				break
			}
		}
	}
}

// TestHostileResult: a result may come from somebody else.
func TestHostileResult(t *testing.T) {
	r := sample()
	evil := `<script>alert(1)</script>"><img src=x onerror=y>`
	r.Jobs[0].Title, r.Jobs[0].Unit, r.Jobs[0].Latency, r.Jobs[0].File = evil, evil, evil, evil
	r.Targets[0].Name, r.Targets[0].Kind, r.Targets[0].Facts = evil, evil, map[string]string{evil: evil}
	r.Plan.Note, r.Machine.Kernel, r.Stopped = evil, evil, evil
	for i := range r.Runs {
		if r.Runs[i].Target == "plain" {
			r.Runs[i].Target = evil
		}
	}
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(page), "<script") || strings.Contains(string(page), "<img") {
		t.Error("a text of the result is an element of the page")
	}
	if md := string(Markdown(r)); strings.Contains(md, "| <script") {
		t.Error("a text of the result is an element of the page of text")
	}
}

func TestEmptyResult(t *testing.T) {
	r := bench.Result{Schema: bench.Schema, Plan: bench.PlanInfo{Rounds: 1}}
	if _, err := HTML(r); err != nil {
		t.Error(err)
	}
	if err := Text(io.Discard, r); err != nil {
		t.Error(err)
	}
	if len(Markdown(r)) == 0 {
		t.Error("nothing")
	}
}

func TestMarkdown(t *testing.T) {
	text := string(Markdown(sample()))
	for _, want := range []string{"## differs: a job that differs", "| lvm | 400", "slower", "- plain / lvm: 2.5", "## What failed", "`n1:/bricks/root1`"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestCompareAndChecks(t *testing.T) {
	older, newer := sample(), sample()
	var b bytes.Buffer
	if err := Compare(&b, bench.Compare(older, newer)); err != nil || !strings.Contains(b.String(), "same") {
		t.Errorf("%v\n%s", err, b.String())
	}
	rules, err := bench.ParseThresholds([]byte(`rules: [{job: differs, target: lvm, to: plain, atLeast: 0.9}, {job: differs, target: plain, to: hand, atMost: 1.1}]`))
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	missed, err := Checks(&b, newer.Verify(rules))
	if err != nil || missed != 1 || !strings.Contains(b.String(), "NO") {
		t.Errorf("%d missed (%v), want 1\n%s", missed, err, b.String())
	}
}

func TestProgress(t *testing.T) {
	if got := Progress(bench.Progress{Text: "opening a"}); got != "opening a" {
		t.Error(got)
	}
	if got := Progress(bench.Progress{Text: "x", Done: 3, Total: 9, Left: 150 * time.Second}); got != "[3/9, 3 min left] x" {
		t.Error(got)
	}
}
