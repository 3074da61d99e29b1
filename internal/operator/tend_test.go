package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/brick"
	"bricklayer.csi/internal/gluster"
)

// tended is a cluster whose pool has its peers managed, with some nodes that were
// never probed.
func tended(nodes int, alone ...string) *world {
	w := newWorld(nodes)
	w.pool.Spec.ManagePeers = true
	for _, n := range alone {
		w.cluster.LeaveTrustedPool(n)
	}
	return w
}

// told returns the events that came so far, without what changes.
func (r *running) told() []string {
	var all []string
	for {
		select {
		case e := <-r.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

// ended checks the events so far whose reasons begin so, what is wrong with the pool
// in the end, and what its conditions say.
func (r *running) ended(t *testing.T, reasons string, events []string, bad, says string) {
	t.Helper()
	told := slices.DeleteFunc(r.told(), func(e string) bool { return !strings.HasPrefix(strings.Fields(e)[1], reasons) })
	if fmt.Sprint(told) != fmt.Sprint(events) {
		t.Errorf("events:\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(events, "\n"))
	}
	status := r.get(t).Status
	if got := wrong(status); got != bad {
		t.Errorf("conditions %q, want %q", got, bad)
	}
	if text := fmt.Sprint(status.Conditions); !strings.Contains(text, says) {
		t.Errorf("conditions do not say %q: %s", says, text)
	}
}

// poolsOf returns how many trusted pools the nodes that are up form, as they see it.
func poolsOf(t *testing.T, w *world) int {
	t.Helper()
	seen := map[string]bool{}
	for _, n := range w.pool.Spec.Nodes {
		peers, err := w.cluster.Node(n.Name).Peers(t.Context())
		if err != nil {
			continue
		}
		var ids []string
		for _, p := range peers {
			ids = append(ids, p.UUID)
		}
		slices.Sort(ids)
		seen[strings.Join(ids, " ")] = true
	}
	return len(seen)
}

func TestPeersAreProbed(t *testing.T) {
	tests := []struct {
		name   string
		world  func() *world
		change func(w *world)
		// events are those of probes, pools the trusted pools in the end, wrong its conditions.
		events []string
		pools  int
		wrong  string
		says   string
	}{
		{
			name: "a node is added", world: func() *world { return tended(4, "n4") },
			events: []string{"Normal PeerProbed node n4 (10.90.0.14) was probed into the trusted pool by node n1"}, pools: 1,
		},
		{
			name: "the new node's name comes first", world: func() *world { return tended(4, "n1") },
			events: []string{"Normal PeerProbed node n1 (10.90.0.11) was probed into the trusted pool by node n2"}, pools: 1,
		},
		{
			name: "fresh nodes form one", world: func() *world { return tended(4, "n1", "n2", "n3", "n4") },
			events: []string{
				"Normal PeerProbed node n2 (10.90.0.12) was probed into the trusted pool by node n1",
				"Normal PeerProbed node n3 (10.90.0.13) was probed into the trusted pool by node n1",
				"Normal PeerProbed node n4 (10.90.0.14) was probed into the trusted pool by node n1",
			}, pools: 1,
		},
		{
			name: "fresh nodes, of which one does not answer: nobody knows what it is in", world: func() *world {
				w := tended(3, "n1", "n2", "n3")
				w.cluster.SetState("n3", agenttest.GlusterdDown)
				return w
			},
			pools: 2, wrong: "Degraded/GlusterdDown", says: "known once every node of the pool answers",
		},
		{
			name: "not asked for", world: func() *world {
				w := tended(4, "n4")
				w.pool.Spec.ManagePeers = false
				return w
			},
			pools: 2, wrong: "Degraded/PeerMissing", says: "gluster peer probe 10.90.0.14",
		},
		{
			name: "the new node's glusterd is down", world: func() *world {
				w := tended(4, "n4")
				w.cluster.SetState("n4", agenttest.GlusterdDown)
				return w
			},
			pools: 1, wrong: "Degraded/GlusterdDown", says: "it is probed when its agent and its glusterd answer",
		},
		{
			name: "the new node has a volume", world: func() *world {
				w := tended(4, "n4")
				w.cluster.AddForeignVolume("precious", gluster.Brick{Host: "10.90.0.14", Path: "/data"})
				return w
			},
			events: []string{"Warning PeerRefused node n4: it is not probed into the trusted pool: it has volumes of its own, precious: delete them there, or take it out of spec.nodes"},
			pools:  2, wrong: "Degraded/PeerRefused", says: "it has volumes of its own, precious",
		},
		{
			name: "the new nodes are in another trusted pool", world: func() *world {
				w := tended(5, "n4", "n5")
				if err := w.cluster.Node("n4").ProbePeer(t.Context(), "10.90.0.15"); err != nil {
					t.Fatal(err)
				}
				return w
			},
			events: []string{
				"Warning PeerRefused node n4: it is not probed into the trusted pool: it is in another one, with 10.90.0.15: detach it there, or take it out of spec.nodes",
				"Warning PeerRefused node n5: it is not probed into the trusted pool: it is in another one, with 10.90.0.14: detach it there, or take it out of spec.nodes",
			},
			pools: 2, wrong: "Degraded/PeerRefused", says: "it is in another one, with 10.90.0.15",
		},
		{
			name: "one is refused, and the next one probed", world: func() *world {
				w := tended(5, "n4", "n5")
				w.cluster.AddForeignVolume("precious", gluster.Brick{Host: "10.90.0.14", Path: "/data"})
				return w
			},
			events: []string{
				"Warning PeerRefused node n4: it is not probed into the trusted pool: it has volumes of its own, precious: delete them there, or take it out of spec.nodes",
				"Normal PeerProbed node n5 (10.90.0.15) was probed into the trusted pool by node n1",
			},
			pools: 2, wrong: "Degraded/PeerRefused",
		},
		{
			name: "glusterd itself refuses", world: func() *world {
				w := tended(4, "n4")
				w.cluster.Fail(agenttest.FailTimes(agenttest.Call{Verb: agenttest.ProbePeer, Moment: agenttest.Before}, 0,
					&gluster.Error{Reason: gluster.PeerRefused, Command: "peer probe 10.90.0.14", Text: "Peer uuid (host 10.90.0.14) is same as local uuid"}))
				return w
			},
			events: []string{"Warning PeerRefused node n4: probing it into the trusted pool failed: gluster peer probe 10.90.0.14: Peer uuid (host 10.90.0.14) is same as local uuid"},
			pools:  2, wrong: "Degraded/PeerRefused", says: "is same as local uuid",
		},
		{
			name: "an answer is lost", world: func() *world {
				w := tended(4, "n4")
				w.cluster.Fail(agenttest.LoseAnswer(agenttest.Call{Verb: agenttest.ProbePeer}))
				return w
			},
			events: []string{"Warning PeerRefused node n4: probing it into the trusted pool failed: call agent on node n1: connection lost: injected by the test (see whether the agent runs and repeat the call)"},
			pools:  1,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, test.world())
				pass(5 * time.Minute) // refusals are repeated, their events are not
				r.ended(t, "Peer", test.events, test.wrong, test.says)
				if n := poolsOf(t, r.world); n != test.pools {
					t.Errorf("%d trusted pools, want %d", n, test.pools)
				}
			})
		})
	}
}

