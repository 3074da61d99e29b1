// Package claims owns targets of the benchmarks that are claims on a StorageClass
// of a Kubernetes cluster: the claim is made, its volume mounted on this host, and
// both are gone at the end.
//
// It refuses to know who provisions: any PersistentVolume will do that says in its
// attributes which Gluster volume it is, as ours do.
package claims

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/bench"
	"bricklayer.csi/internal/mount"
	"bricklayer.csi/internal/volume"
)

const (
	// boundWithin bounds how long a claim may wait for its volume, and a volume for
	// its end.
	boundWithin = 5 * time.Minute
	// pollEvery is how often a claim is looked at.
	pollEvery = time.Second
)

// Options say where claims are made.
type Options struct {
	Client    kubernetes.Interface
	Namespace string
	Mounts    bench.Mounts
	// Poll is how often a claim is looked at; 0 means a second.
	Poll time.Duration
}

// Claim is a target: a claim on a class.
type Claim struct {
	o     Options
	name  string
	claim string
	class string
	size  volume.Size
	// volume is the PersistentVolume, once it is known.
	volume string
	made   bool
}

// New returns a claim on a class, which is made when the target is opened. run
// tells one run of the benchmarks from others.
func New(name, run, class string, size volume.Size, o Options) (*Claim, error) {
	if err := bench.CheckTargetName(name); err != nil {
		return nil, err
	}
	if o.Poll == 0 {
		o.Poll = pollEvery
	}
	return &Claim{o: o, name: name, claim: run + "-" + name, class: class, size: size}, nil
}

// Name implements bench.Target.
func (c *Claim) Name() string { return c.name }

// Kind implements bench.Target.
func (c *Claim) Kind() string { return "StorageClass" }

// Open makes the claim, waits for its volume and mounts it.
func (c *Claim) Open(ctx context.Context) (bench.Place, error) {
	class, err := c.o.Client.StorageV1().StorageClasses().Get(ctx, c.class, metav1.GetOptions{})
	if err != nil {
		return bench.Place{}, fmt.Errorf("target %s: StorageClass %s: %w", c.name, c.class, err)
	}
	if m := class.VolumeBindingMode; m != nil && *m == storagev1.VolumeBindingWaitForFirstConsumer {
		return bench.Place{}, fmt.Errorf("target %s: StorageClass %s waits for a pod (volumeBindingMode %s), and the benchmark runs none: want a class with %s",
			c.name, c.class, *m, storagev1.VolumeBindingImmediate)
	}
	if err := c.make(ctx); err != nil {
		return bench.Place{}, fmt.Errorf("target %s: claim %s/%s: %w", c.name, c.o.Namespace, c.claim, err)
	}
	pv, err := c.bound(ctx)
	if err != nil {
		return bench.Place{}, fmt.Errorf("target %s: claim %s/%s on class %s: %w", c.name, c.o.Namespace, c.claim, c.class, err)
	}
	source := pv.Spec.CSI
	if source == nil {
		return bench.Place{}, fmt.Errorf("target %s: PersistentVolume %s is no CSI volume: want a class of Bricklayer", c.name, pv.Name)
	}
	src, err := mount.NewSource(source.VolumeAttributes[volume.ContextServers], source.VolumeAttributes[volume.ContextVolume])
	if err != nil {
		return bench.Place{}, fmt.Errorf("target %s: PersistentVolume %s of driver %s: %w", c.name, pv.Name, source.Driver, err)
	}
	dir, err := c.o.Mounts.Mount(ctx, c.claim, src)
	if err != nil {
		return bench.Place{}, fmt.Errorf("target %s: mount %s: %w", c.name, pv.Name, err)
	}
	facts := map[string]string{"class": c.class, "provisioner": class.Provisioner, "handle": source.VolumeHandle, "size": c.size.String()}
	parameters := maps.Clone(class.Parameters)
	bench.HideSecrets(parameters)
	for key, value := range parameters {
		facts["parameter "+key] = value
	}
	return bench.Place{Dir: dir, Facts: facts}, nil
}

func (c *Claim) make(ctx context.Context) error {
	c.made = true // from now on it may be there
	_, err := c.o.Client.CoreV1().PersistentVolumeClaims(c.o.Namespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: c.claim, Namespace: c.o.Namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			StorageClassName: &c.class,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(int64(c.size), resource.BinarySI)},
			},
		},
	}, metav1.CreateOptions{})
	return err
}

// bound waits for the claim's volume.
func (c *Claim) bound(ctx context.Context) (*corev1.PersistentVolume, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, boundWithin, fmt.Errorf("it was not bound within %s: kubectl describe pvc says why", boundWithin))
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, c.o.Poll, true, func(ctx context.Context) (bool, error) {
		pvc, err := c.o.Client.CoreV1().PersistentVolumeClaims(c.o.Namespace).Get(ctx, c.claim, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if pvc.Status.Phase == corev1.ClaimBound {
			c.volume = pvc.Spec.VolumeName
		}
		return c.volume != "", nil
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	return c.o.Client.CoreV1().PersistentVolumes().Get(ctx, c.volume, metav1.GetOptions{})
}

// Close unmounts the volume, deletes the claim, and waits until the volume is gone.
func (c *Claim) Close(ctx context.Context) error {
	if !c.made {
		return nil
	}
	if err := c.o.Mounts.Unmount(ctx, c.claim); err != nil {
		return err // a volume that is mounted still must not be pulled away
	}
	claims := c.o.Client.CoreV1().PersistentVolumeClaims(c.o.Namespace)
	if pvc, err := claims.Get(ctx, c.claim, metav1.GetOptions{}); err == nil && c.volume == "" {
		c.volume = pvc.Spec.VolumeName // an interrupted Open did not wait for it
	}
	if err := claims.Delete(ctx, c.claim, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete claim %s/%s: %w", c.o.Namespace, c.claim, err)
	}
	if err := c.gone(ctx); err != nil {
		return fmt.Errorf("PersistentVolume %s of claim %s/%s: %w", c.volume, c.o.Namespace, c.claim, err)
	}
	c.made = false
	return nil
}

// gone waits until the volume is gone, where its class has volumes go.
func (c *Claim) gone(ctx context.Context) error {
	if c.volume == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, boundWithin, errors.New("it is still there"))
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, c.o.Poll, true, func(ctx context.Context) (bool, error) {
		pv, err := c.o.Client.CoreV1().PersistentVolumes().Get(ctx, c.volume, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err == nil && pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			return false, fmt.Errorf("its class keeps it (reclaimPolicy %s): delete it by hand", pv.Spec.PersistentVolumeReclaimPolicy)
		}
		return false, err
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}
