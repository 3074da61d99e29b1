package provisioner

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller/metrics"

	"bricklayer.csi/internal/volume"
)

// Defaults of Options.
const (
	DefaultWorkers     = 64
	DefaultCallTimeout = 2 * time.Minute
	DefaultRetryFirst  = time.Second
	DefaultRetryMost   = 2 * time.Minute
)

// storeMost bounds the pauses between attempts to store a PersistentVolume.
const storeMost = 10 * time.Second

// Options are what a Controller is made of.
type Options struct {
	// Client reaches the API server.
	Client kubernetes.Interface
	// Volumes are the use cases.
	Volumes Volumes
	// Driver is the CSI driver's name, which classes name as their provisioner.
	Driver string
	// Workers is how many claims and how many PersistentVolumes are worked on at
	// once. Most of them wait for their turn at a pool, and one pool that does
	// not answer must not take them all.
	Workers int
	// CallTimeout bounds one call for a volume. It is repeated after that.
	CallTimeout time.Duration
	// RetryFirst and RetryMost bound the pauses before a failed call is
	// repeated; each is twice the one before.
	RetryFirst, RetryMost time.Duration
	// Expand grows volumes; false leaves that to the standard resizer.
	Expand bool
	// Capacity publishes the capacity of classes for the scheduler.
	Capacity CapacityOptions
	// Metrics takes the metrics of sig-storage-lib; nil for none.
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Controller provisions the claims of one driver. Make it with New.
type Controller struct {
	Options
	metrics metrics.Metrics
}

// New checks the options, fills in the defaults, and returns a Controller.
func New(o Options) (*Controller, error) {
	// The driver's name opens the names of a finalizer and of an annotation.
	if bad := validation.IsDNS1123Subdomain(o.Driver); len(bad) > 0 {
		return nil, volume.NewFieldError("driver", o.Driver, "a DNS name in small letters, such as bricklayer.csi")
	}
	if o.Client == nil || o.Volumes == nil || o.Log == nil {
		return nil, errors.New("a provisioner needs a client, volumes and a log")
	}
	for _, d := range []struct {
		to      *time.Duration
		instead time.Duration
	}{{&o.CallTimeout, DefaultCallTimeout}, {&o.RetryFirst, DefaultRetryFirst}, {&o.RetryMost, DefaultRetryMost}, {&o.Capacity.Period, DefaultCapacityPeriod}} {
		if *d.to <= 0 {
			*d.to = d.instead
		}
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	sealScheme()
	c := &Controller{Options: o, metrics: metrics.New("controller")}
	if o.Metrics == nil {
		return c, nil
	}
	for _, m := range []prometheus.Collector{
		c.metrics.PersistentVolumeClaimProvisionTotal, c.metrics.PersistentVolumeClaimProvisionFailedTotal,
		c.metrics.PersistentVolumeClaimProvisionDurationSeconds, c.metrics.PersistentVolumeDeleteTotal,
		c.metrics.PersistentVolumeDeleteFailedTotal, c.metrics.PersistentVolumeDeleteDurationSeconds,
	} {
		if err := o.Metrics.Register(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// sealScheme keeps sig-storage-lib from writing to client-go's scheme, which it
// does through this variable whenever a controller is made. The types are in there since the program
// began, and at our second term as leader others read it: those who renew the
// lease, and those who read Secrets.
var sealScheme = sync.OnceFunc(func() {
	add := corev1.AddToScheme
	corev1.AddToScheme = func(s *runtime.Scheme) error {
		if s == scheme.Scheme {
			return nil
		}
		return add(s)
	}
})

// Run provisions until ctx ends, and returns when all that it began has
// returned. It may be run again, but not twice at once: see Lead.
func (c *Controller) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.FromSlogHandler(Quiet{c.Log.Handler()})))
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(c.Client, controller.DefaultResyncPeriod, informers.WithTransform(slim))
	claims, pvs, classes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes(), factory.Storage().V1().StorageClasses()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.Client.CoreV1().Events("")})
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: c.Driver})

	volumes := c.Volumes
	room := c.newCapacities(classes.Lister(), events)
	if room != nil {
		volumes = telling{volumes, room.changed}
		_, _ = classes.Informer().AddEventHandler(room.handler()) // fails only where the informer has stopped
	}
	g := &guard{
		client: c.Client, driver: c.Driver, volumes: volumes, claims: claims.Lister(), events: events, log: c.Log, timeout: c.CallTimeout,
		working: map[types.UID]context.CancelFunc{}, made: map[types.UID]time.Time{},
	}
	loops := []*loop{c.newLoop("cleanup", g.concerns, g.sync)}
	if c.Expand {
		e := &expander{
			client: c.Client, driver: c.Driver, volumes: volumes, claims: claims.Lister(), pvs: pvs.Lister(),
			events: events, log: c.Log, timeout: c.CallTimeout,
		}
		loops = append(loops, c.newLoop("expand", e.concerns, e.sync))
	}
	for _, l := range loops {
		_, _ = claims.Informer().AddEventHandler(l.handler())
	}
	_, _ = pvs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { g.seen(nameOfObject(o)) }, DeleteFunc: func(o any) { g.seen(nameOfObject(o)) },
	})
	var working sync.WaitGroup
	library := controller.NewProvisionController(ctx, c.Client, c.Driver,
		&provisioner{driver: c.Driver, volumes: volumes, claims: claims.Lister(), nodes: c.Client.CoreV1().Nodes(), guard: g, events: events, log: c.Log},
		c.libraryOptions(claims.Informer(), pvs.Informer(), classes.Informer(), &working)...)

	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel() // before Shutdown, which waits for the informers to end
	factory.WaitForCacheSync(ctx.Done())
	for _, l := range loops {
		for range l.workers {
			working.Go(func() { l.run(ctx) })
		}
	}
	if room != nil {
		working.Go(func() { room.run(ctx) })
	}
	c.Log.InfoContext(ctx, "provisioner starts", "driver", c.Driver, "workers", c.Workers, "expand", c.Expand)
	library.Run(ctx)
	for _, l := range loops {
		l.queue.ShutDown()
	}
	working.Wait()
	c.Log.InfoContext(ctx, "provisioner has stopped", "driver", c.Driver)
}