// At most one node is probed at a look, and whoever goes on where another controller
// was killed asks the same node.
func TestPeersAreProbedOneAtATime(t *testing.T) {
	w := tended(4, "n1", "n2", "n3", "n4")
	m, _ := w.members("lab")
	for i := range 3 {
		seen := observe(t.Context(), w.pool, m)
		if seen.toldPeers != "n1" {
			t.Errorf("turn %d: %s told the peers", i, seen.toldPeers)
		}
		if deeds := tend(t.Context(), w.pool, m, seen); len(deeds) != 1 || deeds[0].refused {
			t.Errorf("turn %d: %+v", i, deeds)
		}
		if n := poolsOf(t, w); n != 3-i {
			t.Errorf("turn %d: %d trusted pools", i, n)
		}
	}
	seen := observe(t.Context(), w.pool, m)
	if deeds := tend(t.Context(), w.pool, m, seen); len(deeds) != 0 || seen.told != nil {
		t.Errorf("when all are peers: %+v, asked %v", deeds, seen.told)
	}
	w = tended(2, "n2")
	w.pool.DeletionTimestamp = new(metav1.Now())
	m, _ = w.members("lab")
	if deeds := tend(t.Context(), w.pool, m, observe(t.Context(), w.pool, m)); len(deeds) != 0 {
		t.Errorf("of a pool that goes: %+v", deeds)
	}
}

