package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/api/client/informers"
	"bricklayer.csi/api/client/versioned/fake"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
)

// fakeHeketi answers what it is told.
type fakeHeketi struct {
	mu      sync.Mutex
	report  heketi.Report
	volumes []string
	err     error
}

func (f *fakeHeketi) Inspect(context.Context) (heketi.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report, f.err
}

func (f *fakeHeketi) List(context.Context, string) ([]volume.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []volume.Volume
	for _, name := range f.volumes {
		all = append(all, volume.Volume{Handle: volume.Handle{Backend: volume.Heketi, Pool: "lab", Name: name}})
	}
	return all, f.err
}

func (f *fakeHeketi) set(change func(f *fakeHeketi)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// world is a fake cluster with the pool that describes it.
type world struct {
	cluster *agenttest.Cluster
	heketi  *fakeHeketi
	pool    *v1alpha1.StoragePool
	backend *plain.Backend
}

func newWorld(nodes int) *world {
	config := agenttest.Default(nodes)
	w := &world{cluster: agenttest.New(config), heketi: &fakeHeketi{report: heketi.Report{Total: 40 * volume.GiB, Free: 30 * volume.GiB}}}
	w.pool = &v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "lab", Generation: 1}}
	w.pool.APIVersion, w.pool.Kind = v1alpha1.APIVersion, v1alpha1.Kind
	w.pool.Spec.ClientNetworks = []string{"10.90.0.0/24"}
	w.pool.Spec.Heketi = &v1alpha1.HeketiEndpoint{URL: "http://heketi:8080"}
	backend := plain.Config{Pool: "lab", Guard: guard.Settings{Operations: 4}}
	for _, n := range config.Nodes {
		node := v1alpha1.StorageNode{Name: n.Name, Address: n.Address, Zone: n.Zone}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, v1alpha1.BrickRoot{Name: r.Name, Path: r.Path})
		}
		w.pool.Spec.Nodes = append(w.pool.Spec.Nodes, node)
		backend.Nodes = append(backend.Nodes, plain.Node{
			Name: n.Name, Address: n.Address, Zone: n.Zone, Roots: []string{n.Roots[0].Name}, Agent: w.cluster.Node(n.Name),
		})
	}
	w.pool.SetDefaults()
	w.backend = plain.New(backend, slog.New(slog.DiscardHandler))
	return w
}

func (w *world) members(string) (Members, bool) {
	m := Members{
		Agents: map[string]Agent{}, Heketi: w.heketi,
		Guards: map[volume.BackendName]guard.State{volume.Plain: w.backend.Admission().State()},
	}
	for _, n := range w.pool.Spec.Nodes {
		m.Agents[n.Name] = w.cluster.Node(n.Name)
	}
	return m, true
}

func (w *world) create(t *testing.T, name string) volume.Volume {
	t.Helper()
	v, err := w.backend.Create(t.Context(), w.spec(name))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) spec(name string) volume.Spec {
	p, err := volume.ParseParameters(map[string]string{"lvm": "false", "pool": "lab"})
	if err != nil {
		panic(err)
	}
	return volume.Spec{Name: name, Size: volume.SizeRange{Required: volume.GiB}, Parameters: p}
}

func (w *world) judge(t *testing.T, before v1alpha1.StoragePoolStatus) judgement {
	t.Helper()
	m, _ := w.members("lab")
	return judge(w.pool, before, observe(t.Context(), w.pool, m))
}

// wrong returns the conditions that are not as in a pool that is well, as TYPE/REASON.
func wrong(s v1alpha1.StoragePoolStatus) string {
	var all []string
	for _, c := range s.Conditions {
		if c.Reason != reasonFine {
			all = append(all, c.Type+"/"+c.Reason)
		}
	}
	return strings.Join(all, " ")
}

