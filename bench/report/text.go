package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"bricklayer.csi/bench"
)

// Text shows a result on a terminal.
func Text(w io.Writer, r bench.Result) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "JOB\tTARGET\tMEDIAN (95 %% INTERVAL)\tUNIT\tRATIO TO %s\tBOUND BY\n", strings.ToUpper(r.Plan.Baseline))
	for _, row := range r.Judge() {
		for _, c := range row.Cells {
			value, unit := interval(c.Value), row.Job.Unit
			if c.Rounds == 0 {
				value, unit = nothing(c), ""
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Job.Name, c.Target, value, unit, ratio(c.Ratio), load(c))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := textTables(&b, r); err != nil {
		return err
	}
	fmt.Fprintln(&b)
	for _, line := range append(summary(r), prefixed("failed: ", r.Faults())...) {
		fmt.Fprintln(&b, line)
	}
	if r.Stopped != "" {
		fmt.Fprintf(&b, "The run ended early: %s\n", r.Stopped)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// textTables shows what only benchmarks of provisioning have: where the time goes,
// and how it grows.
func textTables(b *bytes.Buffer, r bench.Result) error {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, row := range r.Judge() {
		steps := stepsOf(row)
		if len(steps.Lines) == 0 {
			continue
		}
		fmt.Fprintf(t, "\n%s: SECONDS (SHARE)\t%s\n", strings.ToUpper(row.Job.Name), strings.Join(steps.Targets, "\t"))
		for _, line := range steps.Lines {
			fmt.Fprintf(t, "%s\t%s\n", line.Step, strings.Join(line.Cells, "\t"))
		}
	}
	for _, g := range growthOf(r) {
		fmt.Fprintf(t, "\n%s: SECONDS BESIDE", strings.ToUpper(g.Verb))
		for _, n := range g.Existing {
			fmt.Fprintf(t, "\t%d", n)
		}
		fmt.Fprintln(t)
		for _, line := range g.Lines {
			fmt.Fprintf(t, "%s\t%s\n", line.Target, strings.Join(line.Cells, "\t"))
		}
	}
	return t.Flush()
}

func prefixed(prefix string, lines []string) []string {
	all := make([]string, 0, len(lines))
	for _, l := range lines {
		all = append(all, prefix+l)
	}
	return all
}

// Compare shows how two results compare.
func Compare(w io.Writer, c bench.Comparison) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "JOB\tTARGET\tOLDER\tNEWER\tUNIT\tNEWER / OLDER\n")
	for _, ch := range c.Changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", ch.Job.Name, ch.Target, interval(ch.Old), interval(ch.New), ch.Job.Unit, ratio(&ch.Ratio))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(&b, "\nThe two were not measured in turns: what the machine changed by in between is in the ratios.")
	for _, line := range append(prefixed("differs: ", c.Differs), prefixed("in one only: ", c.Only)...) {
		fmt.Fprintln(&b, line)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Checks shows how thresholds hold, and says how many are missed.
func Checks(w io.Writer, checks []bench.Check) (missed int, err error) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "HOLDS\tJOB\tRATIO\tBOUND\tIS\tWHY\n")
	for _, c := range checks {
		holds := "yes"
		if !c.OK {
			holds = "NO"
			missed++
		}
		var bounds []string
		if c.Rule.AtLeast > 0 {
			bounds = append(bounds, ">= "+fixed(c.Rule.AtLeast))
		}
		if c.Rule.AtMost > 0 {
			bounds = append(bounds, "<= "+fixed(c.Rule.AtMost))
		}
		is := ""
		if c.Ratio.Rounds > 0 {
			is = fmt.Sprintf("%s (%s to %s)", fixed(c.Ratio.Median), fixed(c.Ratio.Low), fixed(c.Ratio.High))
		}
		fmt.Fprintf(t, "%s\t%s\t%s / %s\t%s\t%s\t%s\n", holds, c.Job, c.Rule.Target, c.Rule.To, strings.Join(bounds, " and "), is, c.Why)
	}
	if err := t.Flush(); err != nil {
		return missed, err
	}
	_, err = w.Write(b.Bytes())
	return missed, err
}

// Markdown is the report for a page of text.
func Markdown(r bench.Result) []byte {
	var b bytes.Buffer
	b.WriteString("# Benchmark\n\n")
	for _, line := range summary(r) {
		fmt.Fprintf(&b, "- %s\n", cell(line))
	}
	b.WriteString("\n| | |\n|---|---|\n")
	for _, f := range facts(r) {
		fmt.Fprintf(&b, "| %s | %s |\n", f.Name, cell(f.Value))
	}
	for _, g := range growthOf(r) {
		fmt.Fprintf(&b, "\n## Seconds to %s a volume, by how many stand by\n\n| target |", cell(g.Verb))
		for _, n := range g.Existing {
			fmt.Fprintf(&b, " %d |", n)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(g.Existing)) + "\n")
		for _, line := range g.Lines {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(line.Target), strings.Join(line.Cells, " | "))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", method)
	for _, row := range r.Judge() {
		fmt.Fprintf(&b, "\n## %s: %s\n\n| target | %s | ratio to %s | p50, p99, p99.9 of %s, ms | bound by | rounds |\n|---|---|---|---|---|---|\n",
			cell(row.Job.Name), cell(row.Job.Title), cell(row.Job.Unit), cell(r.Plan.Baseline), cell(row.Job.Latency))
		for _, c := range row.Cells {
			value := interval(c.Value)
			if c.Rounds == 0 {
				value = nothing(c)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", cell(c.Target), cell(value), ratio(c.Ratio), cell(percentiles(c)), load(c), c.Rounds)
		}
		if len(row.Cells) > 2 {
			b.WriteString("\n")
			for _, p := range row.Pairs {
				ratioOf := p.Ratio
				fmt.Fprintf(&b, "- %s / %s: %s\n", cell(p.Ours), cell(p.Theirs), ratio(&ratioOf))
			}
		}
		markdownSteps(&b, stepsOf(row))
	}
	b.WriteString("\n## Targets\n")
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "\n### %s (%s)\n\n", cell(t.Name), cell(t.Kind))
		for _, f := range sortedFacts(t) {
			fmt.Fprintf(&b, "- %s: `%s`\n", cell(f.Name), strings.ReplaceAll(f.Value, "`", "'"))
		}
	}
	if faults := r.Faults(); len(faults) > 0 {
		b.WriteString("\n## What failed\n\n")
		for _, f := range faults {
			fmt.Fprintf(&b, "- %s\n", cell(f))
		}
	}
	return b.Bytes()
}

func markdownSteps(b *bytes.Buffer, steps stepTable) {
	if len(steps.Lines) == 0 {
		return
	}
	b.WriteString("\nWhere a volume's time goes: medians in seconds, and shares of their sum.\n\n| step |")
	for _, target := range steps.Targets {
		fmt.Fprintf(b, " %s |", cell(target))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(steps.Targets)) + "\n")
	for _, line := range steps.Lines {
		fmt.Fprintf(b, "| %s | %s |\n", line.Step, strings.Join(line.Cells, " | "))
	}
}

func percentiles(c bench.Cell) string {
	if len(c.Histogram) == 0 {
		return ""
	}
	return milliseconds(c.Histogram, 0.5) + ", " + milliseconds(c.Histogram, 0.99) + ", " + milliseconds(c.Histogram, 0.999)
}

// cell keeps a text within its cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}

func sortedFacts(t bench.TargetInfo) []fact {
	var all []fact
	for name, value := range t.Facts {
		all = append(all, fact{name, value})
	}
	slices.SortFunc(all, func(a, b fact) int { return strings.Compare(a.Name, b.Name) })
	return all
}