func TestRootsAreInitialised(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(w *world)
		ask    bool
		events []string
		wrong  string
		says   string
	}{
		{
			name: "a new disk", ask: true, spoil: func(w *world) { w.cluster.ReplaceDisk("n2", "root1") },
			events: []string{"Normal RootInitialised root n2/root1 was an empty file system and is a brick root now"},
		},
		{
			name: "all are new", ask: true, spoil: func(w *world) {
				for _, n := range []string{"n1", "n2", "n3"} {
					w.cluster.ReplaceDisk(n, "root1")
				}
			},
			events: []string{
				"Normal RootInitialised root n1/root1 was an empty file system and is a brick root now",
				"Normal RootInitialised root n2/root1 was an empty file system and is a brick root now",
				"Normal RootInitialised root n3/root1 was an empty file system and is a brick root now",
			},
		},
		{
			name: "something lies there", ask: true, spoil: func(w *world) { w.cluster.ReplaceDisk("n2", "root1", "precious.db") },
			events: []string{`Warning RootRefused root n2/root1: making it a brick root failed: init root: make a brick root on node n2, brick root root1: it is not empty: ["precious.db"] (give Bricklayer an empty file system of its own)`},
			wrong:  "Degraded/RootRefused", says: `it is not empty: ["precious.db"]`,
		},
		{
			name: "the disk is not mounted", ask: true, spoil: func(w *world) { w.cluster.SetMounted("n2", "root1", false) },
			events: []string{"Warning RootRefused root n2/root1: making it a brick root failed: init root: make a brick root on node n2, brick root root1: it is not a mount point: it lies on /dev/sda1, mounted at / (give Bricklayer an empty file system of its own)"},
			wrong:  "Degraded/RootRefused", says: "it is not a mount point",
		},
		{
			name: "not asked for", spoil: func(w *world) { w.cluster.ReplaceDisk("n2", "root1") },
			wrong: "Degraded/RootUnusable", says: "is the disk mounted?",
		},
		{
			name: "an answer is lost", ask: true, spoil: func(w *world) {
				w.cluster.ReplaceDisk("n2", "root1")
				w.cluster.Fail(agenttest.LoseAnswer(agenttest.Call{Verb: agenttest.InitRoot}))
			},
			events: []string{"Warning RootRefused root n2/root1: making it a brick root failed: call agent on node n2: connection lost: injected by the test (see whether the agent runs and repeat the call)"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(3)
				w.pool.Spec.InitRoots = test.ask
				test.spoil(w)
				r := start(t, w)
				pass(5 * time.Minute)
				r.ended(t, "Root", test.events, test.wrong, test.says)
			})
		})
	}
}

func TestPolicyIsTold(t *testing.T) {
	refusal := errors.New("unknown method SetPolicy")
	tests := []struct {
		name   string
		spoil  func(w *world)
		events []string
		wrong  string
		says   string
	}{
		{name: "nothing is said", spoil: func(*world) {}},
		{
			name: "two nodes know", spoil: func(w *world) {
				w.pool.Spec.OvercommitPercent = 300
				for _, n := range []string{"n1", "n3"} {
					if err := w.cluster.Node(n).SetPolicy(t.Context(), brick.Policy{OvercommitPercent: 300}); err != nil {
						t.Fatal(err)
					}
				}
			},
			events: []string{"Normal PolicySet node n2 goes by the pool's overcommitPercent and trashEntriesPerSecond now"},
		},
		{
			name: "the pool says nothing any more", spoil: func(w *world) {
				if err := w.cluster.Node("n2").SetPolicy(t.Context(), brick.Policy{OvercommitPercent: 300, TrashEntriesPerSecond: 5}); err != nil {
					t.Fatal(err)
				}
			},
			events: []string{"Normal PolicySet node n2 goes by the pool's overcommitPercent and trashEntriesPerSecond now"},
		},
		{
			name: "an agent before it", spoil: func(w *world) {
				w.pool.Spec.TrashEntriesPerSecond = 50
				w.cluster.Fail(agenttest.FailTimes(agenttest.Call{Node: "n2", Verb: agenttest.SetPolicy, Moment: agenttest.Before}, 0, refusal))
			},
			events: []string{
				"Normal PolicySet node n1 goes by the pool's overcommitPercent and trashEntriesPerSecond now",
				"Warning PolicyRefused node n2: telling it the pool's overcommitPercent and trashEntriesPerSecond failed: unknown method SetPolicy",
				"Normal PolicySet node n3 goes by the pool's overcommitPercent and trashEntriesPerSecond now",
			},
			wrong: "Degraded/PolicyRefused", says: "unknown method SetPolicy",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(3)
				test.spoil(w)
				r := start(t, w)
				pass(5 * time.Minute)
				r.ended(t, "Policy", test.events, test.wrong, test.says)
				want := brick.Policy{OvercommitPercent: w.pool.Spec.OvercommitPercent, TrashEntriesPerSecond: w.pool.Spec.TrashEntriesPerSecond}
				for _, n := range []string{"n1", "n3"} {
					d, err := w.cluster.Node(n).Describe(t.Context())
					if err != nil || d.Policy != want {
						t.Errorf("node %s: %+v, %v; want %+v", n, d.Policy, err, want)
					}
				}
			})
		})
	}
}
