package poolmetrics

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/agent"
	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/operator"
	"bricklayer.csi/internal/volume"
)

// sample is a pool with a node that is well and one that does not answer.
func sample() operator.Seen {
	s := operator.Seen{Pool: "fast", At: time.Unix(1000, 0), CertificateExpires: time.Unix(5000, 0)}
	s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	s.Status.Volumes = &v1alpha1.VolumeCounts{Plain: 7, LVM: 2}
	s.Status.Nodes = []v1alpha1.NodeStatus{
		{Name: "n1", Roots: []v1alpha1.RootStatus{{Name: "r1"}, {Name: "r2", Problem: "it is not mounted"}}},
		{Name: "n2", Roots: []v1alpha1.RootStatus{{Name: "r1"}}},
	}
	s.Nodes = []operator.SeenNode{
		{Name: "n1", Reachable: true, Offset: 1500 * time.Millisecond, Description: agent.Description{
			GlusterdReady: true, MemoryTotal: 8 << 30, MemoryAvailable: 2 << 30, MemoryPressure: 12.5, BrickProcesses: 3, BrickMemory: 60 << 20,
			Clock: time.Unix(1001, 0), ClockSynchronised: true, CertificateExpires: time.Unix(6000, 0),
			Roots: []brick.RootState{
				{Name: "r1", Total: 100 * volume.GiB, Free: 60 * volume.GiB, Committed: 70 * volume.GiB, Available: 25 * volume.GiB, Bricks: 3, Trash: 1},
				{Name: "r2", Problem: "it is not mounted", Total: 10 * volume.GiB},
				{Name: "other", Total: volume.GiB}, // of another pool
			},
		}},
		{Name: "n2"},
	}
	return s
}

func TestWhatIsTold(t *testing.T) {
	var c Collector
	c.Seen(sample())
	want := `
# HELP bricklayer_node_reachable 1 where the agent of the storage node answered.
# TYPE bricklayer_node_reachable gauge
bricklayer_node_reachable{node="n1",pool="fast"} 1
bricklayer_node_reachable{node="n2",pool="fast"} 0
# HELP bricklayer_node_clock_offset_seconds How far the clock of the storage node is ahead of the controller's.
# TYPE bricklayer_node_clock_offset_seconds gauge
bricklayer_node_clock_offset_seconds{node="n1",pool="fast"} 1.5
# HELP bricklayer_node_memory_pressure_ratio Share of the last ten seconds in which some task waited for memory, 0 to 1; absent where the kernel does not tell.
# TYPE bricklayer_node_memory_pressure_ratio gauge
bricklayer_node_memory_pressure_ratio{node="n1",pool="fast"} 0.125
# HELP bricklayer_pool_condition 1 for the status that a condition of the pool has (true, false, unknown), 0 for the others.
# TYPE bricklayer_pool_condition gauge
bricklayer_pool_condition{condition="Ready",pool="fast",status="false"} 0
bricklayer_pool_condition{condition="Ready",pool="fast",status="true"} 1
bricklayer_pool_condition{condition="Ready",pool="fast",status="unknown"} 0
# HELP bricklayer_root_available_bytes What can still be promised to bricks on the brick root.
# TYPE bricklayer_root_available_bytes gauge
bricklayer_root_available_bytes{node="n1",pool="fast",root="r1"} 2.68435456e+10
# HELP bricklayer_root_usable 1 where the brick root can take bricks.
# TYPE bricklayer_root_usable gauge
bricklayer_root_usable{node="n1",pool="fast",root="r1"} 1
bricklayer_root_usable{node="n1",pool="fast",root="r2"} 0
# HELP bricklayer_node_certificate_expiry_timestamp_seconds When the certificate of the agent ends, in Unix time.
# TYPE bricklayer_node_certificate_expiry_timestamp_seconds gauge
bricklayer_node_certificate_expiry_timestamp_seconds{node="n1",pool="fast"} 6000
`
	if err := testutil.CollectAndCompare(&c, strings.NewReader(want),
		"bricklayer_node_reachable", "bricklayer_node_clock_offset_seconds", "bricklayer_node_memory_pressure_ratio",
		"bricklayer_pool_condition", "bricklayer_root_available_bytes", "bricklayer_root_usable", "bricklayer_node_certificate_expiry_timestamp_seconds"); err != nil {
		t.Error(err)
	}
	// One pool, two nodes, two roots: whatever agents say, there are no more series.
	if n := testutil.CollectAndCount(&c); n != 1+3+2+1+2+9+2+6 {
		t.Errorf("%d series", n)
	}
}

