package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
)

// grown is a result of provisioning beside 10 and 100 volumes; "hand" tells no steps.
func grown() bench.Result {
	r := bench.Result{Schema: bench.Schema, Plan: bench.PlanInfo{Rounds: 5, Baseline: "hand"}, Targets: []bench.TargetInfo{{Name: "pl|ain"}, {Name: "hand"}}}
	for _, existing := range []int{10, 100} {
		job := fmt.Sprintf("create-beside-%d", existing)
		r.Jobs = append(r.Jobs, bench.JobInfo{Name: job, Title: "create a volume", Unit: "volumes/s", Latency: "one volume", Verb: "create"})
		for round := range 5 {
			seconds := 2 + float64(existing)/100 + float64(round)/100
			write := fio.Direction{Requests: 1, IOPS: 1 / seconds, Latency: fio.Latency{Mean: seconds * 1e9, Histogram: []fio.Bin{{NS: uint64(seconds * 1e9), Count: 1}}}}
			run := bench.Run{Job: job, Target: "hand", Round: round + 1, Figure: 1 / seconds, Existing: existing, FIO: fio.Output{Write: write}}
			r.Runs = append(r.Runs, run)
			run.Target, run.Steps = "pl|ain", map[bench.Step]float64{bench.StepLook: seconds / 4, bench.StepCreate: seconds / 2, bench.StepRest: seconds / 4}
			r.Runs = append(r.Runs, run)
		}
	}
	return r
}

// TestProvisioning: every form of the report has where the time went, and how it grew.
func TestProvisioning(t *testing.T) {
	var text bytes.Buffer
	if err := Text(&text, grown()); err != nil {
		t.Fatal(err)
	}
	page, err := HTML(grown())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"text": {text.String(), []string{
			`CREATE-BESIDE-10: SECONDS \(SHARE\) +pl\|ain\n`, `look +0\.53 \(25 %\)\n`, `gluster create +1\.06 \(50 %\)\n`, `together +2\.12\n`,
			`CREATE: SECONDS BESIDE +10 +100\n`, `hand +2\.12 \(2\.\d+ to 2\.\d+\) +3\.02 `,
		}},
		"Markdown": {string(Markdown(grown())), []string{
			`\| step \| pl\\\|ain \|\n\|---\|---\|\n\| look \| 0\.53 \(25 %\) \|`, `## Seconds to create a volume, by how many stand by\n\n\| target \| 10 \| 100 \|\n\|---\|---\|---\|\n\| pl\\\|ain \| 2\.12`,
		}},
		"HTML": {string(page), []string{
			`<tr><td>look</td><td>0\.53 \(25 %\)</td></tr>`, `<th>beside 10</th><th>beside 100</th>`, `<rect class="c0 part"`, `<rect class="rest part"`,
			`aria-label="seconds to create a volume, by how many stand by"`, `<path class="line s1" stroke-dasharray="7 3" d="M[\d.]+ [\d.]+L`,
		}},
	} {
		for _, want := range tc.want {
			if !regexp.MustCompile(want).MatchString(tc.text) {
				t.Errorf("%s: no %s in:\n%s", name, want, tc.text)
			}
		}
		if regexp.MustCompile(`(?m)^turn |\| turn|>turn<|gluster stop`).MatchString(tc.text) {
			t.Errorf("%s: a step that took no time is shown", name)
		}
	}
}

// A step's colour is told from those beside it: of one colour no verb has two.
func TestStepColours(t *testing.T) {
	for verb, steps := range map[string][]bench.Step{
		"create": {bench.StepTurn, bench.StepLook, bench.StepBricks, bench.StepCreate, bench.StepSet, bench.StepStart, bench.StepStatus, bench.StepRest},
		"expand": {bench.StepTurn, bench.StepLook, bench.StepBricks, bench.StepSet, bench.StepRest},
		"delete": {bench.StepTurn, bench.StepLook, bench.StepStop, bench.StepDelete, bench.StepBricks, bench.StepRest},
	} {
		seen := map[string]bench.Step{}
		for _, step := range steps {
			if other, taken := seen[stepClass(step)]; taken {
				t.Errorf("%s: %s and %s look alike", verb, step, other)
			}
			seen[stepClass(step)] = step
		}
	}
}

// TestNoSteps: a result without any says nothing of them.
func TestNoSteps(t *testing.T) {
	page, err := HTML(sample())
	if err != nil {
		t.Fatal(err)
	}
	if all := string(page) + string(Markdown(sample())); strings.Contains(all, "time goes") || strings.Contains(all, "stand by") {
		t.Error("the report has an empty table")
	}
}
