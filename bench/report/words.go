package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/stats"
)

// Duration shows a time to the second, or in minutes where it is long.
func Duration(d time.Duration) string {
	if d < 2*time.Minute {
		return strconv.Itoa(int(d.Round(time.Second).Seconds())) + " s"
	}
	return strconv.Itoa(int(d.Round(time.Minute).Minutes())) + " min"
}

// Progress shows how far a run has come, on one line.
func Progress(p bench.Progress) string {
	if p.Total == 0 {
		return p.Text
	}
	return fmt.Sprintf("[%d/%d, %s left] %s", p.Done, p.Total, Duration(p.Left), p.Text)
}

func interval(i stats.Interval) string {
	return fmt.Sprintf("%s (%s to %s)", bench.Short(i.Median), bench.Short(i.Low), bench.Short(i.High))
}

func fixed(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }

// ratio shows a ratio, or why there is none.
func ratio(r *stats.Ratio) string {
	switch {
	case r == nil:
		return ""
	case !r.Judged():
		return string(r.Verdict)
	}
	return fmt.Sprintf("%s (%s to %s) %s", fixed(r.Median), fixed(r.Low), fixed(r.High), verdict(*r))
}

// verdict is the word behind a ratio.
func verdict(r stats.Ratio) string {
	switch r.Verdict {
	case stats.Higher:
		return "faster"
	case stats.Lower:
		return "slower"
	case stats.Same:
		return "same"
	case stats.Unclear, stats.Noisy, stats.Few:
	}
	return string(r.Verdict)
}

// nothing says why there is no figure.
func nothing(c bench.Cell) string {
	if c.Fault == "" {
		return "not measured"
	}
	return "failed"
}

func load(c bench.Cell) string {
	if c.Rounds == 0 {
		return ""
	}
	if c.Load.Unknown != "" && c.Load.CPU == 0 {
		return "load unknown"
	}
	return fmt.Sprintf("%s (CPU %s, disk %s)", c.Bound, percent(c.Load.CPU), percent(c.Load.Disk))
}

// milliseconds shows a percentile of a histogram.
func milliseconds(h []fio.Bin, share float64) string {
	if len(h) == 0 {
		return ""
	}
	return bench.Short(fio.Percentile(h, share) / 1e6)
}

// summary says in words what came out, job by job.
func summary(r bench.Result) []string {
	by := map[stats.Verdict][]string{}
	for _, row := range r.Judge() {
		for _, c := range row.Cells {
			if c.Ratio != nil {
				by[c.Ratio.Verdict] = append(by[c.Ratio.Verdict], row.Job.Name+" on "+c.Target)
			}
		}
	}
	var lines []string
	for _, v := range []struct {
		verdict stats.Verdict
		text    string
	}{
		{stats.Higher, "Faster than " + r.Plan.Baseline},
		{stats.Lower, "Slower than " + r.Plan.Baseline},
		{stats.Same, "Within 10 % of " + r.Plan.Baseline},
		{stats.Unclear, "No difference from " + r.Plan.Baseline + " was shown, and none excluded"},
		{stats.Noisy, "Too noisy to judge"},
		{stats.Few, fmt.Sprintf("Too few rounds to judge (%d are wanted)", stats.MinRounds)},
	} {
		if names := by[v.verdict]; len(names) > 0 {
			lines = append(lines, v.text+": "+strings.Join(names, ", ")+".")
		}
	}
	return append(lines, boundBy(r))
}

// boundBy says in words what held the runs back.
func boundBy(r bench.Result) string {
	by := map[bench.Bound]int{}
	cells := 0
	for _, row := range r.Judge() {
		for _, c := range row.Cells {
			if c.Rounds > 0 {
				by[c.Bound]++
				cells++
			}
		}
	}
	switch cells {
	case 0:
		return "Nothing was measured."
	case by[bench.BoundCPU]:
		return "All of it was bound by CPU: what the disks could do does not show."
	case by[bench.BoundDisk]:
		return "All of it was bound by the disks."
	}
	return fmt.Sprintf("Of %d cases (a job on a target) %d were bound by CPU, %d by a disk, and %d waited for answers with neither busy.",
		cells, by[bench.BoundCPU], by[bench.BoundDisk], by[bench.BoundWaiting])
}

// fact is a line about the run.
type fact struct{ Name, Value string }

func facts(r bench.Result) []fact {
	m := r.Machine
	all := []fact{
		{"when", r.Begun.Format(time.RFC3339) + " to " + r.Ended.Format(time.RFC3339)},
		{"machine", fmt.Sprintf("%d CPUs, %d MiB, kernel %s", m.CPUs, m.MemoryBytes>>20, m.Kernel)},
		{"programs", strings.Join(slices.DeleteFunc([]string{m.FIO, m.Gluster, "bricklayer " + m.Bricklayer}, func(s string) bool { return s == "" }), ", ")},
		{"rounds", fmt.Sprintf("%d, after %d of warm-up; %v s each; targets in turn, A B C, then C B A", r.Plan.Rounds, r.Plan.WarmUp, r.Plan.Seconds)},
		{"caches", r.Plan.Caches},
		{"compared with", r.Plan.Baseline},
	}
	if r.Plan.Note != "" {
		all = append(all, fact{"note", r.Plan.Note})
	}
	if r.Stopped != "" {
		all = append(all, fact{"ended early", r.Stopped})
	}
	return all
}

// method is how to read the figures.
const method = "Figures are medians of the rounds with their 95 % bootstrap interval. Ratios are taken within each round, " +
	"where what the machine drifts by is the same for both, and a difference is called one only if its 99 % interval " +
	"lies beyond 3 %. Read ratios, not figures, where the machine is not the one that counts."
