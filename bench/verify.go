package bench

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"bricklayer.csi/bench/stats"
)

// Thresholds are what a result must hold.
type Thresholds struct {
	Rules []Rule `json:"rules"`
}

// Rule is one threshold.
type Rule struct {
	// Job is a job's name, or a pattern such as "4k-*".
	Job string `json:"job"`
	// Target and To are the two that are compared.
	Target string `json:"target"`
	To     string `json:"to"`
	// AtLeast and AtMost bound the ratio of Target to To; one of them is enough.
	AtLeast float64 `json:"atLeast,omitempty"`
	AtMost  float64 `json:"atMost,omitempty"`
	// Proof says when the rule fails. "against" (the default): where the whole
	// interval of the ratio lies beyond the bound, so that noise alone fails
	// nobody. "for": unless all of it lies within, so that noise passes nothing.
	Proof string `json:"proof,omitempty"`
}

// What Rule.Proof may be.
const (
	ProofAgainst = "against"
	ProofFor     = "for"
)

// ReadThresholds reads a file of thresholds.
func ReadThresholds(file string) (Thresholds, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Thresholds{}, fmt.Errorf("read thresholds: %w", err)
	}
	t, err := ParseThresholds(data)
	if err != nil {
		return Thresholds{}, fmt.Errorf("thresholds %s: %w", file, err)
	}
	return t, nil
}

// ParseThresholds reads thresholds, in YAML.
func ParseThresholds(data []byte) (Thresholds, error) {
	var t Thresholds
	if err := yaml.UnmarshalStrict(data, &t); err != nil {
		return t, err
	}
	if len(t.Rules) == 0 {
		return t, errors.New("rules: there is none")
	}
	for i, r := range t.Rules {
		if err := r.check(); err != nil {
			return t, fmt.Errorf("rules[%d].%w", i, err)
		}
	}
	return t, nil
}

func (r Rule) check() error {
	_, err := path.Match(r.Job, "")
	switch {
	case r.Job == "" || err != nil:
		return fmt.Errorf("job: %.80q: want a job's name, or a pattern with *", r.Job)
	case r.Target == "":
		return errors.New("target: want the name of a target")
	case r.To == "" || r.To == r.Target:
		return fmt.Errorf("to: %.80q: want the name of another target", r.To)
	case r.AtLeast < 0 || r.AtMost < 0 || r.AtLeast == 0 && r.AtMost == 0:
		return errors.New("atLeast: want atLeast or atMost above 0")
	case r.AtMost > 0 && r.AtLeast > r.AtMost:
		return fmt.Errorf("atMost: %v: want at least atLeast, %v", r.AtMost, r.AtLeast)
	case r.Proof != "" && r.Proof != ProofAgainst && r.Proof != ProofFor:
		return fmt.Errorf("proof: %.80q: want %s or %s", r.Proof, ProofAgainst, ProofFor)
	}
	return nil
}

// Check is a rule held against one job.
type Check struct {
	Rule  Rule
	Job   string
	Ratio stats.Ratio
	// OK says that it holds; Why says why not, or how surely.
	OK  bool
	Why string
}

// Verify holds a result against thresholds. A rule that no job or no target
// answers to fails: a gate that checks nothing is open.
func (r Result) Verify(t Thresholds) []Check {
	var all []Check
	for _, rule := range t.Rules {
		matched := false
		for _, j := range r.Jobs {
			if ok, err := path.Match(rule.Job, j.Name); err == nil && ok {
				matched = true
				all = append(all, r.hold(rule, j.Name))
			}
		}
		if !matched {
			all = append(all, Check{Rule: rule, Job: rule.Job, Why: "the result has no such job"})
		}
	}
	return all
}

func (r Result) hold(rule Rule, job string) Check {
	c := Check{Rule: rule, Job: job}
	for _, name := range []string{rule.Target, rule.To} {
		if _, ok := r.Target(name); !ok {
			c.Why = "the result has no target " + name
			return c
		}
	}
	var ok bool
	if c.Ratio, ok = r.Ratio(job, rule.Target, rule.To); !ok {
		c.Why = "there is no round in which both were measured: " + strings.Join(r.Faults(), "; ")
		return c
	}
	low, high := rule.AtLeast, rule.AtMost
	beyond := c.Ratio.High < low || high > 0 && c.Ratio.Low > high
	within := c.Ratio.Low >= low && (high == 0 || c.Ratio.High <= high)
	switch {
	case c.Ratio.Verdict == stats.Few:
		// Of a few rounds not even the whole range says much.
		c.OK, c.Why = rule.Proof != ProofFor, string(stats.Few)
	case within:
		c.OK, c.Why = true, "the whole interval is within"
	case beyond:
		c.Why = "the whole interval is beyond"
	default:
		c.OK, c.Why = rule.Proof != ProofFor, "the interval crosses the bound"
	}
	return c
}
