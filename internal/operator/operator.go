package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	informers "bricklayer.csi/api/client/informers/api/v1alpha1"
	versioned "bricklayer.csi/api/client/versioned/typed/api/v1alpha1"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/pool"
)

// Options are what an Operator needs. All must be there but the times, Seen and Gone.
type Options struct {
	Client versioned.StoragePoolInterface
	// Informer runs, and has the pools.
	Informer informers.StoragePoolInformer
	// Members returns what serves a pool; false where nothing does yet.
	Members func(pool string) (Members, bool)
	Events  record.EventRecorder
	Log     *slog.Logger
	// Seen is told what was seen of a pool, and Gone of a pool that is no more;
	// both may be nil. They must not block.
	Seen func(Seen)
	Gone func(pool string)
	// Period is how often a pool is looked at when nothing happens.
	Period time.Duration
	// CapacityPeriod is how often a status is written for its figures alone.
	CapacityPeriod time.Duration
}

const (
	// DefaultPeriod lets a fault show in less than half a minute, though a node
	// may take nodeTime not to answer.
	DefaultPeriod = 10 * time.Second
	// DefaultCapacityPeriod keeps the writes of a busy pool few.
	DefaultCapacityPeriod = 30 * time.Second
	// firstRetry and lastRetry bound the pauses after a failure.
	firstRetry, lastRetry = 500 * time.Millisecond, 30 * time.Second
	// workers is how many pools are looked after at once.
	workers = 4
	// fieldManager owns the status in the eyes of server-side apply.
	fieldManager = "bricklayer"
)

// Operator looks after the pools of an API server. Make it with New.
type Operator struct {
	Options

	mu sync.Mutex
	// written is when a pool's status was written last.
	written map[string]time.Time
}

// New returns an operator.
func New(o Options) *Operator {
	if o.Period == 0 {
		o.Period = DefaultPeriod
	}
	if o.CapacityPeriod == 0 {
		o.CapacityPeriod = DefaultCapacityPeriod
	}
	if o.Seen == nil {
		o.Seen = func(Seen) {}
	}
	if o.Gone == nil {
		o.Gone = func(string) {}
	}
	return &Operator{Options: o, written: map[string]time.Time{}}
}

// Run looks after the pools until ctx ends. One process of an installation at a
// time may do so.
func (o *Operator) Run(ctx context.Context) {
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[string]{Name: "storagepools"},
	)
	handler, err := o.Informer.Informer().AddEventHandler(handler(queue))
	if err != nil {
		o.Log.ErrorContext(ctx, "StoragePools are not looked after: their informer has ended", "error", err)
		return
	}
	defer func() { _ = o.Informer.Informer().RemoveEventHandler(handler) }() // it fails where the informer has ended
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for o.next(ctx, queue) {
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	running.Wait()
}

// handler puts pools into the queue that are new, or not as they were. A status
// that was written is no reason: it is ours.
func handler(queue workqueue.TypedRateLimitingInterface[string]) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(added any) {
			if p, ok := added.(*v1alpha1.StoragePool); ok {
				queue.Add(p.Name)
			}
		},
		UpdateFunc: func(before, after any) {
			b, _ := before.(*v1alpha1.StoragePool)
			a, ok := after.(*v1alpha1.StoragePool)
			if ok && b != nil && (a.UID != b.UID || a.Generation != b.Generation || a.DeletionTimestamp != nil && b.DeletionTimestamp == nil) {
				queue.Add(a.Name)
			}
		},
	}
}

// next looks after the next pool in the queue; it returns false at the end.
func (o *Operator) next(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string]) bool {
	name, over := queue.Get()
	if over {
		return false
	}
	defer queue.Done(name)
	again, err := o.reconcile(ctx, name)
	switch {
	case ctx.Err() != nil:
	case err != nil && !apierrors.IsConflict(err):
		o.Log.WarnContext(ctx, "a StoragePool could not be looked after", "pool", name, "error", err)
		queue.AddRateLimited(name)
	case err != nil:
		queue.AddRateLimited(name) // somebody changed it meanwhile
	case again > 0:
		queue.Forget(name)
		queue.AddAfter(name, again)
	default:
		queue.Forget(name)
	}
	return true
}

