package provisioner

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"bricklayer.csi/internal/volume"
)

// CapacityOptions say where the capacity of classes is published, for the
// scheduler, which then sends no pod to wait for a volume that has no room.
type CapacityOptions struct {
	// Namespace takes the CSIStorageCapacity objects; empty publishes none.
	Namespace string
	// Owner is the Deployment in that namespace with which they go; empty leaves
	// them when this program is removed.
	Owner string
	// Period is how often capacity is measured when nothing happens.
	Period time.Duration
}

// DefaultCapacityPeriod is that of external-provisioner.
const DefaultCapacityPeriod = time.Minute

// Labels of the objects, as external-provisioner has them.
const (
	driverLabel    = "csi.storage.k8s.io/drivername"
	managedByLabel = "csi.storage.k8s.io/managed-by"
	managedBy      = "bricklayer"
)

// capacityRest is the least time between two measurements: a storm of claims
// must not become a storm of questions to the storage nodes.
const capacityRest = 2 * time.Second

// capacityTime bounds the measurement of one class: a pool that hangs must not
// hold up the others.
const capacityTime = 15 * time.Second

const reasonCapacityUnknown = "CapacityUnknown"

// capacities publishes what there is room for, a class that waits for its first
// consumer; of other classes the scheduler does not ask.
type capacities struct {
	CapacityOptions
	client  kubernetes.Interface
	driver  string
	volumes Volumes
	classes listers.StorageClassLister
	events  record.EventRecorder
	log     *slog.Logger
	timeout time.Duration
	rest    time.Duration
	wake    chan struct{}
	// told is what was said about a class without a capacity, said once.
	told map[types.UID]string
}

// changed has the capacity measured soon.
func (c *capacities) changed() {
	select {
	case c.wake <- struct{}{}:
	default: // it will be
	}
}

// handler measures anew when classes come, change or go.
func (c *capacities) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.changed() }, DeleteFunc: func(any) { c.changed() },
		UpdateFunc: func(before, after any) {
			b, _ := before.(*storagev1.StorageClass)
			if a, ok := after.(*storagev1.StorageClass); ok && b != nil && a.ResourceVersion != b.ResourceVersion {
				c.changed() // and not a mere resync
			}
		},
	}
}

// run publishes until ctx ends. The objects stay: another controller takes over.
func (c *capacities) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.publish(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "the capacity of StorageClasses was not published in full", "error", err)
		}
		if wait(ctx, nil, c.rest) {
			wait(ctx, c.wake, c.Period)
		}
	}
}

// wait returns when woken, after d, or, with false, when ctx ends.
func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// publish measures the capacity of each class, writes what changed, and removes
// the objects of classes that are gone.
func (c *capacities) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	owners, err := c.owners(ctx)
	if err != nil {
		return err
	}
	mine := labels.Set{driverLabel: c.driver, managedByLabel: managedBy}
	list, err := c.client.StorageV1().CSIStorageCapacities(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: mine.String()})
	if err != nil {
		return fmt.Errorf("list CSIStorageCapacity objects in namespace %s: %w", c.Namespace, err)
	}
	classes, err := c.classes.List(labels.Everything())
	if err != nil {
		return err
	}
	there := map[string]*storagev1.CSIStorageCapacity{}
	for i := range list.Items {
		there[list.Items[i].Name] = &list.Items[i]
	}
	var errs []error
	for _, class := range classes {
		if class.Provisioner != c.driver || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
			continue
		}
		name := capacityName(c.driver, class.Name)
		room, err := c.measure(ctx, class)
		if err == nil {
			err = c.put(ctx, there[name], c.object(name, class, room, mine, owners))
		} else if volume.KindOf(err).Definite() {
			continue // and what is there is removed
		}
		delete(there, name)
		errs = append(errs, err)
	}
	for name := range there {
		err := c.client.StorageV1().CSIStorageCapacities(c.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// owners returns the owner of the objects. It is asked for each time: a
// Deployment that was made anew is another one.
func (c *capacities) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	if c.Owner == "" {
		return nil, nil
	}
	d, err := c.client.AppsV1().Deployments(c.Namespace).Get(ctx, c.Owner, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the Deployment that shall own them: %w", err)
	}
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name, UID: d.UID}}, nil
}

// measure returns the room for volumes of a class. Of a class that can have none,
// as it is written, it tells its administrator; a part that does not answer
// leaves what is known.
func (c *capacities) measure(ctx context.Context, class *storagev1.StorageClass) (volume.Capacity, error) {
	ctx, cancel := context.WithTimeout(ctx, capacityTime)
	defer cancel()
	var room volume.Capacity
	_, err := classSpec(c.volumes, class, "capacity", volume.SizeRange{})
	if err == nil {
		room, err = c.volumes.Capacity(ctx, class.Parameters, zonesOf(class.AllowedTopologies))
	}
	if err == nil {
		delete(c.told, class.UID)
		return room, nil
	}
	if say := text(err); volume.KindOf(err).Definite() && c.told[class.UID] != say {
		c.told[class.UID] = say
		c.events.Event(class, corev1.EventTypeWarning, reasonCapacityUnknown, text(fmt.Errorf("no pod that waits for a volume of this class is scheduled: %w", err)))
		c.log.WarnContext(ctx, "a StorageClass has no capacity", "class", class.Name, "error", err)
	}
	return room, fmt.Errorf("measure the capacity of StorageClass %s: %w", class.Name, err)
}

// capacityName is the same in every controller, so that two make no two objects.
func capacityName(driver, class string) string {
	sum := sha256.Sum256([]byte(driver + "/" + class))
	return "csisc-" + hex.EncodeToString(sum[:10])
}

// object describes the capacity of a class to the scheduler. It holds on every
// node: all reach all volumes, and the class's allowedTopologies the scheduler
// heeds by itself.
func (c *capacities) object(name string, class *storagev1.StorageClass, room volume.Capacity, marks labels.Set, owners []metav1.OwnerReference) *storagev1.CSIStorageCapacity {
	available, largest := quantity(room.Available), quantity(room.Largest)
	return &storagev1.CSIStorageCapacity{
		ObjectMeta:        metav1.ObjectMeta{Name: name, Namespace: c.Namespace, Labels: marks, OwnerReferences: owners},
		StorageClassName:  class.Name,
		NodeTopology:      &metav1.LabelSelector{},
		Capacity:          &available,
		MaximumVolumeSize: &largest,
	}
}

// put writes an object where it differs from what is there.
func (c *capacities) put(ctx context.Context, was, want *storagev1.CSIStorageCapacity) error {
	objects := c.client.StorageV1().CSIStorageCapacities(c.Namespace)
	if was == nil {
		_, err := objects.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	same := was.Capacity != nil && was.MaximumVolumeSize != nil &&
		cmp.Or(was.Capacity.Cmp(*want.Capacity), was.MaximumVolumeSize.Cmp(*want.MaximumVolumeSize)) == 0 &&
		equality.Semantic.DeepEqual(was.OwnerReferences, want.OwnerReferences)
	if same {
		return nil
	}
	want.ResourceVersion = was.ResourceVersion
	_, err := objects.Update(ctx, want, metav1.UpdateOptions{})
	return err
}

// telling has the capacity measured after whatever changes it.
type telling struct {
	Volumes
	changed func()
}

func (t telling) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	defer t.changed()
	return t.Volumes.Create(ctx, spec)
}

func (t telling) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	defer t.changed()
	return t.Volumes.Expand(ctx, h, size)
}

func (t telling) Delete(ctx context.Context, h volume.Handle) error {
	defer t.changed()
	return t.Volumes.Delete(ctx, h)
}
