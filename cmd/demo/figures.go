package main

import (
	"fmt"
	"slices"
	"strconv"

	benchlib "bricklayer.csi/bench"
	"bricklayer.csi/bench/stats"
)

// unsteady is from which factor between its largest and its least value on a
// ratio says nothing.
const unsteady = 2.0

// spread is the middle and the ends of some values.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{slices.Min(values), stats.Median(values), slices.Max(values)}
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s to %s)", benchlib.Short(s.median), benchlib.Short(s.least), benchlib.Short(s.most))
}

// noisy says whether the values are too far apart for a verdict.
func (s spread) noisy() bool { return s.most >= unsteady*s.least }

// ratios compares two volumes round by round: what changes from round to round
// cancels.
func ratios(ours, theirs []float64) []float64 {
	all := make([]float64, 0, len(ours))
	for i, v := range ours {
		if i < len(theirs) && theirs[i] > 0 {
			all = append(all, v/theirs[i])
		}
	}
	return all
}

// values are the figures of the rounds of a job on a volume.
func (b *bench) values(at, volume int) []float64 {
	var all []float64
	for _, r := range b.runs[at][volume] {
		all = append(all, b.jobs[at].figure(r.measured))
	}
	return all
}

// cell is what the table says of a job on a volume, beside the one at hand.
func (b *bench) cell(at, volume, hand int) string {
	ours := spreadOf(b.values(at, volume))
	text := fmt.Sprintf("%s %s\n", ours, b.jobs[at].unit)
	if volume != hand {
		r := spreadOf(ratios(b.values(at, volume), b.values(at, hand)))
		text += fmt.Sprintf("%s × by hand (%s to %s)", fixed(r.median), fixed(r.least), fixed(r.most))
		if r.noisy() {
			text += ", too noisy to judge"
		}
		text += "\n"
	}
	l := b.load(at, volume)
	return text + fmt.Sprintf("CPU %s, disk %s", percent(l.cpu), percent(l.disk))
}

// load is the median of the rounds' loads.
func (b *bench) load(at, volume int) load {
	var cpu, disk []float64
	for _, r := range b.runs[at][volume] {
		cpu, disk = append(cpu, r.cpu), append(disk, r.disk)
	}
	return load{spreadOf(cpu).median, spreadOf(disk).median}
}

func fixed(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }

// verdict says in words what bound the runs, job by job where they differ.
func (b *bench) verdict() string {
	by := map[string]int{}
	runs := 0
	var cpu, disk []float64
	for at := range b.jobs {
		for volume := range b.runs[at] {
			l := b.load(at, volume)
			by[l.boundBy()]++
			runs++
			cpu, disk = append(cpu, l.cpu), append(disk, l.disk)
		}
	}
	c, d := spreadOf(cpu), spreadOf(disk)
	seen := fmt.Sprintf("the processors of this machine were %s to %s busy, the busiest disk of a storage node %s to %s (medians of the runs)",
		percent(c.least), percent(c.most), percent(d.least), percent(d.most))
	switch runs {
	case by["CPU"]:
		return "Bound by CPU, in every job on every volume: " + seen + ". " + hidden
	case by["disk"]:
		return "Bound by disk, in every job on every volume: " + seen + "."
	}
	return fmt.Sprintf("Bound by CPU in %d of %d cases (a job on a volume), by disk in %d, by neither in %d, which waited for answers: %s. %s",
		by["CPU"], runs, by["disk"], by["neither"], seen, hidden)
}

// hidden is what this lab cannot show.
const hidden = "The lab's disks are files in this machine's page cache and its nodes share its processors: " +
	"what LVM costs on real disks is hidden here. Read the ratios, not the figures, and those of this machine only."
