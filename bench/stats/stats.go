// Package stats owns the judgement whether two things that were measured in turns
// differ: medians, bootstrap confidence intervals, ratios pair by pair, and the
// refusal to judge what is too noisy or too little.
//
// It refuses to know what was measured. The same values give the same answer: the
// bootstrap draws from a generator with a fixed seed.
package stats

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// Confidence is that of the intervals that are shown.
	Confidence = 0.95
	// sure is that of a verdict. A report has dozens of comparisons: at 95 % some
	// would be called different that are not.
	sure = 0.99
	// resamples is how often the bootstrap draws.
	resamples = 2000
	// MinRounds is the least number of rounds for a verdict: of fewer even their
	// whole range does not hold the true median with any confidence.
	MinRounds = 5
	// Margin is what a difference must exceed to be called one. Two files on one
	// disk differ by as much.
	Margin = 0.03
	// Close is within what two count as the same, if the interval lies there.
	Close = 0.10
	// wide is the interval beyond which a ratio is withheld, as a factor.
	wide = 1.5
)

// Interval is a value and where its true one lies, with a confidence of Confidence.
type Interval struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Median returns the middle of the values; 0 where there are none.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	switch {
	case n == 0:
		return 0
	case n%2 == 0:
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[n/2]
}

// Of returns the median of values with its interval.
func Of(values []float64) Interval {
	drawn := bootstrap(len(values), func(pick []int) float64 { return Median(at(values, pick)) })
	low, high := ends(drawn, Confidence)
	return Interval{Median(values), low, high}
}

// Verdict says what a comparison has shown.
type Verdict string

// The verdicts.
const (
	// Higher and Lower: the ratio is above or below 1, by more than Margin.
	Higher Verdict = "higher"
	Lower  Verdict = "lower"
	// Same: the interval lies within Close of 1.
	Same Verdict = "same"
	// Unclear: no difference was shown, and none that matters excluded.
	Unclear Verdict = "unclear"
	// Noisy: the rounds differ too much among themselves.
	Noisy Verdict = "too noisy to judge"
	// Few: there are fewer than MinRounds rounds.
	Few Verdict = "too few rounds to judge"
)

// Ratio is how two compare.
type Ratio struct {
	Interval
	Verdict Verdict `json:"verdict"`
	// Rounds is how many pairs there were.
	Rounds int `json:"rounds"`
}

// Judged says whether the ratio may be given as a number.
func (r Ratio) Judged() bool { return r.Verdict != Noisy && r.Verdict != Few }

// Paired compares values that were measured in the same rounds: the ratio is
// taken in each round, where what the machine drifts by is the same for both.
// Pairs with a value that is not above zero are left out.
func Paired(ours, theirs []float64) Ratio {
	var logs []float64
	for i := range min(len(ours), len(theirs)) {
		if ours[i] > 0 && theirs[i] > 0 {
			logs = append(logs, math.Log(ours[i]/theirs[i]))
		}
	}
	// The median of logarithms: A over B is then exactly one over B over A.
	statistic := func(pick []int) float64 { return Median(at(logs, pick)) }
	return judge(len(logs), Median(logs), statistic)
}

// Apart compares values of two runs, which have no rounds in common: what the
// machine changed by in between is in the ratio.
func Apart(ours, theirs []float64) Ratio {
	logsOf := func(values []float64) []float64 {
		var logs []float64
		for _, v := range values {
			if v > 0 {
				logs = append(logs, math.Log(v))
			}
		}
		return logs
	}
	a, b := logsOf(ours), logsOf(theirs)
	n := min(len(a), len(b))
	r := newRand()
	statistic := func([]int) float64 { return Median(draw(r, a)) - Median(draw(r, b)) }
	return judge(n, Median(a)-Median(b), statistic)
}

// judge makes a ratio of a statistic that is a logarithm.
func judge(n int, middle float64, statistic func(pick []int) float64) Ratio {
	r := Ratio{Rounds: n}
	if n == 0 {
		r.Verdict = Few
		return r
	}
	drawn := bootstrap(n, statistic)
	low, high := ends(drawn, Confidence)
	r.Interval = Interval{math.Exp(middle), math.Exp(low), math.Exp(high)}
	low, high = ends(drawn, sure)
	low, high = math.Exp(low), math.Exp(high)
	switch {
	case n < MinRounds:
		r.Verdict = Few
	case low > 1+Margin:
		r.Verdict = Higher
	case high < 1/(1+Margin):
		r.Verdict = Lower
	case r.High/r.Low > wide:
		r.Verdict = Noisy
	case r.Low > 1/(1+Close) && r.High < 1+Close:
		r.Verdict = Same
	default:
		r.Verdict = Unclear
	}
	return r
}

// bootstrap takes a statistic over n rounds of rounds drawn at random from them,
// again and again, and returns what came out, sorted.
func bootstrap(n int, statistic func(pick []int) float64) []float64 {
	if n == 0 {
		return nil
	}
	r := newRand()
	pick := make([]int, n)
	all := make([]float64, resamples)
	for i := range all {
		for k := range pick {
			pick[k] = r.IntN(n)
		}
		all[i] = statistic(pick)
	}
	slices.Sort(all)
	return all
}

// ends returns where the middle part of sorted values begins and ends.
func ends(sorted []float64, part float64) (low, high float64) {
	if len(sorted) == 0 {
		return 0, 0
	}
	cut := int(float64(len(sorted)) * (1 - part) / 2)
	return sorted[cut], sorted[len(sorted)-1-cut]
}

func newRand() *rand.Rand {
	return rand.New(rand.NewPCG(20, 26)) //nolint:gosec // the same numbers each time are what is wanted
}

func at(values []float64, pick []int) []float64 {
	chosen := make([]float64, len(pick))
	for i, k := range pick {
		chosen[i] = values[k]
	}
	return chosen
}

func draw(r *rand.Rand, values []float64) []float64 {
	chosen := make([]float64, len(values))
	for i := range chosen {
		chosen[i] = values[r.IntN(len(values))]
	}
	return chosen
}
