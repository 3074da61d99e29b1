package bench

import (
	"slices"

	"bricklayer.csi/bench/fio"
	"bricklayer.csi/bench/stats"
)

// Row is a job with what it did on each target.
type Row struct {
	Job   JobInfo
	Cells []Cell
	// Pairs are all targets against all others, each pair once.
	Pairs []Pair
}

// Cell is a job on a target.
type Cell struct {
	Target string
	// Value is the median of the rounds with its interval, in the job's unit.
	Value  stats.Interval
	Rounds int
	// Ratio is to the baseline; nil on the baseline itself and where there are no rounds.
	Ratio *stats.Ratio
	// Load is the median of the rounds.
	Load  Load
	Bound Bound
	// Histogram is of all rounds together.
	Histogram []fio.Bin
	// Steps is where a volume's time went, in seconds: medians of the rounds that tell.
	Steps map[Step]float64
	// Values are the rounds' own, in their order.
	Values []float64
	// Fault is the last one; the rounds that went well count all the same.
	Fault string
}

// Pair is how one target compares with another.
type Pair struct {
	Ours, Theirs string
	Ratio        stats.Ratio
}

// Judge compares the targets of a result, job by job. Warm-up rounds and failed
// runs do not count.
func (r Result) Judge() []Row {
	rows := make([]Row, 0, len(r.Jobs))
	for _, j := range r.Jobs {
		row := Row{Job: j}
		for _, t := range r.Targets {
			row.Cells = append(row.Cells, r.cell(j, t))
		}
		for i, a := range r.Targets {
			for _, b := range r.Targets[i+1:] {
				if ratio, ok := r.Ratio(j.Name, a.Name, b.Name); ok {
					row.Pairs = append(row.Pairs, Pair{a.Name, b.Name, ratio})
				}
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func (r Result) cell(j JobInfo, t TargetInfo) Cell {
	c := Cell{Target: t.Name, Fault: t.Fault}
	var cpu, disk []float64
	var histograms [][]fio.Bin
	steps := map[Step][]float64{}
	for _, run := range r.Runs {
		if run.Job != j.Name || run.Target != t.Name {
			continue
		}
		if run.Fault != "" {
			c.Fault = run.Fault
		}
		if !run.counts() {
			continue
		}
		c.Values = append(c.Values, run.Figure)
		histograms = append(histograms, latencies(j, run.FIO))
		c.Load.Unknown = max(c.Load.Unknown, run.Load.Unknown)
		cpu, disk = append(cpu, run.Load.CPU), append(disk, run.Load.Disk)
		c.Load.CPUOf, c.Load.DiskOf = run.Load.CPUOf, run.Load.DiskOf
		if run.Steps != nil {
			for _, step := range Steps() {
				steps[step] = append(steps[step], run.Steps[step])
			}
		}
	}
	c.Rounds = len(c.Values)
	c.Value = stats.Of(c.Values)
	c.Load.CPU, c.Load.Disk = stats.Median(cpu), stats.Median(disk)
	c.Bound = c.Load.Bound()
	c.Histogram = fio.Merge(histograms...)
	c.Steps = map[Step]float64{}
	for step, seconds := range steps {
		c.Steps[step] = stats.Median(seconds)
	}
	if t.Name != r.Plan.Baseline {
		if ratio, ok := r.Ratio(j.Name, t.Name, r.Plan.Baseline); ok {
			c.Ratio = &ratio
		}
	}
	return c
}

func (r Run) counts() bool { return r.Round > 0 && r.Fault == "" && r.Figure > 0 }

// values returns a job's figures on a target, by round.
func (r Result) values(job, target string) map[int]float64 {
	all := map[int]float64{}
	for _, run := range r.Runs {
		if run.Job == job && run.Target == target && run.counts() {
			all[run.Round] = run.Figure
		}
	}
	return all
}

// Ratio compares two targets in the rounds that both have, and says false where
// there is none.
func (r Result) Ratio(job, ours, theirs string) (stats.Ratio, bool) {
	a, b := r.values(job, ours), r.values(job, theirs)
	var as, bs []float64
	for round := 1; round <= r.Plan.Rounds; round++ {
		if a[round] > 0 && b[round] > 0 {
			as, bs = append(as, a[round]), append(bs, b[round])
		}
	}
	if len(as) == 0 {
		return stats.Ratio{}, false
	}
	return stats.Paired(as, bs), true
}

// Change is how a job on a target differs between two results.
type Change struct {
	Job    JobInfo
	Target string
	Old    stats.Interval
	New    stats.Interval
	// Ratio is new to old.
	Ratio stats.Ratio
}

// Comparison is how two results compare.
type Comparison struct {
	Changes []Change
	// Only are jobs and targets that just one of the results has.
	Only []string
	// Differs are what the two were measured on and how, where it is not the same.
	Differs []string
}

// Compare compares what two results both have. Their rounds were not taken in
// turns, so that what the machine changed by in between is in the ratios.
func Compare(older, newer Result) Comparison {
	var c Comparison
	for _, d := range []struct{ what, was, is string }{
		{"kernel", older.Machine.Kernel, newer.Machine.Kernel},
		{"fio", older.Machine.FIO, newer.Machine.FIO},
		{"Gluster client", older.Machine.Gluster, newer.Machine.Gluster},
		{"bricklayer", older.Machine.Bricklayer, newer.Machine.Bricklayer},
		{"caches", older.Plan.Caches, newer.Plan.Caches},
		{"note", older.Plan.Note, newer.Plan.Note},
	} {
		if d.was != d.is {
			c.Differs = append(c.Differs, d.what+": "+d.was+" and "+d.is)
		}
	}
	for _, j := range newer.Jobs {
		at := slices.IndexFunc(older.Jobs, func(o JobInfo) bool { return o.Name == j.Name })
		if at < 0 {
			c.Only = append(c.Only, "job "+j.Name+" (newer)")
			continue
		}
		if older.Jobs[at].File != j.File {
			c.Differs = append(c.Differs, "the job file of "+j.Name)
		}
		for _, t := range newer.Targets {
			a, b := order(older.values(j.Name, t.Name)), order(newer.values(j.Name, t.Name))
			if len(a) == 0 || len(b) == 0 {
				c.Only = append(c.Only, j.Name+" on "+t.Name)
				continue
			}
			c.Changes = append(c.Changes, Change{j, t.Name, stats.Of(a), stats.Of(b), stats.Apart(b, a)})
		}
	}
	return c
}

func order(rounds map[int]float64) []float64 {
	var last int
	for round := range rounds {
		last = max(last, round)
	}
	var all []float64
	for round := 1; round <= last; round++ {
		if v, ok := rounds[round]; ok {
			all = append(all, v)
		}
	}
	return all
}
