package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bricklayer.csi/bench/stats"
	"bricklayer.csi/internal/volume"
)

// maxExisting is more volumes than a Gluster cluster bears.
const maxExisting = 10_000

// ParseExisting reads how many volumes stand by, one number a series: "0", or "10,100,500".
func ParseExisting(field, text string) ([]int, error) {
	refused := volume.NewFieldError(field, text,
		fmt.Sprintf("numbers from 0 to %d with commas between them, each above the one before, such as 10,100,500", maxExisting))
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return nil, refused
		}
		all = append(all, n)
	}
	if !ascends(all) {
		return nil, refused
	}
	return all, nil
}

// ascends says whether these can be filled up to, one after the other.
func ascends(existing []int) bool {
	for i, n := range existing {
		if n < 0 || n > maxExisting || i > 0 && n <= existing[i-1] {
			return false
		}
	}
	return len(existing) > 0
}

// batch is after how many volumes that stand by it is said how far that is.
const batch = 10

// fill has so many volumes stand by.
func (p *provisioning) fill(ctx context.Context, existing int) error {
	var names []string
	for i := len(p.filled); i < existing; i++ {
		names = append(names, fmt.Sprintf("%s-by%d", p.plan.Run, i))
	}
	for some := range slices.Chunk(names, batch) {
		p.filled = append(p.filled, some...)
		_, _, err := atOnce(ctx, p.plan.Concurrency, some, func(ctx context.Context, v string) (Took, bool, error) {
			took, err := p.plan.Makers[0].Make(ctx, v)
			return took, true, err
		})
		if err != nil {
			return fmt.Errorf("make the volumes that stand by, up to %d of %d: %w", len(p.filled), existing, err)
		}
		p.say(fmt.Sprintf("%d of %d volumes stand by", len(p.filled), existing))
	}
	return nil
}

// empty removes the volumes that stand by.
func (p *provisioning) empty(ctx context.Context) {
	for some := range slices.Chunk(p.filled, batch) {
		closing, cancel := context.WithTimeout(ctx, closeWithin)
		_, _, err := atOnce(closing, p.plan.Concurrency, some, func(ctx context.Context, v string) (Took, bool, error) {
			took, err := p.plan.Makers[0].Remove(ctx, v)
			return took, true, err
		})
		cancel()
		if err != nil {
			p.left(err)
		}
	}
}

// jobName names a verb, beside so many volumes where there are several series.
func (p ProvisionPlan) jobName(verb string, existing int) string {
	if len(p.Existing) == 1 {
		return verb
	}
	return fmt.Sprintf("%s-beside-%d", verb, existing)
}

// Growth is how long a verb takes beside more and more volumes.
type Growth struct {
	Verb  string
	Lines []GrowthLine
}

// GrowthLine is that of one target.
type GrowthLine struct {
	Target string
	Points []GrowthPoint
}

// GrowthPoint is one series of it.
type GrowthPoint struct {
	Existing int
	// Seconds is the median of the rounds, of one volume.
	Seconds stats.Interval
	Rounds  int
}

// Growth returns how long verbs take beside more and more volumes; none where there
// is one series only.
func (r Result) Growth() []Growth {
	var all []Growth
	for _, j := range r.Jobs {
		known := slices.ContainsFunc(all, func(g Growth) bool { return g.Verb == j.Verb })
		if j.Verb == "" || known {
			continue
		}
		g := Growth{Verb: j.Verb}
		most := 0
		for _, t := range r.Targets {
			line := GrowthLine{Target: t.Name, Points: r.points(j.Verb, t.Name)}
			most = max(most, len(line.Points))
			if len(line.Points) > 0 {
				g.Lines = append(g.Lines, line)
			}
		}
		if most > 1 {
			all = append(all, g)
		}
	}
	return all
}

// points returns the series of a verb on a target, by how many volumes stood by.
func (r Result) points(verb, target string) []GrowthPoint {
	var all []GrowthPoint
	for _, j := range r.Jobs {
		if j.Verb != verb {
			continue
		}
		var seconds []float64
		p := GrowthPoint{}
		for _, run := range r.Runs {
			if run.Job == j.Name && run.Target == target && run.counts() {
				p.Existing = run.Existing
				seconds = append(seconds, run.FIO.Write.Latency.Mean/float64(time.Second))
			}
		}
		if p.Rounds = len(seconds); p.Rounds > 0 {
			p.Seconds = stats.Of(seconds)
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b GrowthPoint) int { return a.Existing - b.Existing })
	return all
}