func TestFaultsShowAndGo(t *testing.T) {
	tests := []struct {
		name      string
		spoil     func(w *world, v volume.Volume)
		mend      func(w *world, v volume.Volume)
		wrong     string
		condition string // of which the message is looked at
		says      string
	}{
		{
			name:  "a node is off",
			spoil: func(w *world, _ volume.Volume) { w.cluster.SetState("n2", agenttest.Off) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.SetState("n2", agenttest.Up) },
			wrong: "Degraded/AgentUnreachable", condition: v1alpha1.ConditionDegraded, says: "node n2 does not answer",
		},
		{
			name:  "glusterd is down",
			spoil: func(w *world, _ volume.Volume) { w.cluster.SetState("n2", agenttest.GlusterdDown) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.SetState("n2", agenttest.Up) },
			wrong: "Degraded/GlusterdDown", condition: v1alpha1.ConditionDegraded, says: "glusterd of node n2 does not answer",
		},
		{
			name:  "a node is short of memory",
			spoil: func(w *world, _ volume.Volume) { w.cluster.SetMemory("n2", 1500<<20, 100<<20, 0) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.SetMemory("n2", 1500<<20, 1200<<20, 0) },
			wrong: "Degraded/NodeShort", condition: v1alpha1.ConditionDegraded, says: "node n2 takes no further brick: it is short of memory",
		},
		{
			name:  "every node has as many bricks as it may",
			spoil: func(w *world, _ volume.Volume) { w.pool.Spec.Guard = &v1alpha1.Guard{MaxBricksPerNode: 1} },
			mend:  func(w *world, _ volume.Volume) { w.pool.Spec.Guard = nil },
			wrong: "Ready/NoUsableNode Degraded/NodeShort", condition: v1alpha1.ConditionReady, says: "node n3 takes no further brick: it has as many bricks as it may",
		},
		{
			name: "one operation after the other failed",
			spoil: func(w *world, _ volume.Volume) {
				w.cluster.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.MakeBrick, Moment: agenttest.Before}, 0, nil))
				for range guard.DefaultFailures {
					_, _ = w.backend.Create(context.Background(), w.spec("pvc-2"))
				}
			},
			mend: func(w *world, _ volume.Volume) {
				w.cluster.Fail(nil)
				_ = w.backend.Delete(context.Background(), w.spec("pvc-2").Handle())
			},
			wrong: "Degraded/BreakerOpen", condition: v1alpha1.ConditionDegraded, says: "volumes of the plain backend are neither made nor grown",
		},
		{
			name:  "a root is not mounted",
			spoil: func(w *world, _ volume.Volume) { w.cluster.SetMounted("n3", "root1", false) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.SetMounted("n3", "root1", true) },
			wrong: "Degraded/RootUnusable", condition: v1alpha1.ConditionDegraded, says: "root n3/root1: ",
		},
		{
			name:  "a clock is set back",
			spoil: func(w *world, _ volume.Volume) { w.cluster.SetClock("n1", -3*time.Minute, true) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.SetClock("n1", 0, true) },
			wrong: "TimeInSync/ClockOff", condition: v1alpha1.ConditionTimeInSync, says: "the clock of node n1 is off by -3m0s",
		},
		{
			name: "what others wrote fills the roots",
			spoil: func(w *world, _ volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.Fill(n, "root1", 19*volume.GiB)
				}
			},
			mend: func(w *world, _ volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.Fill(n, "root1", 0)
				}
			},
			wrong: "CapacityLow/AlmostPromised", condition: v1alpha1.ConditionCapacityLow, says: "less than 10 %",
		},
		{
			name: "bricks fill the roots, beyond what was promised",
			spoil: func(w *world, v volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.SetUsed(n, brick.Ref{Root: "root1", Volume: v.Handle.Name}, 19*volume.GiB, 1)
				}
			},
			mend: func(w *world, v volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.SetUsed(n, brick.Ref{Root: "root1", Volume: v.Handle.Name}, 0, 1)
				}
			},
			wrong: "CapacityLow/AlmostFull", condition: v1alpha1.ConditionCapacityLow, says: "less than 10 %",
		},
		{
			name:  "a peer is rejected",
			spoil: func(w *world, _ volume.Volume) { w.cluster.RejectPeer("n2", true) },
			mend:  func(w *world, _ volume.Volume) { w.cluster.RejectPeer("n2", false) },
			wrong: "Degraded/PeerRejected", condition: v1alpha1.ConditionDegraded, says: "node n2: ",
		},
		{
			name: "heketi refuses the key",
			spoil: func(w *world, _ volume.Volume) {
				w.heketi.set(func(f *fakeHeketi) {
					f.err = &volume.Error{Kind: volume.Denied, Op: "log in", Err: errors.New("bad key")}
				})
			},
			mend:  func(w *world, _ volume.Volume) { w.heketi.set(func(f *fakeHeketi) { f.err = nil }) },
			wrong: "HeketiReady/CredentialsRefused Ready/HeketiNotReady Degraded/HeketiCredentialsRefused", condition: v1alpha1.ConditionHeketiReady, says: "bad key",
		},
		{
			name: "heketi has no devices",
			spoil: func(w *world, _ volume.Volume) {
				w.heketi.set(func(f *fakeHeketi) { f.report.Findings = []heketi.Finding{{Bad: true, Detail: "no device is online"}} })
			},
			mend:  func(w *world, _ volume.Volume) { w.heketi.set(func(f *fakeHeketi) { f.report.Findings = nil }) },
			wrong: "HeketiReady/NotFit Ready/HeketiNotReady Degraded/HeketiNotFit", condition: v1alpha1.ConditionHeketiReady, says: "no device is online",
		},
		{
			name:  "clients are not restricted",
			spoil: func(w *world, _ volume.Volume) { w.pool.Spec.ClientNetworks = nil },
			mend:  func(w *world, _ volume.Volume) { w.pool.Spec.ClientNetworks = []string{"10.0.0.0/8"} },
			wrong: "ClientsRestricted/Open", condition: v1alpha1.ConditionClientsRestricted, says: "every host",
		},
		{
			name: "all nodes are off",
			spoil: func(w *world, _ volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.SetState(n, agenttest.Off)
				}
			},
			mend: func(w *world, _ volume.Volume) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.SetState(n, agenttest.Up)
				}
			},
			wrong:     "Ready/NoUsableNode Degraded/AgentUnreachable QuotaEnforced/NoAnswer TimeInSync/NoAnswer CapacityLow/NoAnswer",
			condition: v1alpha1.ConditionReady, says: "node n1 does not answer; node n2 does not answer",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(3)
			v := w.create(t, "pvc-1")
			before := w.judge(t, v1alpha1.StoragePoolStatus{}).status
			if got := wrong(before); got != "" {
				t.Fatalf("a sound pool has %s", got)
			}
			test.spoil(w, v)
			broken := w.judge(t, before).status
			if got := wrong(broken); got != test.wrong {
				t.Errorf("got %s, want %s", got, test.wrong)
			}
			if c := meta.FindStatusCondition(broken.Conditions, test.condition); c == nil || !strings.Contains(c.Message, test.says) {
				t.Errorf("%s: got %+v, want %q", test.condition, c, test.says)
			}
			// What does not answer keeps its volumes.
			if got := fmt.Sprint(broken.InUse, broken.Volumes.Plain, broken.Volumes.Names); got != fmt.Sprint(before.InUse, before.Volumes.Plain, before.Volumes.Names) {
				t.Errorf("volumes in use were forgotten: %v, before %v", got, before.InUse)
			}
			test.mend(w, v)
			if got := wrong(w.judge(t, broken).status); got != "" {
				t.Errorf("when it is mended there is %s", got)
			}
		})
	}
}

