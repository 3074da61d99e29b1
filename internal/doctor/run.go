package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/doctor/host"
)

// Limits bound a run. A check that is not done in time is unknown, with what it
// has found until then, and delays nothing else.
type Limits struct {
	// Check is for one check.
	Check time.Duration
	// Answer is for one question to one storage node.
	Answer time.Duration
}

// DefaultLimits are for a cluster on one site.
var DefaultLimits = Limits{Check: 12 * time.Second, Answer: 5 * time.Second}

// TargetCluster is the target of checks of a site.
const TargetCluster = "cluster"

// OnHost runs the checks of one machine on it, all at once.
func OnHost(ctx context.Context, checks []Check, h *host.Host, limits Limits) []Result {
	var run []func(context.Context, *Recorder)
	var ids []string
	for _, c := range checks {
		if c.Host != nil {
			ids = append(ids, c.ID)
			run = append(run, func(ctx context.Context, r *Recorder) { c.Host(ctx, h, r) })
		}
	}
	return all(ctx, ids, h.Name, run, limits.Check)
}

// OnSite runs the checks of a site, all at once.
func OnSite(ctx context.Context, checks []Check, s *Site, limits Limits) []Result {
	var run []func(context.Context, *Recorder)
	var ids []string
	for _, c := range checks {
		if c.Site != nil {
			ids = append(ids, c.ID)
			run = append(run, func(ctx context.Context, r *Recorder) { c.Site(ctx, s, r) })
		}
	}
	return all(ctx, ids, TargetCluster, run, limits.Check)
}

func all(ctx context.Context, ids []string, target string, run []func(context.Context, *Recorder), limit time.Duration) []Result {
	results := make([]Result, len(ids))
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			began := time.Now()
			results[i] = one(ctx, run[i], limit)
			results[i].Check, results[i].Target, results[i].Seconds = ids[i], target, since(began)
		})
	}
	wg.Wait()
	return results
}

// one runs one check. A check that hangs in the kernel, on a dead mount say, is
// left behind: nothing can end it, and it holds nothing that others need.
func one(ctx context.Context, run func(context.Context, *Recorder), limit time.Duration) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was not done within %s", limit))
	defer cancel()
	var r Recorder
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			// A machine in trouble must not lose all other answers to one bug.
			if p := recover(); p != nil {
				r.Unknown("the check itself", fmt.Errorf("it failed, which is a bug of the doctor: %v", p))
			}
		}()
		run(ctx, &r)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// One that heeds its context says better what it waited for.
		grace := time.NewTimer(limit / 20)
		defer grace.Stop()
		select {
		case <-done:
		case <-grace.C:
			r.Unknown("the check itself", context.Cause(ctx))
		}
	}
	return r.close()
}

// Answer is what a storage node says of itself, and when.
type Answer struct {
	Storage
	agent.Description
	// Sent and Received bound when Clock was read.
	Sent, Received time.Time
	Err            error
}

// Answers asks all storage nodes at once, each within its time, and only the first
// time that it is called: the checks share the answers.
func (s *Site) Answers(ctx context.Context) []Answer {
	late := func(n Storage, err error) Answer { return Answer{Storage: n, Err: err} }
	s.once.Do(func() {
		s.answered = make(chan struct{})
		go func() {
			defer close(s.answered)
			// The one who asks first must not give up for the others.
			s.answers = Each(context.WithoutCancel(ctx), s.Storage, askStorage, late)
		}()
	})
	select {
	case <-s.answered:
		return s.answers
	case <-ctx.Done():
	}
	answers := make([]Answer, len(s.Storage))
	for i, n := range s.Storage {
		answers[i] = late(n, context.Cause(ctx))
	}
	return answers
}

func askStorage(ctx context.Context, n Storage) Answer {
	a := Answer{Storage: n, Sent: time.Now()}
	// The second answer comes over a connection that is there, so that the times
	// before and after it lie close together.
	if _, a.Err = n.Agent.Describe(ctx); a.Err == nil {
		a.Sent = time.Now()
		a.Description, a.Err = n.Agent.Describe(ctx)
	}
	a.Received = time.Now()
	return a
}

// Again returns the same site, of which nothing was asked yet.
func (s *Site) Again() *Site {
	return &Site{Local: s.Local, Kubernetes: s.Kubernetes, Server: s.Server, Storage: s.Storage, Heketis: s.Heketis, Dashboards: s.Dashboards}
}

// Each asks all of many at once, each within DefaultLimits.Answer, and returns
// what they said in their order. One that does not come back is given up.
func Each[T, A any](ctx context.Context, from []T, ask func(context.Context, T) A, late func(T, error) A) []A {
	answers := make([]A, len(from))
	var wg sync.WaitGroup
	for i, t := range from {
		wg.Go(func() {
			limit := DefaultLimits.Answer
			ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
			defer cancel()
			said := make(chan A, 1)
			go func() { said <- ask(ctx, t) }()
			select {
			case answers[i] = <-said:
			case <-ctx.Done():
				answers[i] = late(t, context.Cause(ctx))
			}
		})
	}
	wg.Wait()
	return answers
}

// Select returns the checks of those IDs, all where none is named, or the first
// ID that there is no check of.
func Select(checks []Check, ids []string) (some []Check, unknown string) {
	if len(ids) == 0 {
		return checks, ""
	}
	for _, id := range ids {
		i := slices.IndexFunc(checks, func(c Check) bool { return c.ID == id })
		if i < 0 {
			return nil, id
		}
		some = append(some, checks[i])
	}
	return some, ""
}
