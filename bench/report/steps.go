package report

import (
	"fmt"
	"html/template"

	"bricklayer.csi/bench"
)

// stepTable is where a volume's time goes, on the targets that tell.
type stepTable struct {
	Targets []string
	Lines   []stepLine
}

// stepLine is one step, with a cell a target.
type stepLine struct {
	Step  string
	Cells []string
}

// stepsOf returns the table of a row; without lines where no target tells. Shares
// are of the sum of the medians. A step that took no time anywhere is left out.
func stepsOf(row bench.Row) stepTable {
	var t stepTable
	told := toldBy(row)
	for _, c := range told {
		t.Targets = append(t.Targets, c.Target)
	}
	if len(told) == 0 {
		return t
	}
	together := stepLine{Step: "together"}
	for _, c := range told {
		together.Cells = append(together.Cells, bench.Short(sum(c.Steps)))
	}
	for _, step := range bench.Steps() {
		line, spent := stepLine{Step: string(step)}, false
		for _, c := range told {
			spent = spent || c.Steps[step] > 0
			line.Cells = append(line.Cells, fmt.Sprintf("%s (%s)", bench.Short(c.Steps[step]), percent(c.Steps[step]/sum(c.Steps))))
		}
		if spent {
			t.Lines = append(t.Lines, line)
		}
	}
	t.Lines = append(t.Lines, together)
	return t
}

// toldBy returns the cells whose targets tell of steps.
func toldBy(row bench.Row) []bench.Cell {
	var told []bench.Cell
	for _, c := range row.Cells {
		if sum(c.Steps) > 0 {
			told = append(told, c)
		}
	}
	return told
}

func sum(steps map[bench.Step]float64) float64 {
	all := 0.0
	for _, step := range bench.Steps() { // in one order: the same result gives the same page
		all += steps[step]
	}
	return all
}

// stepClass is the colour of a step. Of two of one colour no verb has both.
func stepClass(step bench.Step) string {
	switch step {
	case bench.StepTurn:
		return "c7"
	case bench.StepLook:
		return "c4"
	case bench.StepBricks:
		return "c2"
	case bench.StepCreate, bench.StepStop:
		return "c0"
	case bench.StepSet:
		return "c1"
	case bench.StepStart:
		return "c3"
	case bench.StepStatus:
		return "c6"
	case bench.StepDelete:
		return "c5"
	case bench.StepRest:
	}
	return "rest"
}

// stepBars shows the table as a bar a target. The legend has the order of the bar.
func stepBars(row bench.Row) template.HTML {
	told := toldBy(row)
	most := 0.0
	seen := map[bench.Step]bool{}
	for _, c := range told {
		most = max(most, sum(c.Steps))
		for step, seconds := range c.Steps {
			seen[step] = seen[step] || seconds > 0
		}
	}
	if most == 0 {
		return ""
	}
	const perLine, entry = 4, (chartWidth - gutter) / 4
	bottom := rowHeight * float64(len(told))
	s := newSVG(chartWidth, bottom+20*float64((len(seen)+perLine-1)/perLine)+8, row.Job.Title+": seconds a volume by step")
	scale := (chartWidth - gutter - margin) / most
	for i, c := range told {
		top, x := rowHeight*float64(i), gutter
		s.text("name", "end", gutter-8, top+rowHeight/2+4, c.Target)
		for _, step := range bench.Steps() {
			width := c.Steps[step] * scale
			if width == 0 {
				continue
			}
			s.mark(`<rect class="%s part" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, stepClass(step), x, top+7, width, rowHeight-14)
			x += width
		}
		s.text("value", "start", x+8, top+rowHeight/2+4, bench.Short(sum(c.Steps))+" s")
	}
	s.line("axis", gutter, 0, gutter, bottom)
	at := 0
	for _, step := range bench.Steps() {
		if !seen[step] {
			continue
		}
		x, y := gutter+entry*float64(at%perLine), bottom+10+20*float64(at/perLine)
		s.mark(`<rect class="%s part" x="%.1f" y="%.1f" width="12" height="12"/>`, stepClass(step), x, y)
		s.text("note", "start", x+17, y+10, string(step))
		at++
	}
	return s.html()
}