// newCapacities returns what publishes capacity, or nil where nobody wants it.
func (c *Controller) newCapacities(classes storagelisters.StorageClassLister, events record.EventRecorder) *capacities {
	if c.Capacity.Namespace == "" {
		return nil
	}
	return &capacities{
		CapacityOptions: c.Capacity, client: c.Client, driver: c.Driver, volumes: c.Volumes, classes: classes, events: events,
		log: c.Log, timeout: c.CallTimeout, rest: min(capacityRest, c.Capacity.Period),
		wake: make(chan struct{}, 1), told: map[types.UID]string{},
	}
}

// libraryOptions configure sig-storage-lib. None of them can fail: the library
// ends the process where one does.
func (c *Controller) libraryOptions(claims cache.SharedIndexInformer, pvs, classes cache.SharedInformer, working *sync.WaitGroup) []func(*controller.ProvisionController) error {
	inGroup := func(p *controller.ProvisionController) error {
		p.ControllerWaitGroup(working)
		return nil
	}
	return []func(*controller.ProvisionController) error{
		controller.ClaimsInformer(claims),
		controller.VolumesInformer(pvs),
		controller.ClassesInformer(classes),
		controller.Threadiness(c.Workers),
		controller.ProvisionTimeout(c.CallTimeout),
		controller.DeletionTimeout(c.CallTimeout),
		controller.RateLimiter(c.limiter(c.RetryMost)),
		controller.CreateProvisionedPVLimiter(c.limiter(min(storeMost, c.RetryMost))), // never delete a volume because the API server is away
		controller.FailedProvisionThreshold(0),                                        // to give up would leak what is being made
		controller.FailedDeleteThreshold(0),
		controller.AddFinalizer(true),
		controller.LeaderElection(false), // its loss would end the process, and with it the CSI service: see Lead
		controller.MetricsInstance(c.metrics),
		inGroup,
	}
}

func (c *Controller) limiter(most time.Duration) workqueue.TypedRateLimiter[string] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[string](min(c.RetryFirst, most), most)
}

// Quiet is a handler for what Kubernetes' libraries log: warnings and errors.
// They tell of each attempt and each event too, as we do already, by several
// lines each.
type Quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q Quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (q Quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return Quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q Quiet) WithGroup(name string) slog.Handler { return Quiet{q.Handler.WithGroup(name)} }

// slim drops what nobody here reads and what is the larger part of many objects.
func slim(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	return o, nil
}

func nameOfObject(o any) string {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		return gone.Key
	}
	if m, err := meta.Accessor(o); err == nil {
		return m.GetName()
	}
	return ""
}
