// Package podevents owns the events by which pods learn that a mount of theirs is
// dead: kubectl describe pod is where a person looks first, and kubelet turns
// only failed calls into events.
//
// It refuses to know how mounts are made and mended. It asks the API server for
// nothing as long as all mounts answer.
package podevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

// Options say whose mounts are watched and how. Log may be nil.
type Options struct {
	// Node is the node's name in Kubernetes.
	Node string
	// Driver names who sends the events.
	Driver string
	Mounts mount.Mounter
	Client kubernetes.Interface
	// Every is how often mounts are looked at; zero means DefaultEvery.
	Every time.Duration
	Log   *slog.Logger
}

// DefaultEvery is often enough for a person, and before kubelet, which publishes
// again every minute or so, replaces a pod's dead mount.
const DefaultEvery = 15 * time.Second

// Reason is the reason of the events.
const Reason = "VolumeClientGone"

// Watcher looks at the mounts of a node. Make it with New.
type Watcher struct {
	opts Options
	told map[string]bool // pods and mounts of which the API server knows
}

// New returns a watcher.
func New(o Options) (*Watcher, error) {
	if o.Node == "" || o.Mounts == nil || o.Client == nil {
		return nil, errors.New("send events on pods: a node, its mounts and a client of the API server are needed")
	}
	if o.Every <= 0 {
		o.Every = DefaultEvery
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{opts: o, told: map[string]bool{}}, nil
}

// Run looks until ctx ends. What fails is logged and tried again.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.opts.Log.WarnContext(ctx, "cannot tell pods of dead mounts", "error", err)
		}
	}
}

// dead is a pod's mount whose client is gone.
type dead struct {
	pod    types.UID
	volume string // the PersistentVolume's name
	device string
	why    error
}

func (d dead) key() string { return string(d.pod) + " " + d.volume + " " + d.device }

// look tells each pod with a dead mount of it, once.
func (w *Watcher) look(ctx context.Context) error {
	all, err := w.deadMounts(ctx)
	if err != nil {
		return err
	}
	still, news := map[string]bool{}, map[types.UID][]dead{}
	for _, d := range all {
		if w.told[d.key()] {
			still[d.key()] = true
		} else {
			news[d.pod] = append(news[d.pod], d)
		}
	}
	w.told = still
	if len(news) == 0 {
		return nil
	}
	pods, err := w.opts.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", w.opts.Node).String(),
	})
	if err != nil {
		return fmt.Errorf("list the pods of node %s: %w", w.opts.Node, err)
	}
	var faults []error
	for i := range pods.Items {
		for _, d := range news[pods.Items[i].UID] {
			if err := w.tell(ctx, &pods.Items[i], d); err != nil {
				faults = append(faults, err)
				continue
			}
			w.told[d.key()] = true
		}
	}
	return errors.Join(faults...)
}

// maxMessage is what the API server takes of an event's message.
const maxMessage = 1024

func (w *Watcher) tell(ctx context.Context, pod *corev1.Pod, d dead) error {
	now := metav1.Now()
	message := fmt.Sprintf("Volume %s is gone from this pod: %v. Delete the pod: the one in its place gets a mount that works", d.volume, d.why)
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	_, err := w.opts.Client.CoreV1().Events(pod.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, Name: fmt.Sprintf("%s.%x", pod.Name, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Reason:         Reason, Message: strings.ToValidUTF8(message, ""), Type: corev1.EventTypeWarning,
		Source:         corev1.EventSource{Component: w.opts.Driver, Host: w.opts.Node},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("send an event on pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	w.opts.Log.InfoContext(ctx, "told a pod that its mount is dead", "namespace", pod.Namespace, "pod", pod.Name, "volume", d.volume)
	return nil
}

// askAtOnce bounds how many clients are asked at the same time.
const askAtOnce = 16

// deadMounts returns pods' mounts of clients that are gone. Each client is asked once.
func (w *Watcher) deadMounts(ctx context.Context) ([]dead, error) {
	table, err := w.opts.Mounts.Mounts(ctx)
	if err != nil {
		return nil, err
	}
	ask := map[string]string{} // the mount to ask, by device
	for _, m := range table {
		if m.Volume() != "" {
			ask[m.Device] = m.Target
		}
	}
	var mu sync.Mutex
	gone := map[string]error{}
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for device, target := range ask {
		group.Go(func() error {
			if _, err := w.opts.Mounts.Usage(ctx, target); errors.Is(err, mount.ErrStale) {
				mu.Lock()
				defer mu.Unlock()
				gone[device] = cause(err)
			}
			return nil
		})
	}
	_ = group.Wait() // no member fails
	var found []dead
	for _, m := range table {
		why, isGone := gone[m.Device]
		pod, pv, isPods := podOf(m.Target)
		if isGone && isPods {
			found = append(found, dead{pod: pod, volume: pv, device: m.Device, why: why})
		}
	}
	return found, nil
}

// cause leaves out what was tried: a pod's reader did not try anything.
func cause(err error) error {
	if e, ok := errors.AsType[*volume.Error](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// podOf reads from a path of kubelet's whose it is:
// .../pods/UID/volumes/kubernetes.io~csi/PV/mount.
func podOf(target string) (pod types.UID, pv string, ok bool) {
	parts := strings.Split(filepath.Clean(target), "/")
	n := len(parts)
	if n < 6 || parts[n-1] != "mount" || parts[n-3] != "kubernetes.io~csi" || parts[n-4] != "volumes" || parts[n-6] != "pods" {
		return "", "", false
	}
	return types.UID(parts[n-5]), parts[n-2], true
}
