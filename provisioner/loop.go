package provisioner

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// loopWorkers is how many claims a loop works on at once.
const loopWorkers = 8

// loop works on the claims that concern it, each by one worker at a time, and
// again after a failure.
type loop struct {
	name     string
	concerns func(*corev1.PersistentVolumeClaim) bool
	sync     func(ctx context.Context, namespace, name string) error
	queue    workqueue.TypedRateLimitingInterface[string]
	workers  int
	pause    time.Duration
	log      *slog.Logger
}

func (c *Controller) newLoop(name string, concerns func(*corev1.PersistentVolumeClaim) bool, sync func(context.Context, string, string) error) *loop {
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(c.limiter(c.RetryMost), workqueue.TypedRateLimitingQueueConfig[string]{Name: name})
	return &loop{name: name, concerns: concerns, sync: sync, queue: queue, workers: min(loopWorkers, c.Workers), pause: c.RetryFirst, log: c.Log}
}

// handler puts claims into the queue.
func (l *loop) handler() cache.ResourceEventHandler {
	add := func(o any) {
		if claim, ok := o.(*corev1.PersistentVolumeClaim); ok && l.concerns(claim) {
			l.queue.Add(nameOf(claim))
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }}
}

// run works until the queue is shut down or ctx ends.
func (l *loop) run(ctx context.Context) {
	for ctx.Err() == nil {
		key, shutdown := l.queue.Get()
		if shutdown {
			return
		}
		l.one(ctx, key)
	}
}

func (l *loop) one(ctx context.Context, key string) {
	defer l.queue.Done(key)
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err == nil {
		err = l.sync(ctx, namespace, name)
	}
	if err == nil {
		l.queue.Forget(key)
		return
	}
	if errors.Is(err, errClaimBusy) {
		l.queue.AddAfter(key, l.pause) // that is no failure, and ends soon
		return
	}
	if ctx.Err() == nil {
		l.log.WarnContext(ctx, "work on a claim failed and is repeated", "work", l.name, "claim", key, "error", err)
	}
	l.queue.AddRateLimited(key)
}
