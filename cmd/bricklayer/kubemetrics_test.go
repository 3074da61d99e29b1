package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/client-go/kubernetes/fake"

	poolsfake "bricklayer.csi/api/client/versioned/fake"
	"bricklayer.csi/internal/pool"
)

var (
	metricType   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	metricSeries = regexp.MustCompile(`(?m)^([a-z_]+)\{(.*)\} `)
	metricLabel  = regexp.MustCompile(`([a-z_]+)="`)
)

// metricList returns the metrics of a page: name, type, labels. Those of Go and of
// the process are the library's.
func metricList(page string) map[string]string {
	all, kinds := map[string]string{}, map[string]string{}
	for _, m := range metricType.FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "go_") && !strings.HasPrefix(m[1], "process_") {
			kinds[m[1]] = m[2]
			all[m[1]] = m[1] + " " + m[2] + " -"
		}
	}
	for _, m := range metricSeries.FindAllStringSubmatch(page, -1) {
		name := m[1]
		if _, ok := kinds[name]; !ok { // of a histogram
			name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		}
		if kinds[name] == "" {
			continue
		}
		labels := map[string]bool{}
		for _, l := range metricLabel.FindAllStringSubmatch(m[2], -1) {
			labels[l[1]] = l[1] != "le"
		}
		delete(labels, "le")
		all[name] = name + " " + kinds[name] + " " + strings.Join(slices.Sorted(maps.Keys(labels)), ",")
	}
	return all
}

// metricsOf returns those of a controller that has served a call, once they are as
// they should be, or after a while.
func metricsOf(t *testing.T, c *command, ready func(map[string]string) bool, args ...string) map[string]string {
	t.Helper()
	address := freeAddress(t)
	conn, log := serve(t, c, append([]string{"controller", "--metrics-address", address}, args...)...)
	ctx, answers := call(t)
	if _, err := csipb.NewIdentityClient(conn).Probe(ctx, &csipb.ProbeRequest{}, answers); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if _, err := csipb.NewControllerClient(conn).DeleteVolume(ctx, &csipb.DeleteVolumeRequest{VolumeId: "bl1.plain.lab.none"}, answers); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return metricsAt(ctx, t, address, ready)
}

// metricsAt returns those of a service, once they are as they should be, or when
// ctx ends.
func metricsAt(ctx context.Context, t *testing.T, address string, ready func(map[string]string) bool) map[string]string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, page := fetch(ctx, t, "http://"+address+"/metrics")
		all := metricList(page)
		if ready(all) {
			return all
		}
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
	}
}

// agentConfig makes certificates and writes a configuration for an agent of node n1
// whose brick root is not mounted.
func agentConfig(t *testing.T, c *command) string {
	t.Helper()
	dir := t.TempDir()
	c.must(t, "certs", "--pool", c.env["BRICKLAYER_POOLS"], "--dir", dir)
	of := filepath.Join(dir, "n1")
	file := filepath.Join(dir, "agent.yaml")
	text := fmt.Sprintf(`pool: lab
node: n1
listen: %s
tls: {ca: %[2]s/ca.crt, cert: %[2]s/tls.crt, key: %[2]s/tls.key}
roots: [{name: root1, path: %[3]s/root1}]
glusterCommand: %[3]s/gluster
glusterdSocket: %[3]s/glusterd.socket
`, freeAddress(t), of, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What a process tells of itself is true: without glusterd an agent is not ready,
// without the mount service the node service is not; both live, and say why.
func TestReadinessTellsTheTruth(t *testing.T) {
	c := newCommand(t)
	dir := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		why  string
	}{
		"agent": {[]string{"agent", "--config", agentConfig(t, c)}, "glusterd"},
		"node":  {[]string{"node", "--node-id", "w1", "--endpoint", "unix://" + dir + "/csi.sock", "--mount-service", "unix://" + dir + "/mountd.sock"}, "mount"},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			start(t, c, append(test.args, "--metrics-address", address)...)
			ctx, _ := call(t)
			if code, _ := fetch(ctx, t, "http://"+address+"/healthz"); code != http.StatusOK {
				t.Errorf("healthz: %d", code)
			}
			if code, said := fetch(ctx, t, "http://"+address+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(said, test.why) {
				t.Errorf("readyz: %d, %q; want it to name the %s", code, said, test.why)
			}
		})
	}
}

// What the alerts and the dashboard in deploy/monitoring may use is what a
// service really exports, and each of that is in the reference.
func TestReferenceOfMetrics(t *testing.T) {
	c := newCommand(t)
	c.kubernetes = fake.NewClientset()
	c.env["POD_NAMESPACE"] = "storage"
	seen := func(all map[string]string) bool {
		// The last that comes, of the last queue that is made.
		return all["bricklayer_root_trash_directories"] != "" && strings.HasSuffix(all["workqueue_depth"], " name")
	}
	services := map[string]map[string]string{"controller": metricsOf(t, c, seen, "--kubernetes")}
	for name, args := range map[string][]string{
		"node":   {"node", "--node-id", "w1", "--client-log-dir", t.TempDir(), "--endpoint", "unix://" + filepath.Join(t.TempDir(), "s")},
		"mountd": {"mountd", "--client-log-dir", t.TempDir(), "--kubelet-dir", t.TempDir(), "--endpoint", "unix://" + filepath.Join(t.TempDir(), "s")},
		"agent":  {"agent", "--config", agentConfig(t, c)},
	} {
		address := freeAddress(t)
		start(t, c, append(args, "--metrics-address", address)...)
		ctx, _ := call(t)
		services[name] = metricsAt(ctx, t, address, func(map[string]string) bool { return true })
	}
	all, by := map[string]string{}, map[string][]string{}
	for _, service := range slices.Sorted(maps.Keys(services)) {
		for name, line := range services[service] {
			if strings.HasPrefix(name, "controller_") || strings.HasPrefix(name, "promhttp_") {
				continue
			}
			if all[name] != "" && all[name] != line {
				t.Errorf("%s is %q elsewhere, and %q of the %s", name, all[name], line, service)
			}
			all[name] = line
			by[name] = append(by[name], service)
		}
	}
	var list strings.Builder
	list.WriteString("# Generated by `make generate` from services that run: name, type, labels, who has it.\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list.WriteString(all[name] + " " + strings.Join(by[name], ",") + "\n")
	}
	golden(t, filepath.Join("..", "..", "deploy", "monitoring", "metrics.txt"), list.String())
	reference, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if !strings.Contains(string(reference), "`"+name+"`") {
			t.Errorf("docs/reference/metrics.md does not name %s", name)
		}
	}
}

// Without Kubernetes there is no lease, and pools are told of as well; those of an
// API server by the operator.
func TestPoolMetricsOfAllSources(t *testing.T) {
	file := newCommand(t)
	resources, err := pool.Load(file.env["BRICKLAYER_POOLS"])
	if err != nil {
		t.Fatal(err)
	}
	api := newCommand(t)
	api.kubernetes = fake.NewClientset()
	api.storagePools = poolsfake.NewClientset(resources[0].DeepCopy())
	api.env["POD_NAMESPACE"] = "storage"
	for name, test := range map[string]struct {
		c    *command
		args []string
	}{
		"file": {file, nil},
		"api":  {api, []string{"--kubernetes", "--pools-from=api"}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := func(all map[string]string) bool { return all["bricklayer_root_trash_directories"] != "" }
			if all := metricsOf(t, test.c, seen, test.args...); !seen(all) {
				t.Errorf("nothing is told of pools: %v", all)
			}
		})
	}
}