func TestStatusOfASoundPool(t *testing.T) {
	w := newWorld(3)
	v := w.create(t, "pvc-1")
	w.heketi.volumes = []string{"bl-heketi"}
	s := w.judge(t, v1alpha1.StoragePoolStatus{}).status
	if got := s.Capacity.Raw.String(); got != "60Gi" {
		t.Errorf("raw: %s", got)
	}
	if got := s.Capacity.Committed.String(); got != "3Gi" {
		t.Errorf("committed: %s", got)
	}
	if s.Volumes.Plain != 1 || s.Volumes.LVM != 1 || fmt.Sprint(s.Volumes.Names) != fmt.Sprintf("[%s %s]", "bl-heketi", v.Handle.Name) && fmt.Sprint(s.Volumes.Names) != fmt.Sprintf("[%s %s]", v.Handle.Name, "bl-heketi") {
		t.Errorf("volumes: %+v", s.Volumes)
	}
	for _, key := range []string{"n1/root1", "n2/root1", "n3/root1"} {
		if s.InUse[key] != v.Handle.Name {
			t.Errorf("in use: %v", s.InUse)
		}
	}
	ref := brick.Ref{Root: "root1", Volume: v.Handle.Name}
	w.cluster.WipeBrick("n2", ref)
	if got := wrong(w.judge(t, s).status); got != "QuotaEnforced/QuotaMissing" {
		t.Errorf("a quota is missing: %q", got)
	}
	// A new disk knows nothing; the bricks on the others do.
	m, _ := w.members("lab")
	seen := observe(t.Context(), w.pool, m)
	n2 := seen.nodes["n2"]
	n2.bricks = nil
	seen.nodes["n2"] = n2
	if got := judge(w.pool, s, seen).status.InUse["n2/root1"]; got != v.Handle.Name {
		t.Errorf("on the replaced disk: %q", got)
	}
}

