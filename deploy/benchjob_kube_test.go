//go:build kube && lab

package deploy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bricklayer.csi/bench"
	"bricklayer.csi/internal/labtest"
)

const (
	// benchArchive is the image of the benchmarks' Job, which make test-k8s-long builds.
	benchArchive   = "../bin/image-bench-test.tar"
	benchNamespace = "bricklayer-bench"
)

// benchManifest is deploy/bench/job.yaml, changed where a user changes it, with two
// jobs and two rounds.
func benchManifest(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("bench/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest := string(data)
	for _, change := range [][2]string{
		{"storageClassName: gluster-plain", "storageClassName: plain"},
		{"storageClassName: gluster-lvm", "storageClassName: lvm"},
		{"storage: 10Gi", "storage: 1Gi"},
		{"image: localhost/bricklayer-bench:latest", "image: " + image + "-bench:" + tag},
		{"- --rounds=8\n", "- --rounds=2\n        - --warm-up=0\n        - --job=4k-randwrite-fsync\n        - --job=4k-randread\n        - --file-size=8MiB\n"},
		{"- --duration=5s", "- --duration=1s"},
	} {
		if !strings.Contains(manifest, change[0]) {
			t.Fatalf("the manifest has no %q to change", change[0])
		}
		manifest = strings.ReplaceAll(manifest, change[0], change[1])
	}
	return manifest
}

// TestBenchJob runs the benchmarks' Job as docs/how-to/benchmark-in-a-cluster.md
// says, with a claim of each class, and reads the result as it says.
func TestBenchJob(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes and an image of its own; package main tests the manifest and the ConfigMap without a cluster")
	}
	c := newCluster(t)
	if err := c.LoadImage(t.Context(), benchArchive); err != nil {
		t.Fatalf("%v (make test-k8s-long builds it)", err)
	}
	t.Cleanup(func() {
		c.kubectl(t, "delete", "namespace", benchNamespace, "--ignore-not-found", "--timeout=5m")
		c.gone(t, nil, nil)
	})
	t.Cleanup(func() {
		if t.Failed() {
			c.explain(t)
			out, err := c.Kubectl(context.WithoutCancel(t.Context()), "-n", benchNamespace, "describe", "job,pod")
			t.Logf("%s (%v)", out, err)
		}
	})
	c.apply(t, benchManifest(t))

	labtest.Eventually(t, 5*time.Minute, func(ctx context.Context) error { // both volumes, the pod, its files
		out, err := c.benchctl(ctx, "logs", "job/bench")
		if err == nil && !strings.Contains(out, "[1/8") {
			err = fmt.Errorf("the pod's log shows no progress:\n%s", out)
		}
		return err
	})
	t.Log("the first of its runs is done")
	labtest.Eventually(t, 5*time.Minute, func(ctx context.Context) error {
		out, err := c.benchctl(ctx, "get", "job", "bench", "-o", "jsonpath={.status.conditions[*].type}")
		switch {
		case err != nil:
			return err
		case strings.Contains(out, "Fail"):
			logs, err := c.benchctl(ctx, "logs", "job/bench")
			t.Fatalf("the Job failed:\n%s (%v)", logs, err)
		case !strings.Contains(out, "Complete"):
			return fmt.Errorf("its conditions are %q", out)
		}
		return nil
	})
	c.wantBenchResult(t)
}

// benchctl runs kubectl in the Job's namespace.
func (c cluster) benchctl(ctx context.Context, args ...string) (string, error) {
	out, err := c.Kubectl(ctx, append([]string{"-n", benchNamespace}, args...)...)
	return string(out), err
}

// wantBenchResult reads the ConfigMap that the Job wrote.
func (c cluster) wantBenchResult(t *testing.T) {
	t.Helper()
	out, err := c.benchctl(t.Context(), "get", "configmap", "bench-result", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var stored corev1.ConfigMap
	if err := json.Unmarshal([]byte(out), &stored); err != nil {
		t.Fatal(err)
	}
	if stored.Data["state"] != "done" || !strings.Contains(stored.Data["report.md"], "## 4k-randread") {
		t.Errorf("state %q, report\n%s", stored.Data["state"], stored.Data["report.md"])
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(stored.BinaryData["result.json.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.ParseResult(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "lvm"} {
		if _, ok := r.Target(name); !ok {
			t.Errorf("target %s is missing", name)
		}
	}
	if len(r.Faults()) > 0 || len(r.Targets) != 2 || len(r.Runs) != 2*2*2 {
		t.Errorf("%d targets, %d runs, faults %v; want 2 and 8 and none", len(r.Targets), len(r.Runs), r.Faults())
	}
}
