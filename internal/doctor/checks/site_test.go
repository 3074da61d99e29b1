package checks

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"bricklayer.csi/agent/agenttest"
	"bricklayer.csi/internal/doctor"
	"bricklayer.csi/internal/doctor/hosttest"
)

// pool is a site with the storage nodes of a cluster in memory.
func pool(t *testing.T, c *agenttest.Cluster) *doctor.Site {
	s := &doctor.Site{Local: hosttest.New(t).Host}
	for _, n := range c.Config().Nodes {
		s.Storage = append(s.Storage, doctor.Storage{Pool: "lab", Name: n.Name, Agent: c.Node(n.Name)})
	}
	return s
}

// sound fails where a site has anything to complain of.
func sound(t *testing.T, s *doctor.Site) {
	t.Helper()
	for _, r := range doctor.OnSite(t.Context(), All(), s, doctor.DefaultLimits) {
		if r.Status != doctor.StatusFine && r.Status != doctor.StatusSkipped {
			t.Errorf("%+v", r)
		}
	}
}

func TestHealthyPool(t *testing.T) { sound(t, pool(t, agenttest.New(agenttest.Default(3)))) }

func TestClockOfAStorageNode(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	c.SetClock("n2", -90*time.Second, false)
	f := only(t, lookSite(t, clockSkew, pool(t, c)))
	if f.Severity != doctor.Error || f.Object != "storage node n2 of pool lab" || !strings.Contains(f.Problem, "its clock is 1m30s behind") || len(f.Evidence) != 4 {
		t.Errorf("found %+v", f)
	}
	c.SetClock("n2", 2*time.Second, true)
	if f := only(t, lookSite(t, clockSkew, pool(t, c))); f.Severity != doctor.Warning || !strings.Contains(f.Problem, "2s ahead of") {
		t.Errorf("found %+v", f)
	}
	c.SetClock("n2", 500*time.Millisecond, true)
	quiet(t, lookSite(t, clockSkew, pool(t, c)), doctor.StatusFine)
}

// What is certain counts, and only that; and the odd one out is named, whichever
// side this machine is on.
func TestJudgeSkew(t *testing.T) {
	s := time.Second
	for name, c := range map[string]struct {
		readings []reading
		want     string
	}{
		"one":             {[]reading{{"a", 0, 0}}, ""},
		"uncertain":       {[]reading{{"a", 0, 0}, {"b", -90 * s, 2 * s}, {"c", 0, s}}, ""},
		"this one is off": {[]reading{{"me", 0, 0}, {"b", 89 * s, 90 * s}, {"c", 89 * s, 90 * s}, {"d", 89 * s, 90 * s}}, "me"},
		"two":             {[]reading{{"a", 0, 0}, {"b", 9 * s, 10 * s}}, "a"},
		"two of four":     {[]reading{{"a", 0, 0}, {"b", 0, 0}, {"c", 0, 0}, {"d", -9 * s, -8 * s}}, "d"},
	} {
		r := lookSite(t, doctor.Check{ID: "x", Site: func(_ context.Context, _ *doctor.Site, r *doctor.Recorder) { judgeSkew(c.readings, r) }}, nil)
		var got []string
		for _, f := range r.Findings {
			got = append(got, f.Object)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: named %q, want %q", name, got, c.want)
		}
	}
}

// One node that hangs is unknown within its time, and all is said of the others.
func TestOneStorageNodeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.New(agenttest.Default(3))
		c.SetClock("n3", -time.Hour, false)
		c.Fail(func(ctx context.Context, call agenttest.Call) error {
			if call.Node == "n1" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		began := time.Now()
		site := pool(t, c)
		results := doctor.OnSite(t.Context(), All(), site, doctor.DefaultLimits)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, r := range results {
			switch r.Check {
			case clockSkew.ID:
				if len(r.Findings) != 1 || r.Findings[0].Object != "storage node n3 of pool lab" {
					t.Errorf("found %+v", r)
				}
				fallthrough
			case storageNode.ID, storageRoom.ID:
				if len(r.Unknown) != 1 || !strings.Contains(r.Unknown[0].Object, "n1") {
					t.Errorf("%s: unknown is %+v", r.Check, r.Unknown)
				}
			case glusterVolumes.ID:
				quiet(t, r, doctor.StatusFine) // another node answers for the pool
			}
		}
	})
}

