package dashboard_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bricklayer.csi/internal/doctor/dashboard"
)

var prometheus = flag.String("prometheus", "prometheus", "the Prometheus that the test asks (Debian's package prometheus has one)")

// A panel of old shows nothing of a cluster of today, as its Prometheus answers; as
// it is mended it shows the pods.
func TestWithARealPrometheus(t *testing.T) {
	program, err := exec.LookPath(*prometheus)
	if err != nil {
		t.Skipf("there is no Prometheus here: %v", err)
	}
	scraped := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, pod := range []string{"web-6d4cf56db6-x7k2p", "web-6d4cf56db6-9ddpq", "db-0"} {
			fmt.Fprintf(w, "container_memory_usage_bytes{pod_name=%q} 1\n", pod)
		}
	}))
	defer scraped.Close()
	query := startPrometheus(t, program, scraped.Listener.Addr().String())

	const board = `{"panels": [{"title": "Memory", "targets": [{"expr": "sum by (pod_name) (container_memory_usage_bytes{pod_name=~\"^web-[0-9]+-.*$\"})"}]}]}`
	waitFor(t, func() bool { return len(query("container_memory_usage_bytes")) == 3 })
	report, err := dashboard.Check([]byte(board))
	if err != nil || len(report.Troubles) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	before, after := query(report.Troubles[0].Query), query(report.Troubles[0].Mended)
	t.Logf("%s: %d series\n%s: %d series", report.Troubles[0].Query, len(before), report.Troubles[0].Mended, len(after))
	if len(before) != 0 || len(after) != 2 {
		t.Errorf("before %v, after %v; want none, then the two of web", before, after)
	}
}

// startPrometheus returns a function that asks a Prometheus which scrapes an address.
func startPrometheus(t *testing.T, program, address string) func(string) []any {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("scrape_configs: [{job_name: x, scrape_interval: 1s, static_configs: [{targets: [%q]}]}]\n", address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+dir, "--web.listen-address="+listen)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return func(query string) []any {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listen+"/api/v1/query?query="+url.QueryEscape(query), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil
		}
		defer answer.Body.Close()
		var a struct {
			Data struct{ Result []any }
		}
		if answer.StatusCode == http.StatusOK {
			if err := json.NewDecoder(answer.Body).Decode(&a); err != nil {
				t.Fatal(err)
			}
		}
		return a.Data.Result
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Prometheus has no data")
		}
	}
}
