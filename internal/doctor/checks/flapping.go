package checks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"bricklayer.csi/internal/doctor"
)

var nodeFlapping = doctor.Check{
	ID: "node-flapping", Title: "nodes flap between Ready and NotReady", Severity: doctor.Error,
	Reads: `The controller-manager's --node-monitor-grace-period (its pod in kube-system, or its process on this
machine), each kubelet's running configuration (configz), its lease, the node's condition Ready, and events NodeNotReady of the last hour.`,
	Why: `The controller-manager takes a node for lost when it has heard nothing for the grace period. kubelet renews its
lease every quarter of its duration, 10 s if nobody changed it. A grace of few renewals turns one slow write of etcd,
or one busy moment of the node, into NotReady: pods are evicted and started elsewhere, volumes mounted anew, and all of
it comes back a moment later.`,
	Mend: `Give the grace at least four renewals of the lease: the default of 40 s (50 s from Kubernetes 1.32) with the
default lease of 40 s. On a kubeadm cluster it is in /etc/kubernetes/manifests/kube-controller-manager.yaml. Where the
grace is right and nodes flap all the same: the node is starved of processor, memory or disk, or etcd is slow.
On a host of the control plane the check node-monitor-grace finds the same, and --fix there sets the flag.`,
	Site: checkFlapping,
}

const (
	graceFlag = "node-monitor-grace-period"
	// leastRenewals is how many renewals of a lease a grace must span to be safe; with
	// fewer than two a single late one is an outage.
	leastRenewals = 3
	flapWindow    = time.Hour
	// fewestFlaps leaves out a node that was booted once.
	fewestFlaps = 2
	// graceDefault is the longest of the defaults of all versions.
	graceDefault = 50 * time.Second
	graceOld     = 40 * time.Second
)

func checkFlapping(ctx context.Context, s *doctor.Site, r *doctor.Recorder) {
	if s.Kubernetes == nil {
		r.Skip("no cluster was named: give --kubeconfig")
		return
	}
	nodes, err := s.Kubernetes.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		r.Unknown("nodes", err)
		return
	}
	grace, from, err := graceOf(ctx, s)
	if err != nil {
		r.Unknown("grace period of the controller-manager", err)
	}
	flaps, err := notReadyEvents(ctx, s)
	if err != nil {
		r.Unknown("events of nodes", err)
	}
	renewals := doctor.Each(ctx, nodes.Items, func(ctx context.Context, n core.Node) renewal { return renewalOf(ctx, s, n.Name) },
		func(_ core.Node, err error) renewal { return renewal{err: err} })
	for i, n := range nodes.Items {
		oneNode(s, n, renewals[i], grace, from, flaps[n.Name], r)
	}
}

// oneNode judges one node by all that was read.
func oneNode(s *doctor.Site, n core.Node, every renewal, grace time.Duration, from string, flaps []string, r *doctor.Recorder) {
	f := doctor.Finding{Severity: doctor.Error, Object: "node " + n.Name}
	if every.err != nil {
		r.Unknown("lease and kubelet of node "+n.Name, every.err)
	} else if grace > 0 && grace < leastRenewals*every.interval {
		f.Problem = fmt.Sprintf("it is taken for lost after %s without news, and sends news every %s", grace, every.interval)
		f.Evidence = append(f.Evidence, from, every.from)
		if grace >= 2*every.interval {
			f.Severity = doctor.Warning
		}
	}
	if len(flaps) >= fewestFlaps {
		f.Severity = doctor.Error
		if f.Problem == "" {
			f.Problem = fmt.Sprintf("it was NotReady %d times within %s", len(flaps), flapWindow)
		}
		f.Evidence = append(f.Evidence, flaps[max(0, len(flaps)-3):]...)
	}
	if ready := readyOf(n); ready.Status != core.ConditionTrue {
		f.Severity = doctor.Error
		if f.Problem == "" {
			f.Problem = "it is not Ready"
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("Ready is %s since %s: %s", ready.Status, ready.LastTransitionTime.UTC().Format(time.RFC3339), ready.Message))
	}
	if late := s.Local.Now().Sub(every.last); every.err == nil && late > every.duration {
		if f.Problem == "" {
			f.Problem = "its lease is not renewed in time"
			f.Severity = doctor.Warning
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("its lease of %s was renewed %s ago", every.duration, late.Round(time.Second)))
	}
	if f.Problem != "" {
		r.Found(f)
	}
}

func readyOf(n core.Node) core.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == core.NodeReady {
			return c
		}
	}
	return core.NodeCondition{Status: core.ConditionUnknown, Message: "the node has no such condition"}
}

// renewal is how a kubelet renews its lease.
type renewal struct {
	interval, duration time.Duration
	last               time.Time
	from               string
	err                error
}

