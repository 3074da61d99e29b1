package provisioner

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"

	"bricklayer.csi/agent/agenttest"
	admission "bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/lifecycle/lifecycletest"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
)

const (
	testDriver     = "bricklayer.csi"
	testNamespace  = "default"
	testFinalizer  = testDriver + "/provisioning"
	testAnnotation = testDriver + "/volume-handle"
)

// hooks are the use cases with a test's own code before and after a call.
type hooks struct {
	Volumes
	mu      sync.Mutex
	before  func(ctx context.Context, op string, h volume.Handle) error
	after   func(ctx context.Context, op string, h volume.Handle) error
	creates map[volume.Handle]int
}

func (v *hooks) set(before, after func(context.Context, string, volume.Handle) error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.before, v.after = before, after
}

func (v *hooks) call(ctx context.Context, op string, h volume.Handle, do func() error) error {
	v.mu.Lock()
	before, after := v.before, v.after
	if op == "create" {
		v.creates[h]++
	}
	v.mu.Unlock()
	if before != nil {
		if err := before(ctx, op, h); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && after != nil {
		err = after(ctx, op, h)
	}
	return err
}

func (v *hooks) Create(ctx context.Context, spec volume.Spec) (made volume.Volume, err error) {
	err = v.call(ctx, "create", spec.Handle(), func() (err error) {
		made, err = v.Volumes.Create(ctx, spec)
		return err
	})
	return made, err
}

func (v *hooks) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (grown volume.Volume, err error) {
	err = v.call(ctx, "expand", h, func() (err error) {
		grown, err = v.Volumes.Expand(ctx, h, size)
		return err
	})
	return grown, err
}

func (v *hooks) Delete(ctx context.Context, h volume.Handle) error {
	return v.call(ctx, "delete", h, func() error { return v.Volumes.Delete(ctx, h) })
}

// lost is an outcome that nobody knows.
func lost(op string, h volume.Handle) error {
	return &volume.Error{Kind: volume.Unavailable, Op: op, On: h.String(), Err: fmt.Errorf("the connection broke")}
}

// world is a Kubernetes in memory beside storage nodes in memory, with the real
// library, use cases and plain backend between them.
type world struct {
	*fake.Clientset
	t       *testing.T
	cluster *agenttest.Cluster
	backend *plain.Backend
	volumes *hooks
	log     *syncBuffer
	stop    func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// quietLibrary drops what Kubernetes' libraries log of errors that tests provoke.
var quietLibrary = sync.OnceFunc(func() { klog.SetSlogLogger(discard()) })

// newWorld returns a world in which nothing runs yet. When the test ends there
// must be no volume and nothing left over.
func newWorld(t *testing.T, classes ...*storagev1.StorageClass) *world {
	t.Helper()
	quietLibrary()
	cluster := agenttest.New(agenttest.Default(3))
	config := plain.Config{Pool: cluster.Config().Pool, ClientNetworks: []string{"10.90.0.0/24"}, Guard: admission.Settings{Operations: 4}}
	for i, n := range cluster.Config().Nodes {
		node := plain.Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Agent: cluster.Nodes()[i]}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, r.Name)
		}
		config.Nodes = append(config.Nodes, node)
	}
	w := &world{Clientset: fake.NewClientset(), t: t, cluster: cluster, log: &syncBuffer{}}
	w.backend = plain.New(config, slog.New(slog.DiscardHandler))
	w.volumes = &hooks{
		Volumes: lifecycletest.OnePool{Pool: w.backend.Pool, Name: volume.Plain, Backing: w.backend}.Service(),
		creates: map[volume.Handle]int{},
	}
	w.behave()
	for _, c := range append(classes, class("bricks")) {
		if _, err := w.StorageV1().StorageClasses().Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		w.kill()
		cluster.CheckEmpty(t)
		if t.Failed() {
			t.Log(w.log)
		}
	})
	return w
}

// start runs a controller until kill, or the test's end.
func (w *world) start(change ...func(*Options)) {
	w.t.Helper()
	o := Options{
		Client: w.Clientset, Volumes: w.volumes, Driver: testDriver, Workers: 16, CallTimeout: 10 * time.Second,
		RetryFirst: 5 * time.Millisecond, RetryMost: 50 * time.Millisecond, Expand: true,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

// kill ends the controller, with what it keeps in memory.
func (w *world) kill() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// eventually waits for a condition.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.t.Fatalf("it never came to be: %s; events:\n%s", what, w.events())
		case <-tick.C:
		}
	}
}

