package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"bricklayer.csi/bench"
)

//go:embed page.html.tmpl
var pageText string

// page is what the template shows.
type page struct {
	Result   bench.Result
	Summary  []string
	Facts    []fact
	Method   string
	Forest   template.HTML
	Growth   []growthSection
	Sections []section
	Targets  []targetSection
	Faults   []string
	// Colours are the numbers of the colours that there are.
	Colours []int
}

type section struct {
	Job       bench.JobInfo
	Bars, CDF template.HTML
	StepBars  template.HTML
	Steps     stepTable
	Rows      []tableRow
	Pairs     []fact
}

type tableRow struct {
	Target, Value, Ratio, Load, P50, P99, P999, Fault string
	Rounds                                            int
}

type targetSection struct {
	Name, Kind string
	Facts      []fact
}

// HTML is the report as one page that loads nothing: it opens from disk, in light
// and dark, and prints.
func HTML(r bench.Result) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"short": bench.Short}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	p := page{Result: r, Summary: summary(r), Facts: facts(r), Method: method, Forest: forest(r), Growth: growthOf(r), Faults: r.Faults()}
	for i := range dashes {
		p.Colours = append(p.Colours, i)
	}
	for _, row := range r.Judge() {
		s := section{Job: row.Job, Bars: bars(row), CDF: cdf(row), StepBars: stepBars(row), Steps: stepsOf(row)}
		for _, c := range row.Cells {
			value := interval(c.Value)
			if c.Rounds == 0 {
				value = nothing(c)
			}
			s.Rows = append(s.Rows, tableRow{
				c.Target, value, ratio(c.Ratio), load(c), milliseconds(c.Histogram, 0.5), milliseconds(c.Histogram, 0.99),
				milliseconds(c.Histogram, 0.999), c.Fault, c.Rounds,
			})
		}
		for _, pair := range row.Pairs {
			ratioOf := pair.Ratio
			s.Pairs = append(s.Pairs, fact{pair.Ours + " / " + pair.Theirs, ratio(&ratioOf)})
		}
		p.Sections = append(p.Sections, s)
	}
	for _, target := range r.Targets {
		p.Targets = append(p.Targets, targetSection{target.Name, target.Kind, sortedFacts(target)})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return b.Bytes(), nil
}
