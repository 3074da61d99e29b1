package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// rounds makes values of two targets in n rounds: both share what a round brings,
// and each has its own noise. Targets are factor apart.
func rounds(r *rand.Rand, n int, factor, drift, noise float64) (a, b []float64) {
	for range n {
		base := 100 * math.Exp(drift*r.NormFloat64())
		a = append(a, base*factor*math.Exp(noise*r.NormFloat64()))
		b = append(b, base*math.Exp(noise*r.NormFloat64()))
	}
	return a, b
}

func share(t *testing.T, n int, factor, drift, noise float64, is func(Verdict) bool) float64 {
	t.Helper()
	const times = 200
	r := rand.New(rand.NewPCG(1, uint64(n)))
	hits := 0
	for range times {
		a, b := rounds(r, n, factor, drift, noise)
		if is(Paired(a, b).Verdict) {
			hits++
		}
	}
	return float64(hits) / times
}

func different(v Verdict) bool { return v == Higher || v == Lower }

// TestTheSameIsNotCalledDifferent measures how often it is, on a machine that
// drifts much more than the targets differ.
func TestTheSameIsNotCalledDifferent(t *testing.T) {
	for _, n := range []int{5, 6, 8, 12} {
		for _, noise := range []float64{0.02, 0.1, 0.3} {
			if got := share(t, n, 1, 0.4, noise, different); got > 0.06 {
				t.Errorf("%d rounds, noise %v: %.1f %% of comparisons of equals are called different; want at most 6 %%", n, noise, 100*got)
			}
		}
	}
}

func TestASlowdownIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		n             int
		factor, noise float64
		least         float64
	}{
		"half the speed, steady":      {5, 0.5, 0.05, 0.99},
		"half the speed, noisy":       {8, 0.5, 0.25, 0.9},
		"a fifth slower, six rounds":  {6, 0.8, 0.05, 0.95},
		"a tenth slower, much steady": {12, 0.9, 0.03, 0.95},
	} {
		t.Run(name, func(t *testing.T) {
			got := share(t, tc.n, tc.factor, 0.4, tc.noise, func(v Verdict) bool { return v == Lower })
			if got < tc.least {
				t.Errorf("found in %.1f %% of runs, want %.0f %%", 100*got, 100*tc.least)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	for name, tc := range map[string]struct {
		ours, theirs []float64
		want         Verdict
	}{
		"nothing":                {nil, nil, Few},
		"four rounds":            {[]float64{1, 1, 1, 1}, []float64{9, 9, 9, 9}, Few},
		"a zero is no pair":      {[]float64{0, 1, 1, 1, 1}, []float64{9, 9, 9, 9, 9}, Few},
		"equal":                  {[]float64{5, 6, 7, 8, 9}, []float64{5, 6, 7, 8, 9}, Same},
		"within the margin":      {[]float64{101, 101, 101, 101, 101}, []float64{100, 100, 100, 100, 100}, Same},
		"all over the place":     {[]float64{50, 200, 90, 140, 30}, []float64{100, 60, 180, 50, 100}, Noisy},
		"neither same nor apart": {[]float64{90, 115, 110, 100, 118}, []float64{100, 100, 100, 100, 100}, Unclear},
		"twice":                  {[]float64{200, 190, 220, 210, 205}, []float64{100, 100, 100, 100, 100}, Higher},
	} {
		t.Run(name, func(t *testing.T) {
			got := Paired(tc.ours, tc.theirs)
			if got.Verdict != tc.want {
				t.Errorf("%+v, want %q", got, tc.want)
			}
			if got.Low > got.Median || got.Median > got.High {
				t.Errorf("%+v: the median is not within its interval", got)
			}
			turned := Paired(tc.theirs, tc.ours)
			if got.Median > 0 && math.Abs(got.Median*turned.Median-1) > 1e-9 {
				t.Errorf("ours/theirs is %v and theirs/ours %v: want one over the other", got.Median, turned.Median)
			}
		})
	}
}

func TestTheSameValuesGiveTheSameAnswer(t *testing.T) {
	a, b := rounds(rand.New(rand.NewPCG(3, 4)), 7, 1.3, 0.2, 0.2)
	if Paired(a, b) != Paired(a, b) || Apart(a, b) != Apart(a, b) || Of(a) != Of(a) {
		t.Error("two calls with the same values differ")
	}
}

func TestApart(t *testing.T) {
	if got := Apart([]float64{200, 190, 220, 210, 205}, []float64{100, 99, 101, 103, 100}); got.Verdict != Higher {
		t.Errorf("%+v, want higher", got)
	}
	if got := Apart([]float64{100, 101, 99, 100, 102}, []float64{100, 99, 101, 103, 100}); got.Verdict != Same {
		t.Errorf("%+v, want the same", got)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}} {
		if got := Median(tc.values); got != tc.want {
			t.Errorf("Median(%v) = %v, want %v", tc.values, got, tc.want)
		}
	}
}