// configz is the part that matters of what a kubelet answers there.
type configz struct {
	Kubelet struct {
		LeaseSeconds int32           `json:"nodeLeaseDurationSeconds"`
		Frequency    metav1.Duration `json:"nodeStatusUpdateFrequency"`
	} `json:"kubeletconfig"`
}

// renewalOf asks the kubelet, through the API server, and reads its lease; the
// lease alone says enough where the kubelet may not be asked.
func renewalOf(ctx context.Context, s *doctor.Site, node string) renewal {
	lease, err := s.Kubernetes.CoordinationV1().Leases(core.NamespaceNodeLease).Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return renewal{err: err}
	}
	if lease.Spec.LeaseDurationSeconds == nil || lease.Spec.RenewTime == nil {
		return renewal{err: errors.New("the lease says neither how long it holds nor when it was renewed")}
	}
	duration := time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
	every := renewal{
		duration: duration, interval: duration / 4, last: lease.Spec.RenewTime.Time,
		from: fmt.Sprintf("the lease holds %s, and kubelet renews it every quarter of that", duration),
	}
	client := s.Kubernetes.CoreV1().RESTClient()
	if restless(client) {
		return every
	}
	text, err := client.Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("configz").DoRaw(ctx)
	var config configz
	if err == nil && json.Unmarshal(text, &config) == nil && config.Kubelet.LeaseSeconds > 0 {
		every.from = fmt.Sprintf("kubelet's nodeLeaseDurationSeconds is %d, its nodeStatusUpdateFrequency %s", config.Kubelet.LeaseSeconds, config.Kubelet.Frequency.Duration)
	}
	return every
}

// graceOf returns the grace period and where it was read.
func graceOf(ctx context.Context, s *doctor.Site) (time.Duration, string, error) {
	pods, err := s.Kubernetes.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, "", err
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			args := append(slices.Clone(c.Command), c.Args...)
			if slices.ContainsFunc(args[:min(2, len(args))], func(a string) bool { return path.Base(a) == "kube-controller-manager" }) {
				return parseGrace(args, "pod kube-system/"+p.Name)
			}
		}
	}
	running, err := s.Local.Running("kube-controller-manager")
	if err != nil {
		return 0, "", err
	}
	for _, p := range running {
		if sameServer(s, p.Args) {
			return parseGrace(p.Args, fmt.Sprintf("process %d on %s", p.PID, s.Local.Name))
		}
	}
	return 0, "", errors.New("no pod in kube-system is the controller-manager, and it does not run on this machine: run the doctor on a control plane host, or ask who runs the control plane for --" + graceFlag)
}

// sameServer reports whether a controller-manager is of the cluster that is looked at.
func sameServer(s *doctor.Site, args []string) bool {
	for _, a := range args {
		file, ok := strings.CutPrefix(a, "--kubeconfig=")
		if !ok {
			continue
		}
		text, err := s.Local.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || err != nil {
			return false
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(text)
		return err == nil && strings.TrimSuffix(config.Host, "/") == strings.TrimSuffix(s.Server, "/")
	}
	return false
}

func parseGrace(args []string, where string) (time.Duration, string, error) {
	value, given := flagOf(args, graceFlag)
	if !given {
		// The default is 50 s, 40 s before Kubernetes 1.32: both are long enough.
		return graceOld, where + " does not set --" + graceFlag + ": the default", nil
	}
	grace, err := time.ParseDuration(value)
	if err != nil {
		return 0, "", fmt.Errorf("%s: --%s is %q: %w", where, graceFlag, value, err)
	}
	return grace, fmt.Sprintf("--%s=%s of %s", graceFlag, value, where), nil
}

// notReadyEvents returns, by node, when it was NotReady within the window.
func notReadyEvents(ctx context.Context, s *doctor.Site) (map[string][]string, error) {
	events, err := s.Kubernetes.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,reason=NodeNotReady"})
	if err != nil {
		return nil, err
	}
	byNode := map[string][]string{}
	now := s.Local.Now()
	for _, e := range events.Items {
		last := e.LastTimestamp.Time
		if last.IsZero() {
			last = e.EventTime.Time
		}
		// A fake or an old server may not heed the selector.
		if e.Reason != "NodeNotReady" || e.InvolvedObject.Kind != "Node" || now.Sub(last) > flapWindow {
			continue
		}
		for range max(1, int(min(e.Count, 100))) {
			byNode[e.InvolvedObject.Name] = append(byNode[e.InvolvedObject.Name], "NodeNotReady at "+last.UTC().Format(time.RFC3339))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byNode)) {
		slices.Sort(byNode[name])
	}
	return byNode, nil
}
