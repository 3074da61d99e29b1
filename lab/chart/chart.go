// Package chart installs the Helm chart of this tree into a lab's Kubernetes, as
// an administrator does: an image on the workers, Secrets, values, helm.
//
// It owns the values that fit a lab. It refuses to know what is done with the
// classes: the demo and the tests of package deploy share it.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/pool"
	"bricklayer.csi/lab"
)

// Namespace is where the chart is installed, and the name of its release.
const Namespace = "bricklayer"

// Pods are the values of the label by which the chart tells its pods apart.
const (
	Controller = "controller"
	Node       = "node"
	Mounts     = "mounts"
)

const (
	certificates = "bricklayer-lab"
	heketiKey    = "heketi"
	keyFile      = "/etc/bricklayer/secrets/" + heketiKey + "/key"
)

// Chart is what is installed, and where.
type Chart struct {
	Lab *lab.Lab
	// Helm is the program, and Dir the chart's directory.
	Helm, Dir string
	// Repository and Tag name the image, and Archive is the file that holds it.
	Repository, Tag, Archive string
	// Values go beside those that the lab itself asks for; of maps that both have,
	// the keys are put together.
	Values map[string]any
}

// Install gives the workers the image and installs the chart anew, until all that
// it brings is ready. Lab must have a heketi and a Kubernetes.
func (c Chart) Install(ctx context.Context) error {
	if err := c.Lab.LoadImage(ctx, c.Archive); err != nil {
		return err
	}
	// What an earlier run left behind goes first, so that what runs is of this tree.
	if err := c.Uninstall(ctx); err != nil {
		return err
	}
	if err := c.Secrets(ctx); err != nil {
		return err
	}
	values, err := c.AllValues()
	if err != nil {
		return err
	}
	return c.Run(ctx, values, "install", Namespace, c.Dir, "--namespace", Namespace, "--values", "-", "--wait", "--timeout", "3m")
}

// Uninstall removes the release and its namespace. That there is none is no error.
func (c Chart) Uninstall(ctx context.Context) error {
	out, err := c.Lab.Kubectl(ctx, "get", "namespace", Namespace, "--ignore-not-found", "-o", "name")
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return err
	}
	if err := c.Run(ctx, nil, "uninstall", Namespace, "--namespace", Namespace, "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	_, err = c.Lab.Kubectl(ctx, "delete", "namespace", Namespace, "--timeout=2m")
	return err
}

// Run runs helm inside the lab's network.
func (c Chart) Run(ctx context.Context, in []byte, args ...string) error {
	argv, err := c.Lab.HostArgv(append(append([]string{c.Helm}, args...), "--kubeconfig", c.Lab.Kubeconfig())...)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &said, &said
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// Secrets makes the namespace, and in it the controllers' certificate and heketi's key.
func (c Chart) Secrets(ctx context.Context) error {
	for _, args := range [][]string{
		{"create", "namespace", Namespace},
		{"-n", Namespace, "create", "secret", "generic", certificates, "--from-file=" + filepath.Join(c.Lab.CertsDir(), "controller")},
		{"-n", Namespace, "create", "secret", "generic", heketiKey, "--from-file=key=" + c.Lab.HeketiKeyFile()},
	} {
		if _, err := c.Lab.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// AllValues are the chart's values for the lab: its pool, the image, and Values.
func (c Chart) AllValues() ([]byte, error) {
	pools, err := pool.Load(c.Lab.PoolFile())
	if err != nil {
		return nil, err
	}
	if len(pools) == 0 || pools[0].Spec.Heketi == nil {
		return nil, fmt.Errorf("%s: its pool names no heketi: lab up --name %s --heketi", c.Lab.PoolFile(), c.Lab.Name())
	}
	p := pools[0]
	p.Spec.Heketi.KeyFile = keyFile
	values := map[string]any{
		"image":        map[string]any{"repository": c.Repository, "tag": c.Tag, "pullPolicy": "Never"},
		"pools":        []any{p},
		"certificates": map[string]any{p.Name: certificates},
		"secrets":      []any{heketiKey},
	}
	merge(values, c.Values)
	return yaml.Marshal(values)
}

// merge puts what more has into values, and where both have a map, into that.
func merge(values, more map[string]any) {
	for key, v := range more {
		old, both := values[key].(map[string]any)
		if m, ok := v.(map[string]any); ok && both {
			merge(old, m)
			continue
		}
		values[key] = v
	}
}

// Class is a StorageClass as the chart's values have it; more are further keys
// and their values in turn.
func Class(parameters map[string]string, more ...string) map[string]any {
	m := map[string]any{"parameters": parameters}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

// Explain says what an engineer would look at first where something went wrong.
func (c Chart) Explain(ctx context.Context) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "pods,pvc,pv", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		logs(Controller, 30), logs(Node, 20), logs(Mounts, 20),
	} {
		out, err := c.Lab.Kubectl(ctx, args...)
		fmt.Fprintf(&b, "$ kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	return b.String()
}

// ReplaceNode deletes the node service's pod of a worker, and waits until there is
// another one and it is ready.
func (c Chart) ReplaceNode(ctx context.Context, worker string) error {
	of := []string{"-n", Namespace, "pod", "-l", selector(Node), "--field-selector", "spec.nodeName=" + worker}
	if _, err := c.Lab.Kubectl(ctx, append([]string{"delete", "--timeout=2m"}, of...)...); err != nil {
		return err
	}
	const ready = `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := c.Lab.Kubectl(ctx, append([]string{"get", "-o", ready}, of...)...)
		if err != nil || string(out) == "True" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the node pod of %s is not ready: %w", worker, context.Cause(ctx))
		}
	}
}

func logs(component string, lines int) []string {
	return []string{"-n", Namespace, "logs", "-l", selector(component), fmt.Sprintf("--tail=%d", lines), "--prefix"}
}

func selector(component string) string { return "app.kubernetes.io/component=" + component }
