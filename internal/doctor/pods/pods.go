// Package pods owns how the machines of a cluster are looked at from afar: by a
// pod on each, which runs the doctor there and is gone a moment later.
//
// It refuses to know any check, and leaves no pod behind that it could delete.
package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/internal/doctor"
)

// Options say what the pods are.
type Options struct {
	Client kubernetes.Interface
	// Namespace is where the pods are made; it must allow privileged ones.
	Namespace string
	// Image has this program in it, where our own has it.
	Image string
	// Checks are the IDs of those to run; all where there is none.
	Checks []string
	// Limit bounds what one node may take, its pod's start included.
	Limit time.Duration
	// Logs reads what a pod wrote; nil for the API server's own.
	Logs func(ctx context.Context, pod string) ([]byte, error)
}

// Node is the check under which it is said that a node could not be looked at.
const Node = "node"

const (
	look    = 200 * time.Millisecond
	tidying = 10 * time.Second
	program = "/usr/local/bin/bricklayer"
)

// Look runs the doctor on all nodes at once. A node that does not answer in time
// is unknown, and delays no other.
func Look(ctx context.Context, o Options) []doctor.Result {
	nodes, err := o.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return []doctor.Result{unknown("all nodes", err)}
	}
	found := make([][]doctor.Result, len(nodes.Items))
	var wg sync.WaitGroup
	for i, n := range nodes.Items {
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("its pod did not answer within %s", o.Limit))
			defer cancel()
			results, err := o.one(ctx, n.Name)
			if err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				results = []doctor.Result{unknown(n.Name, err)}
			}
			for j := range results {
				results[j].Target = n.Name
			}
			found[i] = results
		})
	}
	wg.Wait()
	var all []doctor.Result
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

func unknown(node string, err error) doctor.Result {
	return doctor.Result{Check: Node, Target: node, Status: doctor.StatusUnknown, Unknown: []doctor.Unknown{{Object: "node " + node, Why: err.Error()}}}
}

func (o *Options) one(ctx context.Context, node string) ([]doctor.Result, error) {
	pods := o.Client.CoreV1().Pods(o.Namespace)
	pod, err := pods.Create(ctx, o.pod(node), metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
		defer cancel()
		// activeDeadlineSeconds ends it where this does not.
		_ = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	}()
	if err := o.wait(ctx, pod.Name); err != nil {
		return nil, err
	}
	read := o.Logs
	if read == nil {
		read = func(ctx context.Context, name string) ([]byte, error) {
			return pods.GetLogs(name, &core.PodLogOptions{}).DoRaw(ctx)
		}
	}
	text, err := read(ctx, pod.Name)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []doctor.Result `json:"results"`
	}
	// What went wrong there, on its standard error, may follow in the same log.
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the doctor on it answered %.200q: %w", text, err)
	}
	return answer.Results, nil
}

// wait returns when the pod has ended, well or not: the exit code only repeats
// what the results say.
func (o *Options) wait(ctx context.Context, name string) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		pod, err := o.Client.CoreV1().Pods(o.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case kerrors.IsNotFound(err):
			return errors.New("somebody deleted its pod")
		case err != nil:
			return err
		case pod.Status.Phase == core.PodSucceeded, pod.Status.Phase == core.PodFailed && pod.Status.Reason == "":
			return nil
		case pod.Status.Phase == core.PodFailed:
			return fmt.Errorf("its pod failed: %s: %s", pod.Status.Reason, pod.Status.Message)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pod is one that sees its machine as the machine does.
func (o *Options) pod(node string) *core.Pod {
	args := []string{"doctor", "--root", "/host", "--output", "json"}
	for _, c := range o.Checks {
		args = append(args, "--check", c)
	}
	seconds := int64(o.Limit/time.Second) + 1
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "bricklayer-doctor-", Namespace: o.Namespace,
			Labels: map[string]string{"app.kubernetes.io/name": "bricklayer", "app.kubernetes.io/component": "doctor"},
		},
		Spec: core.PodSpec{
			NodeName: node, HostPID: true, HostNetwork: true, RestartPolicy: core.RestartPolicyNever, ActiveDeadlineSeconds: &seconds,
			TerminationGracePeriodSeconds: new(int64), AutomountServiceAccountToken: new(bool),
			// Also, and most of all, where nothing else may run.
			Tolerations: []core.Toleration{{Operator: core.TolerationOpExists}},
			Containers: []core.Container{{
				Name: "doctor", Image: o.Image, ImagePullPolicy: core.PullIfNotPresent, Command: append([]string{program}, args...),
				SecurityContext: &core.SecurityContext{Privileged: new(true), RunAsUser: new(int64)},
				VolumeMounts:    []core.VolumeMount{{Name: "host", MountPath: "/host", MountPropagation: new(core.MountPropagationHostToContainer)}},
			}},
			Volumes: []core.Volume{{Name: "host", VolumeSource: core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: "/"}}}},
		},
	}
}