// events returns all events, a line each.
func (w *world) events() string {
	list, err := w.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	for _, e := range list.Items {
		fmt.Fprintf(&b, "%s %s %s/%s: %s\n", e.Type, e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
	}
	return b.String()
}

func class(name string, change ...func(*storagev1.StorageClass)) *storagev1.StorageClass {
	c := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: name, UID: uuid.NewUUID()},
		Provisioner: testDriver,
		Parameters:  map[string]string{"lvm": "false"},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// claim makes a claim as it is once Kubernetes' own controller has said whose it is.
func (w *world) claim(name string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	className := "bricks"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: testNamespace, UID: uuid.NewUUID(),
			Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": testDriver},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}},
			StorageClassName: &className,
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	for _, f := range change {
		f(c)
	}
	made, err := w.CoreV1().PersistentVolumeClaims(testNamespace).Create(w.t.Context(), c, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// get returns a claim, or nil where there is none.
func (w *world) get(name string) *corev1.PersistentVolumeClaim {
	c, err := w.CoreV1().PersistentVolumeClaims(testNamespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return c
}

// pv returns the PersistentVolume of a claim, or nil.
func (w *world) pv(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	pv, err := w.CoreV1().PersistentVolumes().Get(context.Background(), "pvc-"+string(claim.UID), metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return pv
}

// bound waits until a claim is bound and carries no mark any more.
func (w *world) bound(name string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	w.eventually(name+" is bound and unmarked", func() bool {
		c := w.get(name)
		return c != nil && c.Status.Phase == corev1.ClaimBound && !slices.Contains(c.Finalizers, testFinalizer) && c.Annotations[testAnnotation] == ""
	})
	return w.get(name)
}

// remove deletes a claim, as a user does.
func (w *world) remove(name string) {
	w.t.Helper()
	if err := w.CoreV1().PersistentVolumeClaims(testNamespace).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// empty waits until there is no claim, PersistentVolume or volume.
func (w *world) empty() {
	w.t.Helper()
	w.eventually("nothing is left", func() bool {
		claims, err1 := w.CoreV1().PersistentVolumeClaims("").List(context.Background(), metav1.ListOptions{})
		pvs, err2 := w.CoreV1().PersistentVolumes().List(context.Background(), metav1.ListOptions{})
		return err1 == nil && err2 == nil && len(claims.Items) == 0 && len(pvs.Items) == 0 && w.count() == 0
	})
}

// count returns how many volumes there are.
func (w *world) count() int {
	all, err := w.backend.List(context.Background(), w.backend.Pool)
	if err != nil {
		return -1
	}
	return len(all)
}

// The parts of Kubernetes that the fake has not: finalizers hold a deletion
// back, and the controller of PersistentVolumes binds and releases. Reactors
// run one at a time.

var (
	claimsResource = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	pvsResource    = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
)

func (w *world) behave() {
	react := k8stesting.ObjectReaction(w.Tracker())
	w.PrependReactor("delete", "persistentvolumeclaims", w.deleteReaction(react))
	w.PrependReactor("delete", "persistentvolumes", w.deleteReaction(react))
	// The fake hands its own objects to those who watch; a server hands out copies.
	w.PrependWatchReactor("*", func(action k8stesting.Action) (bool, watch.Interface, error) {
		a := action.(k8stesting.WatchActionImpl)
		from, err := w.Tracker().Watch(a.GetResource(), a.GetNamespace(), a.ListOptions)
		if err != nil {
			return true, nil, err
		}
		return true, watch.Filter(from, func(e watch.Event) (watch.Event, bool) {
			e.Object = e.Object.DeepCopyObject()
			return e, true
		}), nil
	})
	changed := func(action k8stesting.Action) (bool, runtime.Object, error) {
		handled, o, err := react(action)
		if err == nil {
			w.settle(o)
		}
		return handled, o, err
	}
	for _, verb := range []string{"patch", "update", "create"} {
		w.PrependReactor(verb, "persistentvolumeclaims", changed)
		w.PrependReactor(verb, "persistentvolumes", changed)
	}
}

func (w *world) deleteReaction(react k8stesting.ReactionFunc) k8stesting.ReactionFunc {
	return func(action k8stesting.Action) (bool, runtime.Object, error) {
		d := action.(k8stesting.DeleteAction)
		o, err := w.Tracker().Get(d.GetResource(), d.GetNamespace(), d.GetName())
		if err != nil {
			return true, nil, err
		}
		m := o.(metav1.Object)
		if len(m.GetFinalizers()) > 0 {
			if m.GetDeletionTimestamp() == nil {
				now := metav1.Now()
				m.SetDeletionTimestamp(&now)
				return true, nil, w.Tracker().Update(d.GetResource(), o, d.GetNamespace())
			}
			return true, nil, nil
		}
		handled, result, err := react(action)
		w.released(o)
		return handled, result, err
	}
}

// settle binds what a change has made bindable, and removes what it set free.
func (w *world) settle(o runtime.Object) {
	m := o.(metav1.Object)
	resource := claimsResource
	if _, ok := o.(*corev1.PersistentVolume); ok {
		resource = pvsResource
	}
	if m.GetDeletionTimestamp() != nil && len(m.GetFinalizers()) == 0 {
		_ = w.Tracker().Delete(resource, m.GetNamespace(), m.GetName())
		w.released(o)
		return
	}
	pv, ok := o.(*corev1.PersistentVolume)
	if !ok || pv.Spec.ClaimRef == nil || pv.Status.Phase != "" {
		return
	}
	pv.Status.Phase = corev1.VolumeReleased
	found, err := w.Tracker().Get(claimsResource, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
	if claim, ok := found.(*corev1.PersistentVolumeClaim); err == nil && ok && claim.UID == pv.Spec.ClaimRef.UID {
		pv.Status.Phase = corev1.VolumeBound
		claim.Spec.VolumeName = pv.Name
		claim.Status.Phase = corev1.ClaimBound
		claim.Status.Capacity = pv.Spec.Capacity.DeepCopy()
		_ = w.Tracker().Update(claimsResource, claim, claim.Namespace)
	}
	_ = w.Tracker().Update(pvsResource, pv, "")
}

// released releases the PersistentVolume of a claim that went.
func (w *world) released(o runtime.Object) {
	claim, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	found, err := w.Tracker().Get(pvsResource, "", "pvc-"+string(claim.UID))
	if pv, ok := found.(*corev1.PersistentVolume); err == nil && ok {
		pv.Status.Phase = corev1.VolumeReleased
		_ = w.Tracker().Update(pvsResource, pv, "")
	}
}
