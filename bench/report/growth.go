package report

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"bricklayer.csi/bench"
)

// growthSection is how long a verb takes beside more and more volumes.
type growthSection struct {
	Verb  string
	Chart template.HTML
	// Existing are the table's columns, and a line has a cell for each.
	Existing []int
	Lines    []growthLine
}

type growthLine struct {
	Target string
	Cells  []string
}

func growthOf(r bench.Result) []growthSection {
	var all []growthSection
	for _, g := range r.Growth() {
		section := growthSection{Verb: g.Verb, Chart: growthChart(g)}
		for _, line := range g.Lines {
			for _, p := range line.Points {
				section.Existing = append(section.Existing, p.Existing)
			}
		}
		slices.Sort(section.Existing)
		section.Existing = slices.Compact(section.Existing)
		for _, line := range g.Lines {
			shown := growthLine{Target: line.Target, Cells: make([]string, len(section.Existing))}
			for _, p := range line.Points {
				at, _ := slices.BinarySearch(section.Existing, p.Existing)
				shown.Cells[at] = interval(p.Seconds)
			}
			section.Lines = append(section.Lines, shown)
		}
		all = append(all, section)
	}
	return all
}

// growthChart is a line a target: seconds a volume against the volumes that stand by.
func growthChart(g bench.Growth) template.HTML {
	const height, top, left, right = 220.0, 10.0, 60.0, 30.0
	var mostSeconds, mostExisting float64
	var ticks []int
	for _, line := range g.Lines {
		for _, p := range line.Points {
			mostSeconds = max(mostSeconds, p.Seconds.High)
			mostExisting = max(mostExisting, float64(p.Existing))
			ticks = append(ticks, p.Existing)
		}
	}
	if mostSeconds == 0 || mostExisting == 0 {
		return ""
	}
	s := newSVG(chartWidth, height+40+20*float64(len(g.Lines)), "seconds to "+g.Verb+" a volume, by how many stand by")
	x := func(existing int) float64 { return left + float64(existing)/mostExisting*(chartWidth-left-right) }
	y := func(seconds float64) float64 { return height - seconds/mostSeconds*(height-top) }
	for quarter := range 5 {
		seconds := mostSeconds * float64(quarter) / 4
		s.line("grid", left, y(seconds), chartWidth-right, y(seconds))
		s.text("note", "end", left-6, y(seconds)+4, bench.Short(seconds)+" s")
	}
	slices.Sort(ticks)
	written := -chartWidth
	for _, tick := range slices.Compact(ticks) {
		s.line("grid", x(tick), top, x(tick), height)
		if x(tick)-written > 30 { // where two lie too close the first has its number
			s.text("note", "middle", x(tick), height+16, strconv.Itoa(tick))
			written = x(tick)
		}
	}
	s.text("note", "middle", (left+chartWidth-right)/2, height+32, "volumes that stand by")
	for i, line := range g.Lines {
		colour := i % len(dashes)
		var path strings.Builder
		for k, p := range line.Points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(k, 1)], x(p.Existing), y(p.Seconds.Median))
			s.line("whisker", x(p.Existing), y(p.Seconds.Low), x(p.Existing), y(p.Seconds.High))
		}
		s.mark(`<path class="line s%d" stroke-dasharray="%s" d="%s"/>`, colour, dashes[colour], path.String())
		for _, p := range line.Points {
			s.mark(`<circle class="c%d ring" cx="%.1f" cy="%.1f" r="4"/>`, colour, x(p.Existing), y(p.Seconds.Median))
		}
		at := height + 48 + 20*float64(i)
		s.mark(`<line class="line s%d" stroke-dasharray="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, colour, dashes[colour], left, at-4, left+40, at-4)
		s.text("name", "start", left+48, at, line.Target)
	}
	return s.html()
}