func TestStorageNodes(t *testing.T) {
	c := agenttest.New(agenttest.Default(3))
	c.SetState("n1", agenttest.GlusterdDown)
	r := lookSite(t, storageNode, pool(t, c))
	if len(r.Findings) == 0 || !strings.Contains(r.Findings[0].Object, "n1 of pool lab, glusterd") {
		t.Errorf("found %+v", r)
	}
	quiet(t, lookSite(t, glusterPeers, pool(t, c)), doctor.StatusError)
	c.SetState("n1", agenttest.Up)
	root := c.Config().Nodes[1].Roots[0].Name
	c.SetMounted("n2", root, false)
	if f := only(t, lookSite(t, storageNode, pool(t, c))); !strings.Contains(f.Object, "n2 of pool lab, brick root "+root) {
		t.Errorf("found %+v", f)
	}
	c.SetMounted("n2", root, true)
	c.SetMemory("n3", 1<<30, 10<<20, 60)
	if f := only(t, lookSite(t, storageNode, pool(t, c))); !strings.Contains(f.Object, "n3 of pool lab, memory") {
		t.Errorf("found %+v", f)
	}
	c.SetState("n3", agenttest.Off)
	quiet(t, lookSite(t, storageNode, pool(t, c)), doctor.StatusUnknown)
}

// now is when the nodes of these tests were last heard of.
var now = time.Now()

func worker(ready core.ConditionStatus) *core.Node {
	return &core.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "w1"},
		Status:     core.NodeStatus{Conditions: []core.NodeCondition{{Type: core.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(now)}}},
	}
}

func lease(name string, ahead time.Duration) *coordination.Lease {
	seconds := int32(40)
	renewed, noted := metav1.NewMicroTime(now.Add(ahead)), metav1.NewTime(now.Truncate(time.Second))
	return &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: core.NamespaceNodeLease, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet", Time: &noted}}},
		Spec:       coordination.LeaseSpec{LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	}
}

func manager(flags ...string) *core.Pod {
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-controller-manager-m1", Namespace: metav1.NamespaceSystem},
		Spec:       core.PodSpec{Containers: []core.Container{{Command: append([]string{"kube-controller-manager"}, flags...)}}},
	}
}

func notReady(node string, count int32, age time.Duration) *core.Event {
	return &core.Event{
		ObjectMeta: metav1.ObjectMeta{Name: node + age.String(), Namespace: "default"}, Reason: "NodeNotReady", Count: count,
		InvolvedObject: core.ObjectReference{Kind: "Node", Name: node}, LastTimestamp: metav1.NewTime(now.Add(-age)),
	}
}

// cluster is a site with a Kubernetes in memory whose API server has a clock.
func cluster(t *testing.T, objects ...runtime.Object) *doctor.Site {
	client := fake.NewClientset(objects...)
	client.PrependReactor("create", "configmaps", func(a clienttesting.Action) (bool, runtime.Object, error) {
		made := a.(clienttesting.CreateAction).GetObject().(*core.ConfigMap).DeepCopy()
		made.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
		return true, made, nil
	})
	return &doctor.Site{Local: hosttest.New(t).Host, Kubernetes: client, Server: "https://10.0.0.1:6443"}
}

func TestHealthyCluster(t *testing.T) {
	sound(t, cluster(t, worker(core.ConditionTrue), lease("w1", 0), manager("--leader-elect=true"), notReady("w1", 1, time.Minute), notReady("w1", 9, 2*time.Hour)))
}

func TestFlapping(t *testing.T) {
	for name, c := range map[string]struct {
		objects  []runtime.Object
		severity doctor.Severity
		problem  string
	}{
		"grace of one renewal": {
			[]runtime.Object{worker(core.ConditionTrue), lease("w1", 0), manager("--node-monitor-grace-period=6s")},
			doctor.Error, "taken for lost after 6s without news, and sends news every 10s",
		},
		"grace of two renewals": {
			[]runtime.Object{worker(core.ConditionTrue), lease("w1", 0), manager("--node-monitor-grace-period", "25s")},
			doctor.Warning, "taken for lost after 25s",
		},
		"events": {
			[]runtime.Object{worker(core.ConditionTrue), lease("w1", 0), manager(), notReady("w1", 3, time.Minute)},
			doctor.Error, "NotReady 3 times",
		},
		"not ready": {
			[]runtime.Object{worker(core.ConditionUnknown), lease("w1", 0), manager()},
			doctor.Error, "it is not Ready",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := only(t, lookSite(t, nodeFlapping, cluster(t, c.objects...)))
			if f.Severity != c.severity || f.Object != "node w1" || !strings.Contains(f.Problem, c.problem) || len(f.Evidence) == 0 {
				t.Errorf("found %+v", f)
			}
		})
	}
	quiet(t, lookSite(t, nodeFlapping, cluster(t, worker(core.ConditionTrue), lease("w1", 0))), doctor.StatusUnknown)
}

