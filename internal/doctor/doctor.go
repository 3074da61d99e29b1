// Package doctor owns what a check is, how checks are run side by side, each
// within its time, what they found, how that is shown, and how what was found is
// mended and the mending taken back.
//
// It refuses to know any single trouble (package checks has those) and how a
// machine is read (package host). What could not be looked at is Unknown here and
// never fine.
package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/doctor/host"
)

// Severity is how bad a finding is.
type Severity string

// The severities.
const (
	// Warning is what will bite later, or bites some.
	Warning Severity = "warning"
	// Error is what breaks something now, or at the next restart.
	Error Severity = "error"
)

// Check is one thing that the doctor looks for. Just one of Host and Site is set.
type Check struct {
	// ID is how people, scripts and pages of the documentation call it; it never changes.
	ID string
	// Title says in a few words what would be wrong.
	Title string
	// Severity is the worst that it finds.
	Severity Severity
	// Why says what the trouble does, Mend how it is ended by hand, Fix what --fix
	// changes, empty where it changes nothing; Reads says what is looked at.
	Why, Mend, Fix, Reads string
	// Host looks at one machine.
	Host func(ctx context.Context, h *host.Host, r *Recorder)
	// Site looks at what can be seen from afar.
	Site func(ctx context.Context, s *Site, r *Recorder)
}

// Site is what can be seen from a machine that reaches a cluster, its pools or both.
type Site struct {
	// Local is the machine that the doctor runs on.
	Local *host.Host
	// Kubernetes is the cluster; nil without.
	Kubernetes kubernetes.Interface
	// Server is the URL of its API server.
	Server string
	// Storage are the storage nodes of all pools.
	Storage []Storage
	// Heketis are those of all pools.
	Heketis []Heketi
	// Dashboards are where dashboards are looked for beside the cluster's ConfigMaps.
	Dashboards []Dashboard

	once     sync.Once
	answered chan struct{}
	answers  []Answer
}

// Storage is a storage node with the agent that answers for it.
type Storage struct {
	Pool, Name string
	Agent      agent.Node
}

// Heketi is the heketi of a pool, with what looks it over.
type Heketi struct {
	Pool    string
	Inspect func(ctx context.Context) ([]Finding, error)
}

// Dashboard is a dashboard of Grafana's: a file, or what a server answered.
type Dashboard struct {
	// Name says where it is from; it is a path below Local where File is set.
	Name string
	File bool
	Text []byte
	// Err is why it could not be read.
	Err error
}

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	// Object is what it is wrong with: a node, a file, a volume.
	Object string `json:"object"`
	// Problem says in a sentence what is wrong with it.
	Problem string `json:"problem"`
	// Evidence is what was seen, a line each.
	Evidence []string `json:"evidence"`
	// Mend is how to end this one, where there is more to say than the check does.
	Mend string `json:"mend,omitempty"`
	// Fix is what --fix would do; empty where it can do nothing.
	Fix []host.Step `json:"fix,omitempty"`
}

// Unknown is something that could not be looked at.
type Unknown struct {
	Object string `json:"object"`
	Why    string `json:"why"`
}

// Status is the outcome of a check.
type Status string

// The outcomes, the worst first.
const (
	StatusError   Status = "error"
	StatusUnknown Status = "unknown"
	StatusWarning Status = "warning"
	// StatusSkipped is a check that has no object here.
	StatusSkipped Status = "skipped"
	StatusFine    Status = "fine"
)

// Result is what a check found.
type Result struct {
	Check string `json:"check"`
	// Target is the machine that was looked at, or "cluster".
	Target   string    `json:"target"`
	Status   Status    `json:"status"`
	Findings []Finding `json:"findings,omitempty"`
	Unknown  []Unknown `json:"unknown,omitempty"`
	Skipped  string    `json:"skipped,omitempty"`
	Seconds  float64   `json:"seconds"`
}

// Recorder takes down what a check finds. It may be used by several goroutines;
// what comes after the check's time is up is dropped.
type Recorder struct {
	mu     sync.Mutex
	result Result
	closed bool
}

// Found records something that is wrong.
func (r *Recorder) Found(f Finding) {
	r.record(func() { r.result.Findings = append(r.result.Findings, f) })
}

// Unknown records something that could not be looked at.
func (r *Recorder) Unknown(object string, why error) {
	r.record(func() { r.result.Unknown = append(r.result.Unknown, Unknown{object, why.Error()}) })
}

// Skip records that there is nothing here to look at, and why.
func (r *Recorder) Skip(why string) { r.record(func() { r.result.Skipped = why }) }

func (r *Recorder) record(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		f()
	}
}

// close returns what was recorded, in an order that does not depend on who was
// quicker.
func (r *Recorder) close() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	slices.SortStableFunc(r.result.Findings, func(a, b Finding) int { return compare(a.Object, b.Object) })
	slices.SortStableFunc(r.result.Unknown, func(a, b Unknown) int { return compare(a.Object, b.Object) })
	r.result.Status = statusOf(r.result)
	return r.result
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func statusOf(r Result) Status {
	has := func(s Severity) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == s })
	}
	switch {
	case has(Error):
		return StatusError
	case len(r.Unknown) > 0:
		return StatusUnknown
	case has(Warning):
		return StatusWarning
	case r.Skipped != "":
		return StatusSkipped
	}
	return StatusFine
}

// Worst returns the worst status of all results.
func Worst(results []Result) Status {
	order := []Status{StatusError, StatusUnknown, StatusWarning, StatusFine}
	for _, s := range order {
		if slices.ContainsFunc(results, func(r Result) bool { return r.Status == s }) {
			return s
		}
	}
	return StatusFine
}

// since is how long something took, to the hundredth of a second.
func since(began time.Time) float64 { return float64(time.Since(began).Milliseconds()/10) / 100 }
