package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	informers "bricklayer.csi/api/client/informers/api/v1alpha1"
	listers "bricklayer.csi/api/client/listers/api/v1alpha1"
	"bricklayer.csi/api/v1alpha1"
)

// syncTime is what an API server has to list its pools when a program starts.
const syncTime = 30 * time.Second

// Objects holds the pools of an API server and follows their changes. A pool
// that is not as it must be stays as it was. It is safe for concurrent use.
type Objects struct {
	lister listers.StoragePoolLister
	log    *slog.Logger

	mu    sync.Mutex // held while subscribers are told, so that all see one order
	pools []v1alpha1.StoragePool
	// said is what was said about pools that are not as they must be, once.
	said        map[string]string
	subscribers map[*subscriber]struct{}
}

// Follow returns the pools of an informer that runs, once it has them all.
func Follow(ctx context.Context, informer informers.StoragePoolInformer, log *slog.Logger) (*Objects, error) {
	o := &Objects{lister: informer.Lister(), log: log, said: map[string]string{}, subscribers: map[*subscriber]struct{}{}}
	registration, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { o.reload() }, UpdateFunc: func(any, any) { o.reload() }, DeleteFunc: func(any) { o.reload() },
	})
	if err != nil {
		return nil, fmt.Errorf("follow the StoragePools of the API server: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	if !cache.WaitForCacheSync(wait.Done(), registration.HasSynced) {
		return nil, fmt.Errorf("follow the StoragePools of the API server: %w: is the resource's definition there, and may this account list and watch storagepools.%s?",
			errors.Join(errUnsynced, ctx.Err()), v1alpha1.Group)
	}
	o.reload()
	return o, nil
}

var errUnsynced = errors.New("they could not be listed")

// Subscribe calls tell with the pools now in force, and again with all pools
// whenever some of them changed, one call at a time. It returns a function that
// ends that.
func (o *Objects) Subscribe(tell func([]v1alpha1.StoragePool)) (cancel func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &subscriber{tell: tell}
	o.subscribers[s] = struct{}{}
	tell(o.pools)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.subscribers, s)
	}
}

// Run returns when ctx ends; the informer does the work.
func (*Objects) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// reload reads all pools from the informer's cache.
func (o *Objects) reload() {
	o.mu.Lock()
	defer o.mu.Unlock()
	all, err := o.lister.List(labels.Everything())
	if err != nil {
		o.log.Error("StoragePools could not be read from the cache", "error", err)
		return
	}
	before := map[string]v1alpha1.StoragePool{}
	for _, p := range o.pools {
		before[p.Name] = p
	}
	var pools []v1alpha1.StoragePool
	for _, found := range all {
		p := AsFile(found)
		if fault := faultsOf(p); fault != "" {
			o.refuse(p.Name, fault)
			old, known := before[p.Name]
			if !known {
				continue
			}
			p = old
		} else {
			delete(o.said, p.Name)
		}
		pools = append(pools, p)
	}
	slices.SortFunc(pools, func(a, b v1alpha1.StoragePool) int { return strings.Compare(a.Name, b.Name) })
	if reflect.DeepEqual(pools, o.pools) {
		return // a status was written, most likely our own
	}
	o.pools = pools
	o.log.Info("pools changed", "pools", names(pools))
	for s := range o.subscribers {
		s.tell(pools)
	}
}

func (o *Objects) refuse(name, fault string) {
	if o.said[name] == fault {
		return
	}
	o.said[name] = fault
	o.log.Error("a StoragePool is not as it must be; it stays as it was", "pool", name, "error", fault)
}

// AsFile returns what a pool in an API server says, as it would stand in a file:
// with its defaults, and nothing of what the API server keeps about it but
// whether it is being deleted.
func AsFile(found *v1alpha1.StoragePool) v1alpha1.StoragePool {
	p := v1alpha1.StoragePool{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: found.Name, DeletionTimestamp: found.DeletionTimestamp},
	}
	found.Spec.DeepCopyInto(&p.Spec)
	p.SetDefaults()
	return p
}

// faultsOf returns what is wrong with a pool, in one line.
func faultsOf(p v1alpha1.StoragePool) string {
	faults := &Faults{}
	for _, f := range Validate(&p) {
		faults.add(p.Name, f.Error())
	}
	parts := make([]string, 0, len(faults.List))
	for _, f := range faults.List {
		parts = append(parts, f.Detail)
	}
	return strings.Join(parts, "; ")
}
