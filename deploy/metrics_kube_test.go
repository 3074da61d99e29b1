//go:build kube && lab

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/labtest"
	"bricklayer.csi/lab"
)

// A real Prometheus that scrapes as the documentation says has data for every query
// of the dashboard, and finds nothing to complain of in a cluster that is well.
func TestPrometheusScrapesTheCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	c := newCluster(t)
	p := labtest.StartPrometheus(t, "..", "monitoring/alerts.yaml", c.scrapeConfigs(t))
	c.useVolumes(t)
	panels := labtest.Panels(t, "monitoring/dashboard.json")
	empty := labtest.EmptyPanels(t.Context(), c.Exec, c.Nodes()[0].Name)
	labtest.Eventually(t, 90*time.Second, func(ctx context.Context) error { return p.HasAll(ctx, panels, empty) })
	t.Logf("of %d panels all have data but %v", len(panels), empty)
	// Two controllers, a node service and mounts on each worker, an agent on each node.
	targets := 2 + 2*len(c.Workers()) + len(c.Nodes())
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return p.AllUp(ctx, targets) })
	labtest.Eventually(t, time.Minute, func(ctx context.Context) error { return p.Quiet(ctx, labtest.LabAlerts) })
}

// useVolumes has all kinds of operations happen once, and leaves a pod with a volume
// until the test ends.
func (c cluster) useVolumes(t *testing.T) {
	t.Helper()
	worker, _ := c.workers(t)
	t.Cleanup(func() { c.gone(t, []string{"seen", "seen-briefly"}, []string{"seen", "seen-briefly"}) })
	c.apply(t, claim("seen", "plain", "ReadWriteOnce")+pod("seen", worker, "seen", idle)+
		claim("seen-briefly", "plain", "ReadWriteOnce")+pod("seen-briefly", worker, "seen-briefly", idle))
	c.kubectl(t, "wait", "--for=condition=Ready", "pod/seen", "pod/seen-briefly", "--timeout=3m")
	c.kubectl(t, "patch", "pvc", "seen", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	c.kubectl(t, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "pvc/seen", "--timeout=3m")
	c.kubectl(t, "delete", "pod/seen-briefly", "pvc/seen-briefly", "--timeout=2m")
}

// scrapeConfigs are those that docs/how-to/monitor.md gives, for the lab.
func (c cluster) scrapeConfigs(t *testing.T) []any {
	t.Helper()
	text, err := os.ReadFile("../docs/how-to/monitor.md")
	if err != nil {
		t.Fatal(err)
	}
	var pods struct {
		Configs []map[string]any `json:"scrape_configs"`
	}
	var agents []map[string]any
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		switch {
		case strings.HasPrefix(block, "scrape_configs:"):
			err = yaml.UnmarshalStrict([]byte(block), &pods)
		case strings.HasPrefix(block, "- job_name:"):
			err = yaml.UnmarshalStrict([]byte(block), &agents)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, block)
		}
	}
	if len(pods.Configs) != 1 || len(agents) != 1 {
		t.Fatalf("docs/how-to/monitor.md has %d and %d scrape configurations, want one for pods and one for agents", len(pods.Configs), len(agents))
	}
	pods.Configs[0]["kubernetes_sd_configs"] = []any{map[string]any{"role": "pod", "kubeconfig_file": c.Kubeconfig()}}
	var targets []string
	for _, n := range c.Nodes() {
		targets = append(targets, fmt.Sprintf("%s:%d", n.Address, lab.AgentMetricsPort))
	}
	agents[0]["static_configs"] = []any{map[string]any{"targets": targets}}
	return []any{pods.Configs[0], agents[0]}
}
