// Package poolmetrics owns what Prometheus is told about pools: capacity by brick
// root, the state of storage nodes, conditions.
//
// It tells what was seen last and asks nobody when it is scraped, so that a node
// that hangs delays no scrape. It refuses to know how pools are looked at
// (internal/operator), and who serves HTTP. Labels are names out of pools and
// words of ours, never what a node or a user made up.
package poolmetrics

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/operator"
)

// Collector tells of each pool what was seen last. Its zero value is ready to use.
type Collector struct {
	mu   sync.Mutex
	seen map[string]operator.Seen
}

// Seen takes the place of what was seen of that pool before.
func (c *Collector) Seen(s operator.Seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]operator.Seen{}
	}
	c.seen[s.Pool] = s
}

// Gone forgets a pool.
func (c *Collector) Gone(pool string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, pool)
}

// Clear forgets all pools: somebody else looks at them from now on.
func (c *Collector) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.seen)
}

// Describe implements prometheus.Collector.
func (*Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.seen))
	c.mu.Unlock()
	for i := range all {
		tellPool(to, &all[i])
	}
}

var (
	// descriptions are those of all metrics here.
	descriptions []*prometheus.Desc

	poolSeen        = describe("bricklayer_pool_seen_timestamp_seconds", "When the pool was looked at last, in Unix time; what else is said of it is as old.", "pool")
	poolCondition   = describe("bricklayer_pool_condition", "1 for the status that a condition of the pool has (true, false, unknown), 0 for the others.", "pool", "condition", "status")
	poolVolumes     = describe("bricklayer_pool_volumes", "How many volumes live in the pool, by backend (plain, heketi).", "pool", "backend")
	poolCertificate = describe("bricklayer_pool_certificate_expiry_timestamp_seconds", "When the controller's own certificate for the agents of the pool ends, in Unix time.", "pool")

	nodeReachable    = describe("bricklayer_node_reachable", "1 where the agent of the storage node answered.", "pool", "node")
	nodeGlusterd     = describe("bricklayer_node_glusterd_ready", "1 where glusterd of the storage node answered its agent.", "pool", "node")
	nodeBricks       = describe("bricklayer_node_brick_processes", "How many brick processes (glusterfsd) run on the storage node.", "pool", "node")
	nodeBrickMemory  = describe("bricklayer_node_brick_memory_bytes", "Resident memory of the brick processes, together.", "pool", "node")
	nodeMemory       = describe("bricklayer_node_memory_size_bytes", "Memory of the storage node.", "pool", "node")
	nodeMemoryFree   = describe("bricklayer_node_memory_available_bytes", "Memory of the storage node that programs could have without swapping.", "pool", "node")
	nodePressure     = describe("bricklayer_node_memory_pressure_ratio", "Share of the last ten seconds in which some task waited for memory, 0 to 1; absent where the kernel does not tell.", "pool", "node")
	nodeOffset       = describe("bricklayer_node_clock_offset_seconds", "How far the clock of the storage node is ahead of the controller's.", "pool", "node")
	nodeSynchronised = describe("bricklayer_node_clock_synchronised", "1 where the kernel of the storage node says that something keeps its clock right.", "pool", "node")
	nodeCertificate  = describe("bricklayer_node_certificate_expiry_timestamp_seconds", "When the certificate of the agent ends, in Unix time.", "pool", "node")

	rootUsable    = describe("bricklayer_root_usable", "1 where the brick root can take bricks.", "pool", "node", "root")
	rootSize      = describe("bricklayer_root_size_bytes", "Size of the brick root's file system.", "pool", "node", "root")
	rootFree      = describe("bricklayer_root_free_bytes", "What nothing is written to yet on the brick root's file system, promised or not.", "pool", "node", "root")
	rootCommitted = describe("bricklayer_root_committed_bytes", "What is promised to bricks on the brick root, trash and archive included.", "pool", "node", "root")
	rootAvailable = describe("bricklayer_root_available_bytes", "What can still be promised to bricks on the brick root.", "pool", "node", "root")
	rootBricks    = describe("bricklayer_root_bricks", "How many brick directories the brick root has.", "pool", "node", "root")
	rootTrash     = describe("bricklayer_root_trash_directories", "How many deleted brick directories of the brick root wait to be emptied.", "pool", "node", "root")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	descriptions = append(descriptions, d)
	return d
}