// A controller-manager outside of the cluster is read where it runs, and only that
// of this very cluster.
func TestGraceOfAProcess(t *testing.T) {
	s := cluster(t, worker(core.ConditionTrue), lease("w1", 0))
	m := hosttest.New(t)
	s.Local = m.Host
	m.Process(50, "/usr/bin/all-in-one", "kube-controller-manager", "--kubeconfig=/etc/kcm.conf", "--node-monitor-grace-period=4s")
	config := func(server string) {
		m.Write("/etc/kcm.conf", "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x}}]\nclusters: [{name: x, cluster: {server: \""+server+"\"}}]\n")
	}
	config("https://10.9.9.9:6443")
	quiet(t, lookSite(t, nodeFlapping, s), doctor.StatusUnknown)
	config(s.Server)
	if f := only(t, lookSite(t, nodeFlapping, s)); !strings.Contains(f.Evidence[0], "process 50 on n1") {
		t.Errorf("found %+v", f)
	}
}

func TestGraceOnTheHost(t *testing.T) {
	m := hosttest.New(t)
	quiet(t, look(t, nodeMonitorGrace, m.Host), doctor.StatusSkipped)
	m.Process(50, "kube-controller-manager")
	quiet(t, look(t, nodeMonitorGrace, m.Host), doctor.StatusFine)
	m.Process(50, "kube-controller-manager", "--node-monitor-grace-period=16s")
	if f := only(t, look(t, nodeMonitorGrace, m.Host)); f.Severity != doctor.Error || len(f.Fix) != 0 {
		t.Errorf("found %+v", f)
	}
	const manifest = "spec:\n  containers:\n  - command:\n    - kube-controller-manager\n    - --node-monitor-grace-period=16s # faster\n"
	m.Write(managerManifest, manifest)
	fix(t, m, nodeMonitorGrace, only(t, look(t, nodeMonitorGrace, m.Host)))
	if got := m.Read(managerManifest); got != strings.Replace(manifest, "16s", "50s", 1) {
		t.Errorf("the manifest is now\n%s", got)
	}
	m.Write(kubeletConfig, "nodeLeaseDurationSeconds: 12\n")
	quiet(t, look(t, nodeMonitorGrace, m.Host), doctor.StatusFine)
}

func TestClockOfAWorker(t *testing.T) {
	now = time.Now()
	s := cluster(t, worker(core.ConditionTrue), lease("w1", 0), lease("w2", -30*time.Second), lease("w3", 0), manager())
	if f := only(t, lookSite(t, clockSkew, s)); f.Object != "worker w2" || f.Severity != doctor.Error || !strings.Contains(f.Problem, "its clock is at least 1") {
		t.Errorf("found %+v", f)
	}
}

func TestDashboards(t *testing.T) {
	const board = `{"title": "x", "panels": [{"title": "CPU", "targets": [{"expr": "up{pod=~\"web-[0-9]+-.*\"}"}]}]}`
	s := cluster(t,
		&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "boards", Namespace: "monitoring"}, Data: map[string]string{"a.json": board, "b.json": "{}", "c": "x"}})
	f := only(t, lookSite(t, dashboardPatterns, s))
	if !strings.Contains(f.Object, "ConfigMap monitoring/boards, a.json") || !strings.Contains(f.Mend, `up{pod=~"web-[a-z0-9]+-.*"}`) || len(f.Fix) != 0 {
		t.Errorf("found %+v", f)
	}
	m := hosttest.New(t)
	m.Write("/boards/a.json", board)
	s = &doctor.Site{Local: m.Host, Dashboards: []doctor.Dashboard{{Name: "/boards/a.json", File: true, Text: []byte(board)}}}
	fix(t, m, dashboardPatterns, only(t, lookSite(t, dashboardPatterns, s)))
	if got := m.Read("/boards/a.json"); got != strings.Replace(board, "[0-9]", "[a-z0-9]", 1) {
		t.Errorf("the file is now\n%s", got)
	}
	if m.Read("/boards/a.json.before-doctor") != board {
		t.Error("the old one is lost")
	}
	s.Dashboards[0].Text = []byte(m.Read("/boards/a.json"))
	quiet(t, lookSite(t, dashboardPatterns, s), doctor.StatusFine)
}
