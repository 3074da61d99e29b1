//go:build kube && lab

// Package deploy_test installs the chart, with the image that is built from this
// tree, into the lab's Kubernetes, and uses it as a user does: by claims and pods.
package deploy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"bricklayer.csi/lab"
	"bricklayer.csi/lab/chart"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// What make test-k8s builds before: in the lab's network nothing can be fetched.
const (
	archive = "../bin/image-test.tar"
	helm    = "../bin/helm"
)

const (
	namespace = chart.Namespace
	image     = "localhost/bricklayer"
	tag       = "test"
	busybox   = "bricklayer.lab/busybox:1"
)

// setupTime bounds the installation.
const setupTime = 10 * time.Minute

// cluster is what the tests share: the lab with Kubernetes, a heketi, and the
// chart installed in it.
type cluster struct{ *lab.Lab }

var install = sync.OnceValues(func() (cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTime)
	defer cancel()
	c := cluster{lab.Current()}
	return c, c.install(ctx)
})

func newCluster(t *testing.T) cluster {
	t.Helper()
	c, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chart is what is installed in the lab: this tree's, with four classes.
func (c cluster) chart() chart.Chart {
	return chart.Chart{
		Lab: c.Lab, Helm: helm, Dir: "helm/bricklayer", Repository: image, Tag: tag, Archive: archive,
		Values: map[string]any{
			"controller": map[string]any{"logLevel": "debug", "secretNamespaces": []string{"kube-public"}},
			"node":       map[string]any{"logLevel": "debug", "metricsPort": metricsPort(9808)},
			"mounts":     map[string]any{"metricsPort": metricsPort(9807)},
			"storageClasses": map[string]any{
				"plain":       chart.Class(map[string]string{"lvm": "false"}),
				"plain-first": chart.Class(map[string]string{"lvm": "false"}, "volumeBindingMode", "WaitForFirstConsumer"),
				"lvm":         chart.Class(map[string]string{"lvm": "true"}),
				"in-tree": chart.Class(map[string]string{
					"resturl": c.HeketiURL(), "restauthenabled": "true", "restuser": "admin",
					"secretNamespace": "kube-public", "secretName": "heketi-secret",
					"gidMin": "41000", "gidMax": "41010", "volumetype": "replicate:3", "volumenameprefix": "dept",
				}),
			},
		},
	}
}

func (c cluster) install(ctx context.Context) error {
	if err := c.EnsureHeketi(ctx); err != nil {
		return err
	}
	if err := c.EnsureKubernetes(ctx); err != nil {
		return err
	}
	if err := c.secrets(ctx); err != nil {
		return err
	}
	if err := c.chart().Install(ctx); err != nil {
		return fmt.Errorf("%w (make test-k8s builds the image and helm)", err)
	}
	return nil
}

// secrets makes heketi's key for a class, as the in-tree plug-in had it.
func (c cluster) secrets(ctx context.Context) error {
	for _, args := range [][]string{
		{"-n", "kube-public", "delete", "secret", "heketi-secret", "--ignore-not-found"},
		{"-n", "kube-public", "create", "secret", "generic", "heketi-secret", "--type=kubernetes.io/glusterfs", "--from-file=key=" + c.HeketiKeyFile()},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs one command and fails the test where that fails.
func (c cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(context.WithoutCancel(t.Context()), args...) // cleanups call it too
	if err != nil {
		c.explain(t)
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (c cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	if _, err := c.KubectlInput(t.Context(), manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// explain logs what an engineer would look at first.
func (c cluster) explain(t *testing.T) {
	t.Helper()
	t.Log(c.chart().Explain(context.WithoutCancel(t.Context())))
}

// metricsPort is 0 in short runs, in which nobody looks there.
func metricsPort(port int) int {
	if testing.Short() {
		return 0
	}
	return port
}