// teller sends the figures of one thing: a pool, a node, a root.
type teller struct {
	to     chan<- prometheus.Metric
	labels []string
}

func (t teller) say(d *prometheus.Desc, v float64, more ...string) {
	t.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append(slices.Clone(t.labels), more...)...)
}

func tellPool(to chan<- prometheus.Metric, s *operator.Seen) {
	t := teller{to, []string{s.Pool}}
	t.say(poolSeen, unix(s.At.UnixMilli()))
	for _, condition := range s.Status.Conditions {
		for status, word := range map[metav1.ConditionStatus]string{metav1.ConditionTrue: "true", metav1.ConditionFalse: "false", metav1.ConditionUnknown: "unknown"} {
			t.say(poolCondition, number(condition.Status == status), condition.Type, word)
		}
	}
	if n := s.Status.Volumes; n != nil {
		t.say(poolVolumes, float64(n.Plain), "plain")
		t.say(poolVolumes, float64(n.LVM), "heketi")
	}
	if !s.CertificateExpires.IsZero() {
		t.say(poolCertificate, unix(s.CertificateExpires.UnixMilli()))
	}
	for i := range s.Nodes {
		tellNode(to, s, &s.Nodes[i])
	}
}

// tellNode leaves out what is not known: a node that does not answer has no
// memory of 0 bytes.
func tellNode(to chan<- prometheus.Metric, s *operator.Seen, n *operator.SeenNode) {
	t := teller{to, []string{s.Pool, n.Name}}
	t.say(nodeReachable, number(n.Reachable))
	if !n.Reachable {
		return
	}
	t.say(nodeGlusterd, number(n.GlusterdReady))
	t.say(nodeBricks, float64(n.BrickProcesses))
	t.say(nodeBrickMemory, float64(n.BrickMemory))
	if n.MemoryTotal > 0 {
		t.say(nodeMemory, float64(n.MemoryTotal))
		t.say(nodeMemoryFree, float64(n.MemoryAvailable))
	}
	if n.MemoryPressure >= 0 {
		t.say(nodePressure, n.MemoryPressure/100)
	}
	if !n.Clock.IsZero() {
		t.say(nodeOffset, n.Offset.Seconds())
		t.say(nodeSynchronised, number(n.ClockSynchronised))
	}
	if !n.CertificateExpires.IsZero() {
		t.say(nodeCertificate, unix(n.CertificateExpires.UnixMilli()))
	}
	for _, status := range rootsOf(s, n.Name) {
		tellRoot(to, s.Pool, n, status)
	}
}

// rootsOf returns the roots that the pool has on a node, whatever its agent has.
func rootsOf(s *operator.Seen, node string) []v1alpha1.RootStatus {
	for i := range s.Status.Nodes {
		if s.Status.Nodes[i].Name == node {
			return s.Status.Nodes[i].Roots
		}
	}
	return nil
}

func tellRoot(to chan<- prometheus.Metric, pool string, n *operator.SeenNode, status v1alpha1.RootStatus) {
	t := teller{to, []string{pool, n.Name, status.Name}}
	t.say(rootUsable, number(status.Problem == ""))
	at := slices.IndexFunc(n.Roots, func(r brick.RootState) bool { return r.Name == status.Name })
	if status.Problem != "" || at < 0 {
		return // its figures would be those of the disk below
	}
	r := &n.Roots[at]
	t.say(rootSize, float64(r.Total))
	t.say(rootFree, float64(r.Free))
	t.say(rootCommitted, float64(r.Committed))
	t.say(rootAvailable, float64(max(0, r.Available)))
	t.say(rootBricks, float64(r.Bricks))
	t.say(rootTrash, float64(r.Trash))
}

func unix(milliseconds int64) float64 { return float64(milliseconds) / 1000 }

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
