//go:build kube && lab

// Package deploy_test installs the chart, with the image that is built from this
// tree, into the lab's Kubernetes, and uses it as a user does: by claims and pods.
package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// What make test-k8s builds before: in the lab's network nothing can be fetched.
const (
	archive = "../bin/image-test.tar"
	helm    = "../bin/helm"
)

const (
	namespace = "bricklayer"
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

func (c cluster) install(ctx context.Context) error {
	if err := c.EnsureHeketi(ctx); err != nil {
		return err
	}
	if err := c.EnsureKubernetes(ctx); err != nil {
		return err
	}
	if err := c.LoadImage(ctx, archive); err != nil {
		return fmt.Errorf("%w (make test-k8s builds the image)", err)
	}
	// What an earlier run left behind goes first, so that the test is of this tree.
	if err := c.uninstall(ctx); err != nil {
		return err
	}
	if err := c.secrets(ctx); err != nil {
		return err
	}
	values, err := c.values()
	if err != nil {
		return err
	}
	return c.helm(ctx, values, "install", namespace, "helm/bricklayer", "--namespace", namespace, "--values", "-", "--wait", "--timeout", "3m")
}

func (c cluster) uninstall(ctx context.Context) error {
	out, err := c.Kubectl(ctx, "get", "namespace", namespace, "--ignore-not-found", "-o", "name")
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return err
	}
	if err := c.helm(ctx, nil, "uninstall", namespace, "--namespace", namespace, "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, "delete", "namespace", namespace, "--timeout=2m")
	return err
}

func (c cluster) helm(ctx context.Context, in []byte, args ...string) error {
	cmd := exec.CommandContext(ctx, helm, append(args, "--kubeconfig", c.Kubeconfig())...)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// secrets makes the namespace, the controllers' certificate, and heketi's key
// for the pool and, as the in-tree plug-in had it, for a class.
func (c cluster) secrets(ctx context.Context) error {
	commands := [][]string{
		{"create", "namespace", namespace},
		{"-n", namespace, "create", "secret", "generic", "bricklayer-lab", "--from-file=" + filepath.Join(c.CertsDir(), "controller")},
		{"-n", namespace, "create", "secret", "generic", "heketi", "--from-file=key=" + c.HeketiKeyFile()},
		{"-n", "kube-public", "delete", "secret", "heketi-secret", "--ignore-not-found"},
		{"-n", "kube-public", "create", "secret", "generic", "heketi-secret", "--type=kubernetes.io/glusterfs", "--from-file=key=" + c.HeketiKeyFile()},
	}
	for _, args := range commands {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// values returns the chart's values for the lab: its pool, and four classes.
func (c cluster) values() ([]byte, error) {
	pools, err := pool.Load(c.PoolFile())
	if err != nil {
		return nil, err
	}
	p := pools[0]
	if p.Spec.Heketi == nil {
		return nil, fmt.Errorf("the pool in %s names no heketi", c.PoolFile())
	}
	p.Spec.Heketi.KeyFile = "/etc/bricklayer/secrets/heketi/key"
	class := func(parameters map[string]string, more ...any) map[string]any {
		m := map[string]any{"parameters": parameters}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	return yaml.Marshal(map[string]any{
		"image":        map[string]any{"repository": image, "tag": tag, "pullPolicy": "Never"},
		"pools":        []any{p},
		"certificates": map[string]string{p.Name: "bricklayer-lab"},
		"secrets":      []string{"heketi"},
		"controller":   map[string]any{"logLevel": "debug", "secretNamespaces": []string{"kube-public"}},
		"node":         map[string]any{"logLevel": "debug"},
		"storageClasses": map[string]any{
			"plain":       class(map[string]string{"lvm": "false"}),
			"plain-first": class(map[string]string{"lvm": "false"}, "volumeBindingMode", "WaitForFirstConsumer"),
			"lvm":         class(map[string]string{"lvm": "true"}),
			"in-tree": class(map[string]string{
				"resturl": c.HeketiURL(), "restauthenabled": "true", "restuser": "admin",
				"secretNamespace": "kube-public", "secretName": "heketi-secret",
				"gidMin": "41000", "gidMax": "41010", "volumetype": "replicate:3", "volumenameprefix": "dept",
			}),
		},
	})
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
	ctx := context.WithoutCancel(t.Context())
	for _, args := range [][]string{
		{"get", "pods,pvc,pv", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"-n", namespace, "logs", "-l", "app.kubernetes.io/component=controller", "--tail=30", "--prefix"},
		{"-n", namespace, "logs", "-l", "app.kubernetes.io/component=node", "--tail=20", "--prefix"},
		{"-n", namespace, "logs", "-l", "app.kubernetes.io/component=mounts", "--tail=20", "--prefix"},
	} {
		out, err := c.Kubectl(ctx, args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, within time.Duration, ok func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(errors.Join(fmt.Errorf("not within %v", within), err))
		}
	}
}
