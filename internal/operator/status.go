package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	applyconfiguration "bricklayer.csi/api/client/applyconfiguration/api/v1alpha1"
	"bricklayer.csi/api/client/versioned/scheme"
	"bricklayer.csi/api/v1alpha1"
)

// write writes a status that tells something new, and sends an event about each
// condition that turned.
func (o *Operator) write(ctx context.Context, found *v1alpha1.StoragePool, status v1alpha1.StoragePoolStatus) error {
	now := metav1.Now()
	status.ObservedGeneration = found.Generation
	for i := range status.Conditions {
		c := &status.Conditions[i]
		c.ObservedGeneration, c.LastTransitionTime = found.Generation, now
		if before := meta.FindStatusCondition(found.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	if !o.due(found, status) {
		return nil
	}
	as := &applyconfiguration.StoragePoolStatusApplyConfiguration{}
	text, err := json.Marshal(status)
	if err == nil {
		err = json.Unmarshal(text, as)
	}
	if err != nil {
		return fmt.Errorf("write the status of StoragePool %s: %w", found.Name, errors.Join(errNoStatus, err))
	}
	_, err = o.Client.ApplyStatus(ctx, applyconfiguration.StoragePool(found.Name).WithStatus(as), metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if apierrors.IsNotFound(err) {
		return nil // it is gone
	}
	if err != nil {
		return fmt.Errorf("write the status of StoragePool %s: %w", found.Name, err)
	}
	o.mu.Lock()
	o.written[found.Name] = time.Now()
	o.mu.Unlock()
	o.tell(ctx, found, status)
	return nil
}

// due reports whether a status is to be written: at once where it tells something
// new, now and then where only figures changed.
func (o *Operator) due(found *v1alpha1.StoragePool, status v1alpha1.StoragePoolStatus) bool {
	if equality.Semantic.DeepEqual(found.Status, status) {
		return false
	}
	if !equality.Semantic.DeepEqual(withoutFigures(found.Status), withoutFigures(status)) {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.written[found.Name]) >= o.CapacityPeriod
}

func withoutFigures(s v1alpha1.StoragePoolStatus) v1alpha1.StoragePoolStatus {
	c := *s.DeepCopy()
	c.Capacity, c.HeketiCapacity = nil, nil
	for i := range c.Nodes {
		for j := range c.Nodes[i].Roots {
			c.Nodes[i].Roots[j].Capacity = nil
		}
	}
	return c
}

// tell sends an event about each condition that turned, and logs it.
func (o *Operator) tell(ctx context.Context, found *v1alpha1.StoragePool, status v1alpha1.StoragePoolStatus) {
	for _, c := range status.Conditions {
		before := meta.FindStatusCondition(found.Status.Conditions, c.Type)
		if before != nil && before.Status == c.Status && before.Reason == c.Reason {
			continue
		}
		if before == nil && c.Reason == reasonFine {
			continue // as one expects of a new pool
		}
		kind := corev1.EventTypeWarning
		if c.Reason == reasonFine {
			kind = corev1.EventTypeNormal
		}
		o.Events.Eventf(found, kind, c.Type+c.Reason, "%s is %s: %s", c.Type, c.Status, c.Message)
		o.Log.InfoContext(ctx, "a StoragePool is not as it was", "pool", found.Name, "condition", c.Type, "status", string(c.Status), "reason", c.Reason, "message", c.Message)
	}
}

// Recorder returns a recorder of events in an API server, until ctx ends.
func Recorder(ctx context.Context, client kubernetes.Interface, component string) record.EventRecorder {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}