// running is an operator on a fake API server.
type running struct {
	*world
	client *fake.Clientset
	events *record.FakeRecorder
	mu     sync.Mutex
	writes int
	seen   map[string]Seen
}

// start runs an operator in a bubble of time.
func start(t *testing.T, w *world, update ...k8stesting.ReactionFunc) *running {
	t.Helper()
	r := &running{world: w, client: fake.NewClientset(w.pool.DeepCopy()), events: record.NewFakeRecorder(1000), seen: map[string]Seen{}}
	r.client.PrependReactor("patch", "storagepools", func(k8stesting.Action) (bool, runtime.Object, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.writes++
		return false, nil, nil
	})
	for _, f := range update {
		r.client.PrependReactor("update", "storagepools", f)
	}
	factory := informers.NewSharedInformerFactory(r.client, 0)
	informer := factory.Bricklayer().V1alpha1().StoragePools()
	synced := informer.Informer().HasSynced
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced) {
		t.Fatal("the pools were not listed")
	}
	o := New(Options{
		Client: r.client.BricklayerV1alpha1().StoragePools(), Informer: informer, Members: w.members,
		Events: r.events, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Seen: func(s Seen) { r.mu.Lock(); defer r.mu.Unlock(); r.seen[s.Pool] = s },
		Gone: func(pool string) { r.mu.Lock(); defer r.mu.Unlock(); delete(r.seen, pool) },
	})
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); factory.Shutdown() })
	return r
}

func (r *running) get(t *testing.T) *v1alpha1.StoragePool {
	t.Helper()
	p, err := r.client.BricklayerV1alpha1().StoragePools().Get(t.Context(), "lab", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func TestStatusIsWrittenWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newWorld(3))
		pass(time.Second)
		p := r.get(t)
		if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) || p.Status.ObservedGeneration != 1 {
			t.Fatalf("status after a second: %+v", p.Status)
		}
		if fmt.Sprint(p.Finalizers) != "["+v1alpha1.Finalizer+"]" {
			t.Errorf("finalizers: %v", p.Finalizers)
		}
		pass(10 * time.Minute)
		if r.writes != 1 {
			t.Errorf("in ten quiet minutes the status was written %d times", r.writes)
		}
		r.cluster.SetState("n2", agenttest.Off)
		pass(15 * time.Second)
		p = r.get(t)
		degraded := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionDegraded)
		if degraded == nil || degraded.Status != metav1.ConditionTrue || time.Since(degraded.LastTransitionTime.Time) > 16*time.Second {
			t.Errorf("a node is off: %+v", degraded)
		}
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if time.Since(ready.LastTransitionTime.Time) < 10*time.Minute {
			t.Errorf("Ready did not turn: %+v", ready)
		}
		r.cluster.SetState("n2", agenttest.Up)
		pass(15 * time.Second)
		if got := wrong(r.get(t).Status); got != "" {
			t.Errorf("the node is back: %s", got)
		}
		close(r.events.Events)
		var events []string
		for e := range r.events.Events {
			events = append(events, e)
		}
		if len(events) != 2 || !strings.HasPrefix(events[0], "Warning DegradedAgentUnreachable") || !strings.HasPrefix(events[1], "Normal DegradedAsExpected") {
			t.Errorf("events: %q", events)
		}
	})
}

func TestFiguresAreWrittenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newWorld(3))
		pass(time.Minute)
		before := r.writes
		for i := range 100 {
			r.heketi.set(func(f *fakeHeketi) { f.report.Free -= volume.Size(i+1) * volume.MiB })
			pass(3 * time.Second)
		}
		if n := r.writes - before; n < 5 || n > 10 {
			t.Errorf("in five busy minutes the status was written %d times, want 5 to 10", n)
		}
	})
}

func TestPoolWithVolumesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		v := w.create(t, "pvc-1")
		now := metav1.Now()
		w.pool.DeletionTimestamp, w.pool.Finalizers = &now, []string{v1alpha1.Finalizer, "somebody/else"}
		r := start(t, w)
		pass(time.Minute)
		p := r.get(t)
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		if len(p.Finalizers) != 2 || ready == nil || ready.Reason != "Deleting" || !strings.Contains(ready.Message, v.Handle.Name) {
			t.Fatalf("a pool with a volume: finalizers %v, %+v", p.Finalizers, ready)
		}
		// The volume goes, and a node with it: nobody can tell then.
		if err := w.backend.Delete(t.Context(), v.Handle); err != nil {
			t.Fatal(err)
		}
		w.cluster.SetState("n1", agenttest.Off)
		pass(time.Minute)
		if p = r.get(t); len(p.Finalizers) != 2 {
			t.Fatalf("a node does not answer: finalizers %v", p.Finalizers)
		}
		w.cluster.SetState("n1", agenttest.Up)
		pass(time.Minute)
		if p = r.get(t); fmt.Sprint(p.Finalizers) != "[somebody/else]" {
			t.Errorf("the pool is empty: finalizers %v", p.Finalizers)
		}
	})
}

func TestConflictIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		s := start(t, newWorld(1), func(k8stesting.Action) (bool, runtime.Object, error) {
			if failed {
				return false, nil, nil
			}
			failed = true
			return true, nil, apierrors.NewConflict(v1alpha1.Resource("storagepools"), "lab", errors.New("it was changed"))
		})
		pass(5 * time.Second)
		if p := s.get(t); len(p.Finalizers) != 1 {
			t.Errorf("finalizers: %v", p.Finalizers)
		}
	})
}

// What was seen is told, with what is not in the status, and forgotten with the pool.
func TestSeenIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		w.cluster.SetClock("n1", 90*time.Second, false)
		w.cluster.SetState("n3", agenttest.Off)
		r := start(t, w)
		pass(time.Minute)
		r.mu.Lock()
		seen := r.seen["lab"]
		r.mu.Unlock()
		if len(seen.Nodes) != 3 || seen.Nodes[0].Name != "n1" || seen.Nodes[0].ClockSynchronised || seen.Nodes[0].Offset.Round(time.Second) != 90*time.Second {
			t.Fatalf("seen: %+v", seen.Nodes)
		}
		if !seen.Nodes[1].Reachable || !seen.Nodes[1].GlusterdReady || len(seen.Nodes[1].Roots) != 1 || seen.Nodes[2].Reachable {
			t.Errorf("seen: %+v", seen.Nodes[1:])
		}
		if got := wrong(seen.Status); got != "Degraded/AgentUnreachable TimeInSync/ClockOff" {
			t.Errorf("conditions: %s", got)
		}
		if age := time.Since(seen.At); age > DefaultPeriod*11/10 {
			t.Errorf("the last look is %v old", age)
		}
		if err := r.client.BricklayerV1alpha1().StoragePools().Delete(t.Context(), "lab", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.seen) != 0 {
			t.Errorf("the pool is gone, and still seen: %v", r.seen)
		}
	})
}

// Nodes are not called unreachable that nobody asked.
func TestSeenOfAnInvalidPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.pool.Spec.Nodes[0].Roots = nil
		r := start(t, w)
		pass(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if seen := r.seen["lab"]; len(seen.Nodes) != 0 || wrong(seen.Status) != "Ready/Invalid" {
			t.Errorf("seen: %+v", seen)
		}
	})
}

// Pools that no API server has are judged the same way.
func TestLook(t *testing.T) {
	w := newWorld(2)
	w.cluster.SetState("n2", agenttest.GlusterdDown)
	m, _ := w.members("lab")
	m.CertificateExpires = time.Unix(1e9, 0)
	seen := Look(t.Context(), w.pool, v1alpha1.StoragePoolStatus{}, m)
	if got := wrong(seen.Status); got != "Degraded/GlusterdDown" || seen.Nodes[1].GlusterdReady || !seen.CertificateExpires.Equal(m.CertificateExpires) {
		t.Errorf("%s, %+v", got, seen)
	}
}

// What the API server cannot judge of a pool's defaults, its status tells.
func TestBadDefaultsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.pool.Spec.Defaults = map[string]string{"volumetype": "raid5"}
		r := start(t, w)
		pass(time.Minute)
		status := r.get(t).Status
		ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
		if wrong(status) != "Ready/Invalid" || !strings.Contains(ready.Message, `spec.defaults.volumetype: "raid5" is not allowed`) {
			t.Errorf("%s: %+v", wrong(status), ready)
		}
	})
}