// reconcile looks at one pool and says what it saw; it returns when to do so
// again, or 0 where the pool is gone.
func (o *Operator) reconcile(ctx context.Context, name string) (again time.Duration, err error) {
	found, err := o.Informer.Lister().Get(name)
	if apierrors.IsNotFound(err) {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.written, name)
		o.Gone(name)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	resource := pool.AsFile(found)
	var j judgement
	var members Members
	if faults := pool.Validate(&resource); len(faults) > 0 {
		j = invalid(&resource, found.Status, faults)
	} else {
		var served bool
		if members, served = o.Members(name); !served {
			return firstRetry, nil // whoever serves it has not heard of it yet
		}
		seen := observe(ctx, &resource, members)
		deeds := tend(ctx, &resource, members, seen)
		if slices.ContainsFunc(deeds, func(d deed) bool { return !d.refused }) {
			seen = observe(ctx, &resource, members)
		}
		seen.deeds = deeds
		j = judge(&resource, found.Status, seen)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err() // what was seen is the end, not the pool
	}
	o.announce(ctx, found, j.seen.deeds)
	o.Seen(j.shown(members)) // also where the API server is not there to be told
	if found.DeletionTimestamp != nil {
		if gone, err := o.release(ctx, found, &j); gone || err != nil {
			return 0, err
		}
	} else if err := o.hold(ctx, found); err != nil {
		return 0, err
	}
	if err := o.write(ctx, found, j.status); err != nil {
		return 0, err
	}
	return o.Period*9/10 + rand.N(o.Period/5+1), nil // #nosec G404 -- so that not all pools come at once
}

// invalid judges a pool that rules of the API server should have refused.
func invalid(p *v1alpha1.StoragePool, before v1alpha1.StoragePoolStatus, faults []error) judgement {
	j := judgement{pool: p, before: before, status: before}
	j.unknown = []string{"every node"}
	texts := make([]string, 0, len(faults))
	for _, f := range faults {
		texts = append(texts, short(f.Error()))
	}
	j.status.Conditions = nil
	j.set(v1alpha1.ConditionReady, false, "Invalid", "the pool is served as it was before, if at all: "+strings.Join(texts[:min(len(texts), maxListed)], "; "))
	return j
}

// hold puts the finalizer on a pool that has none.
func (o *Operator) hold(ctx context.Context, found *v1alpha1.StoragePool) error {
	if slices.Contains(found.Finalizers, v1alpha1.Finalizer) {
		return nil
	}
	changed := found.DeepCopy()
	changed.Finalizers = append(changed.Finalizers, v1alpha1.Finalizer)
	return o.setFinalizers(ctx, changed)
}

// release takes the finalizer off a pool that is to go, once no volume lives on
// it. Where some do, or nobody can tell, it says so in the judgement.
func (o *Operator) release(ctx context.Context, found *v1alpha1.StoragePool, j *judgement) (gone bool, err error) {
	counts := v1alpha1.VolumeCounts{}
	if j.status.Volumes != nil {
		counts = *j.status.Volumes
	}
	var why string
	switch {
	case counts.Plain > 0 || counts.LVM > 0:
		why = fmt.Sprintf("%d plain and %d LVM volumes live on it (%s): delete them first", counts.Plain, counts.LVM, strings.Join(counts.Names, ", "))
	case len(j.status.InUse) > 0:
		why = "there are brick directories on its roots, of volumes that were retained or archived, or of another pool; status.inUse names them"
	case len(j.unknown) > 0:
		why = "nobody can tell what volumes are on " + some(j.unknown, maxListed) + fmt.Sprintf(": bring them back, or take the finalizer %s off by hand if they are gone for good", v1alpha1.Finalizer)
	case time.Since(found.DeletionTimestamp.Time) < o.Period:
		why = "a volume that was being made could still come"
	default:
		changed := found.DeepCopy()
		changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == v1alpha1.Finalizer })
		if len(changed.Finalizers) == len(found.Finalizers) {
			return true, nil // somebody else's keeps it
		}
		o.Log.InfoContext(ctx, "a StoragePool goes: no volume lives on it", "pool", found.Name)
		return true, o.setFinalizers(ctx, changed)
	}
	j.replace(v1alpha1.ConditionReady, metav1.ConditionFalse, "Deleting", "no more volumes are made: the pool is deleted as soon as it may. "+why)
	return false, nil
}

// setFinalizers writes the finalizers of a pool that is otherwise as it was read.
func (o *Operator) setFinalizers(ctx context.Context, changed *v1alpha1.StoragePool) error {
	_, err := o.Client.Update(ctx, changed, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the finalizers of StoragePool %s: %w", changed.Name, err)
	}
	return nil
}

// replace puts a condition in the place of the one of its type.
func (j *judgement) replace(condition string, is metav1.ConditionStatus, reason, message string) {
	for i := range j.status.Conditions {
		if c := &j.status.Conditions[i]; c.Type == condition {
			c.Status, c.Reason, c.Message = is, reason, message
		}
	}
}

var errNoStatus = errors.New("it does not fit the resource's definition")
