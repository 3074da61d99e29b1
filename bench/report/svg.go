package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"

	"bricklayer.csi/bench"
	"bricklayer.csi/bench/fio"
)

// svg is a drawing. Colours and strokes are classes, so that the page's style
// decides them, for light, dark and paper.
type svg struct {
	b             strings.Builder
	width, height float64
	label         string
}

func newSVG(width, height float64, label string) *svg {
	return &svg{width: width, height: height, label: label}
}

// mark draws an element; attributes are ours, never from a result.
func (s *svg) mark(format string, args ...any) { fmt.Fprintf(&s.b, format+"\n", args...) }

func (s *svg) line(class string, x1, y1, x2, y2 float64) {
	s.mark(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

// text writes some; anchor is start, middle or end.
func (s *svg) text(class, anchor string, x, y float64, text string) {
	s.mark(`<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, html.EscapeString(text))
}

func (s *svg) html() template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">%s</svg>`, //nolint:gosec // every text in it is escaped
		s.width, s.height, html.EscapeString(s.label), s.b.String()))
}

// The measures of charts.
const (
	chartWidth = 640.0
	gutter     = 120.0 // names, on the left
	margin     = 90.0  // values, on the right
	rowHeight  = 34.0
)

// bars shows the medians of a job with their intervals, and every round as a dot.
func bars(row bench.Row) template.HTML {
	s := newSVG(chartWidth, rowHeight*float64(len(row.Cells))+26, row.Job.Title+": medians with intervals, in "+row.Job.Unit)
	most := 0.0
	for _, c := range row.Cells {
		for _, v := range append(c.Values, c.Value.High) {
			most = max(most, v)
		}
	}
	if most == 0 {
		return ""
	}
	scale := (chartWidth - gutter - margin) / most
	for i, c := range row.Cells {
		top := rowHeight * float64(i)
		middle := top + rowHeight/2
		s.text("name", "end", gutter-8, middle+4, c.Target)
		if c.Rounds == 0 {
			s.text("note", "start", gutter+4, middle+4, nothing(c))
			continue
		}
		s.mark(`<rect class="c%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"/>`, i%len(dashes), gutter, top+7, c.Value.Median*scale, rowHeight-14)
		for _, v := range c.Values {
			s.mark(`<circle class="dot" cx="%.1f" cy="%.1f" r="2.2"/>`, gutter+v*scale, middle)
		}
		low, high := gutter+c.Value.Low*scale, gutter+c.Value.High*scale
		s.line("whisker", low, middle, high, middle)
		s.line("whisker", low, middle-6, low, middle+6)
		s.line("whisker", high, middle-6, high, middle+6)
		s.text("value", "start", max(high, gutter+c.Value.Median*scale)+8, middle+4, bench.Short(c.Value.Median))
	}
	bottom := rowHeight * float64(len(row.Cells))
	s.line("axis", gutter, 0, gutter, bottom)
	s.text("note", "start", gutter, bottom+18, "0")
	s.text("note", "end", chartWidth-margin, bottom+18, bench.Short(most)+" "+row.Job.Unit)
	return s.html()
}

// dashes tell lines apart without colours.
var dashes = []string{"", "7 3", "2 3", "10 3 2 3", "1 2", "12 4", "4 2 1 2", "6 6"}

// cdf shows what share of the requests was done within a time, a line a target.
func cdf(row bench.Row) template.HTML {
	const height, top, left, right = 240.0, 10.0, 50.0, 30.0
	low, high := math.Inf(1), 0.0
	for _, c := range row.Cells {
		for _, b := range c.Histogram {
			low, high = min(low, float64(max(b.NS, 1))), max(high, float64(b.NS))
		}
	}
	if high <= low {
		return ""
	}
	legend := 20.0 * float64(len(row.Cells))
	s := newSVG(chartWidth, height+40+legend, row.Job.Title+": shares of requests by latency")
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	x := func(ns float64) float64 {
		return left + (math.Log10(max(ns, 1))-from)/(to-from)*(chartWidth-left-right)
	}
	y := func(share float64) float64 { return top + (1-share)*(height-top) }
	for _, share := range []float64{0, 0.25, 0.5, 0.75, 1} {
		s.line("grid", left, y(share), chartWidth-right, y(share))
		s.text("note", "end", left-6, y(share)+4, percent(share))
	}
	for e := from; e <= to; e++ {
		at := x(math.Pow(10, e))
		s.line("grid", at, top, at, height)
		s.text("note", "middle", at, height+16, timeOf(math.Pow(10, e)))
	}
	s.text("note", "middle", (left+chartWidth-right)/2, height+32, "latency of "+row.Job.Latency)
	for i, c := range row.Cells {
		if len(c.Histogram) == 0 {
			continue
		}
		s.mark(`<path class="line s%d" stroke-dasharray="%s" d="%s"/>`, i%len(dashes), dashes[i%len(dashes)], steps(c.Histogram, x, y))
		at := height + 48 + 20*float64(i)
		s.mark(`<line class="line s%d" stroke-dasharray="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, i%len(dashes), dashes[i%len(dashes)], left, at-4, left+40, at-4)
		s.text("name", "start", left+48, at, c.Target+": half within "+timeOf(fio.Percentile(c.Histogram, 0.5))+", 99 % within "+timeOf(fio.Percentile(c.Histogram, 0.99)))
	}
	return s.html()
}

// steps is the path of a cumulative histogram.
func steps(h []fio.Bin, x, y func(float64) float64) string {
	var all, sum uint64
	for _, b := range h {
		all += b.Count
	}
	var d strings.Builder
	fmt.Fprintf(&d, "M%.1f %.1f", x(float64(h[0].NS)), y(0))
	for _, b := range h {
		sum += b.Count
		fmt.Fprintf(&d, "L%.1f %.1f", x(float64(b.NS)), y(float64(sum)/float64(all)))
	}
	return d.String()
}

func timeOf(ns float64) string {
	switch {
	case ns >= 1e9:
		return trim(ns/1e9) + " s"
	case ns >= 1e6:
		return trim(ns/1e6) + " ms"
	case ns >= 1e3:
		return trim(ns/1e3) + " µs"
	}
	return trim(ns) + " ns"
}

func trim(v float64) string {
	if v == math.Trunc(v) {
		return fmt.Sprintf("%.0f", v)
	}
	return bench.Short(v)
}
