package report

import (
	"html/template"
	"math"

	"bricklayer.csi/bench"
)

// forest shows all ratios to the baseline with their intervals, on a scale where
// twice as fast is as far from 1 as half as fast.
func forest(r bench.Result) template.HTML {
	const left, right, line = 210.0, 190.0, 22.0
	type entry struct {
		name string
		cell bench.Cell
		at   int
	}
	var all []entry
	low, high := 0.5, 2.0
	for _, row := range r.Judge() {
		for i, c := range row.Cells {
			if c.Ratio == nil {
				continue
			}
			all = append(all, entry{row.Job.Name, c, i})
			if c.Ratio.Judged() {
				low, high = min(low, c.Ratio.Low), max(high, c.Ratio.High)
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	bottom := line*float64(len(all)) + 6
	s := newSVG(chartWidth+160, bottom+22, "ratios to "+r.Plan.Baseline+" with intervals")
	// At most a factor of a hundred to each side: more is cut off, and said.
	low, high = max(low, 0.01), min(high, 100)
	x := func(v float64) float64 {
		v = min(max(v, low), high)
		return left + math.Log(v/low)/math.Log(high/low)*(s.width-left-right)
	}
	for _, tick := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100} {
		if tick < low*0.999 || tick > high*1.001 {
			continue
		}
		class := "grid"
		if tick == 1 {
			class = "axis"
		}
		s.line(class, x(tick), 0, x(tick), bottom)
		s.text("note", "middle", x(tick), bottom+16, trim(tick))
	}
	for i, e := range all {
		y := line*float64(i) + line/2 + 2
		s.text("name", "end", left-10, y+4, e.name+" on "+e.cell.Target)
		s.text("value", "start", s.width-right+10, y+4, ratio(e.cell.Ratio))
		if !e.cell.Ratio.Judged() {
			continue
		}
		s.line("whisker", x(e.cell.Ratio.Low), y, x(e.cell.Ratio.High), y)
		s.mark(`<circle class="c%d ring" cx="%.1f" cy="%.1f" r="5"/>`, e.at%len(dashes), x(e.cell.Ratio.Median), y)
	}
	return s.html()
}
