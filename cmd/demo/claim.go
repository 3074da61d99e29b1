package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bricklayer.csi/lab"
)

// patient is how long Kubernetes, and the program, may take for one step: the
// lab's two processors have more to do than a storage cluster's.
const patient = "5m"

// byClaim does each step through Kubernetes, as a user does.
type byClaim struct {
	lab     *lab.Lab
	workers []lab.Worker
	// name is the claim's, and class the one word in which the two claims differ.
	name, class string
}

// claim is what a user applies.
func (b *byClaim) claim(bytes int64) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: %dMi}}
`, b.name, b.class, bytes/mib)
}

// pod keeps the claim mounted on a worker, and waits to be told what to do.
func (b *byClaim) pod(worker string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {claim: %s}}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  containers:
  - name: main
    image: bricklayer.lab/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "trap exit TERM; while :; do sleep 1 & wait $!; done"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, b.podName(worker), b.name, worker, b.name)
}

func (b *byClaim) podName(worker string) string { return b.name + "-" + worker }

// kubectl answers what it said, without blanks around it.
func (b *byClaim) kubectl(ctx context.Context, args ...string) (string, error) {
	out, err := b.lab.Kubectl(ctx, args...)
	return strings.TrimSpace(string(out)), err
}

func (b *byClaim) create(ctx context.Context, bytes int64) error {
	if _, err := b.lab.KubectlInput(ctx, b.claim(bytes), "apply", "-f", "-"); err != nil {
		return err
	}
	_, err := b.kubectl(ctx, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/"+b.name, "--timeout="+patient)
	return err
}

// volume is the name of its PersistentVolume.
func (b *byClaim) volume(ctx context.Context) (string, error) {
	return b.kubectl(ctx, "get", "pvc", b.name, "-o", "jsonpath={.spec.volumeName}")
}

// bricks asks the program, as an administrator does.
func (b *byClaim) bricks(ctx context.Context) ([]brick, error) {
	pv, err := b.volume(ctx)
	if err != nil {
		return nil, err
	}
	handle, err := b.kubectl(ctx, "get", "pv", pv, "-o", "jsonpath={.spec.csi.volumeHandle}")
	if err != nil {
		return nil, err
	}
	out, err := b.lab.Host(ctx, b.lab.Program(), "volume", "get", handle, "-o", "json", "--timeout", patient,
		"--pools", b.lab.PoolFile(), "--certs", filepath.Join(b.lab.CertsDir(), "controller"))
	if err != nil {
		return nil, err
	}
	var got struct {
		Bricks []string `json:"bricks"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("the answer of volume get %s: %w", handle, err)
	}
	return parseBricks(b.lab.Nodes(), got.Bricks)
}

func (b *byClaim) expand(ctx context.Context, bytes int64) error {
	_, err := b.kubectl(ctx, "patch", "pvc", b.name, "-p", fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":"%dGi"}}}}`, bytes/gib))
	if err != nil {
		return err
	}
	_, err = b.kubectl(ctx, "wait", fmt.Sprintf("--for=jsonpath={.status.capacity.storage}=%dGi", bytes/gib), "pvc/"+b.name, "--timeout="+patient)
	return err
}

// mount starts a pod on each worker and answers where kubelet has the first one's volume.
func (b *byClaim) mount(ctx context.Context) (string, error) {
	var pods strings.Builder
	for _, w := range b.workers {
		pods.WriteString(b.pod(w.Name))
	}
	if _, err := b.lab.KubectlInput(ctx, pods.String(), "apply", "-f", "-"); err != nil {
		return "", err
	}
	if _, err := b.kubectl(ctx, "wait", "--for=condition=Ready", "pod", "-l", "claim="+b.name, "--timeout="+patient); err != nil {
		return "", err
	}
	first := b.workers[0]
	uid, err := b.kubectl(ctx, "get", "pod", b.podName(first.Name), "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return "", err
	}
	pv, err := b.volume(ctx)
	return filepath.Join(first.KubeletDir, "pods", uid, "volumes", "kubernetes.io~csi", pv, "mount"), err
}

func (b *byClaim) on(ctx context.Context, worker, script string) (string, error) {
	return b.kubectl(ctx, "exec", b.podName(worker), "--", "sh", "-ec", "cd /data; "+script)
}

func (b *byClaim) unmount(ctx context.Context) error {
	_, err := b.kubectl(ctx, "delete", "pod", "-l", "claim="+b.name, "--timeout="+patient)
	return err
}

// remove deletes the claim and waits until its PersistentVolume has gone, which is
// when the volume has.
func (b *byClaim) remove(ctx context.Context) error {
	pv, err := b.volume(ctx)
	if err != nil {
		return err
	}
	if _, err := b.kubectl(ctx, "delete", "pvc", b.name, "--timeout="+patient); err != nil {
		return err
	}
	_, err = b.kubectl(ctx, "wait", "--for=delete", "pv/"+pv, "--timeout="+patient)
	return err
}

// brick is one brick of a volume, and the node that it lies on.
type brick struct{ node, path string }

// brickOn returns the first of the bricks that lies on a node.
func brickOn(node string, all []brick) (brick, error) {
	for _, b := range all {
		if b.node == node {
			return b, nil
		}
	}
	return brick{}, fmt.Errorf("it has no brick on %s", node)
}

// parseBricks reads ADDRESS:PATH, as Gluster writes bricks.
func parseBricks(nodes []lab.Node, all []string) ([]brick, error) {
	if len(all) == 0 {
		return nil, errors.New("the volume has no bricks")
	}
	bricks := make([]brick, 0, len(all))
	for _, text := range all {
		address, path, ok := strings.Cut(text, ":")
		b := brick{path: path}
		for _, n := range nodes {
			if n.Address.String() == address {
				b.node = n.Name
			}
		}
		if !ok || b.node == "" || !filepath.IsAbs(path) {
			return nil, fmt.Errorf("brick %q: want ADDRESS:/PATH with the address of a node of the lab", text)
		}
		bricks = append(bricks, b)
	}
	return bricks, nil
}