func TestNamesAreByConvention(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var c Collector
	c.Seen(sample())
	registry.MustRegister(&c)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// Each that is described is told of a pool that is well.
	if n, err := testutil.GatherAndCount(registry); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != len(descriptions) {
		t.Errorf("%d metrics are described, %d told: %v", len(descriptions), len(families), err)
	}
}

// pools is what serves a pool in a fake cluster.
func pools(cluster *agenttest.Cluster) []Pool {
	p := Pool{Resource: v1alpha1.StoragePool{ObjectMeta: metav1.ObjectMeta{Name: "lab"}}, Members: operator.Members{Agents: map[string]operator.Agent{}}}
	for _, n := range cluster.Config().Nodes {
		p.Resource.Spec.Nodes = append(p.Resource.Spec.Nodes, v1alpha1.StorageNode{
			Name: n.Name, Address: n.Address, Roots: []v1alpha1.BrickRoot{{Name: n.Roots[0].Name, Path: n.Roots[0].Path}},
		})
		p.Members.Agents[n.Name] = cluster.Node(n.Name)
	}
	p.Resource.SetDefaults()
	return []Pool{p}
}

// stuck answers nothing before its caller gives up.
type stuck struct{ operator.Agent }

func (stuck) Describe(ctx context.Context) (agent.Description, error) {
	<-ctx.Done()
	return agent.Description{}, ctx.Err()
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all atomic.Pointer[[]Pool]
		set := func(p []Pool) { all.Store(&p) }
		set(pools(agenttest.New(agenttest.Default(3))))
		var c Collector
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Watch(ctx, DefaultPeriod, func() []Pool { return *all.Load() }); close(ended) }()
		pass(time.Second)
		if got := reachable(t, &c); got != 3 {
			t.Fatalf("%v nodes are reachable", got)
		}
		// One hangs: a scrape does not wait for it, and then it is said.
		hangs := pools(agenttest.New(agenttest.Default(3)))
		hangs[0].Members.Agents["n2"] = stuck{hangs[0].Members.Agents["n2"]}
		set(hangs)
		pass(DefaultPeriod)
		if began, got := time.Now(), reachable(t, &c); got != 3 || time.Since(began) != 0 {
			t.Errorf("while a node is waited for: %v nodes are reachable, after %v", got, time.Since(began))
		}
		pass(10 * time.Second)
		if got := reachable(t, &c); got != 2 {
			t.Errorf("a node hangs: %v nodes are reachable", got)
		}
		set(nil)
		pass(DefaultPeriod * 2)
		if n := testutil.CollectAndCount(&c); n != 0 {
			t.Errorf("the pool is gone, and there are %d series", n)
		}
		set(pools(agenttest.New(agenttest.Default(1))))
		pass(DefaultPeriod)
		cancel()
		<-ended
		if n := testutil.CollectAndCount(&c); n != 0 {
			t.Errorf("nobody looks any more, and there are %d series", n)
		}
	})
}

// reachable adds up bricklayer_node_reachable.
func reachable(t *testing.T, c *Collector) (n float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "bricklayer_node_reachable" {
			for _, m := range f.GetMetric() {
				n += m.GetGauge().GetValue()
			}
		}
	}
	return n
}

func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}
