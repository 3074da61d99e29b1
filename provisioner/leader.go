package provisioner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The usual times of a lease in Kubernetes.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Lease is what candidates compete for: one of them leads.
type Lease struct {
	Client kubernetes.Interface
	// Namespace and Name are those of the Lease object, Identity is the
	// candidate's, different in every process.
	Namespace, Name, Identity string
	Log                       *slog.Logger

	// duration, renew and retry are the usual times, except in tests.
	duration, renew, retry time.Duration
}

// Lead runs work while this candidate leads, again each time that it is
// elected, until ctx ends. The lease is given back only after work has
// returned, so that no two leaders work at once for longer than a call that
// cannot be stopped takes. Losing it ends the work, not the process.
func (l Lease) Lead(ctx context.Context, work func(context.Context)) error {
	if l.Namespace == "" || l.Name == "" || l.Identity == "" {
		return errors.New("a lease needs a namespace, a name and an identity")
	}
	if l.duration == 0 {
		l.duration, l.renew, l.retry = leaseDuration, renewDeadline, retryPeriod
	}
	for ctx.Err() == nil {
		if err := l.term(ctx, work); err != nil {
			return err
		}
	}
	return nil
}

// term competes once, and leads until the lease is lost or ctx ends.
func (l Lease) term(ctx context.Context, work func(context.Context)) error {
	t := &term{Lease: l, work: work, over: make(chan struct{})}
	// The elector's own context outlives ours: at its end the lease is given back.
	elect, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	defer context.AfterFunc(ctx, func() { t.stopWaiting(release) })()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
			Client:     l.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: l.duration, RenewDeadline: l.renew, RetryPeriod: l.retry,
		ReleaseOnCancel: true,
		Name:            l.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(lost context.Context) { t.lead(ctx, lost, release) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("compete for the lease %s/%s: %w", l.Namespace, l.Name, err)
	}
	elector.Run(elect)
	t.wait()
	return nil
}

// term is one turn at competing. The elector calls lead in a goroutine of its
// own, perhaps late, and does not wait for it.
type term struct {
	Lease
	work func(context.Context)

	mu       sync.Mutex
	leading  bool
	finished bool
	over     chan struct{}
}

// begin reports whether the turn may begin to work.
func (t *term) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leading = !t.finished
	return t.leading
}

// lead works until the lease is lost or ctx ends, then gives the lease back.
func (t *term) lead(ctx, lost context.Context, release func()) {
	if !t.begin() {
		return
	}
	defer close(t.over)
	defer release()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(lost, stop)()
	t.Log.InfoContext(ctx, "this controller leads", "lease", t.Namespace+"/"+t.Name, "identity", t.Identity)
	t.work(ctx)
	t.Log.InfoContext(ctx, "this controller leads no more", "lease", t.Namespace+"/"+t.Name, "identity", t.Identity)
}

// stopWaiting ends the competition of a candidate that does not lead; one that
// does gives the lease back when its work has ended.
func (t *term) stopWaiting(release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finished = true
	if !t.leading {
		release()
	}
}

// wait returns when no work is done any more.
func (t *term) wait() {
	t.mu.Lock()
	t.finished = true
	leading := t.leading
	t.mu.Unlock()
	if leading {
		<-t.over
	}
}
