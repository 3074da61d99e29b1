package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/volume"
	"bricklayer.csi/provisioner"
)

// kubeOptions say whether, where and how to provision for Kubernetes.
type kubeOptions struct {
	on             bool
	kubeconfig     string
	leaderElection bool
	leaseNamespace string
	leaseName      string
	workers        int
	expand         bool
	capacity       bool
	capacityOwner  string
}

// AddFlags adds the flags.
func (o *kubeOptions) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.on, "kubernetes", false, "provision for the Kubernetes cluster that this runs in: no csi-provisioner is needed then, and none may run beside it")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "provision for the Kubernetes cluster of this kubeconfig file, from outside of it")
	fs.BoolVar(&o.leaderElection, "leader-election", true, "with Kubernetes: provision only while this controller holds the lease; every controller serves CSI")
	fs.StringVar(&o.leaseNamespace, "lease-namespace", "", "the namespace of the lease; the pod's own where it is left out (environment: POD_NAMESPACE)")
	fs.StringVar(&o.leaseName, "lease-name", "", "the name of the lease; the driver's name where it is left out")
	fs.IntVar(&o.workers, "workers", provisioner.DefaultWorkers, "with Kubernetes: how many claims, and how many volumes to delete, are worked on at once; the pools' maxOperations bound what they do")
	fs.BoolVar(&o.expand, "expand", true, "with Kubernetes: grow volumes when their claims ask for more; --expand=false leaves that to csi-resizer")
	fs.BoolVar(&o.capacity, "publish-capacity", false, "with Kubernetes: publish the capacity of classes that wait for their first consumer, as CSIStorageCapacity objects in the lease's namespace, for a CSIDriver with storageCapacity true")
	fs.StringVar(&o.capacityOwner, "capacity-owner", "", "with --publish-capacity: the Deployment in that namespace with which these objects go; they stay where it is left out")
}

// maxWorkers is more than any pool can use.
const maxWorkers = 1000

// Validate checks the flags.
func (o *kubeOptions) Validate() error {
	if o.workers < 1 || o.workers > maxWorkers {
		return volume.NewFieldError("--workers", strconv.Itoa(o.workers), fmt.Sprintf("1 to %d", maxWorkers))
	}
	return nil
}

func (o *kubeOptions) enabled() bool { return o.on || o.kubeconfig != "" }

// What a controller may ask of the API server. Its own flow control does the
// rest: client-go's defaults would make a storm of claims wait for us.
const (
	apiQPS   = 100
	apiBurst = 200
)

// client returns a client of the API server, or nil without Kubernetes.
func (o *kubeOptions) client(env environment) (kubernetes.Interface, error) {
	if !o.enabled() {
		return nil, nil
	}
	if env.kubernetes != nil {
		return env.kubernetes, nil
	}
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return kubernetes.NewForConfig(config)
}

// config returns how the API server is reached.
func (o *kubeOptions) config() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if o.kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	}
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, usagef("--kubernetes: this process runs in no pod: give --kubeconfig instead")
	}
	if err != nil {
		return nil, usagef("cannot reach Kubernetes: %w", err)
	}
	config.UserAgent = "bricklayer/" + version
	config.QPS, config.Burst = apiQPS, apiBurst
	return config, nil
}

// libraryLog sends what Kubernetes' libraries log to ours; they have one logger a process.
var libraryLog sync.Once

// provision runs the provisioner while this controller leads, and what else is
// for one controller alone, until ctx ends.
func (o *kubeOptions) provision(ctx context.Context, env environment, client kubernetes.Interface, driver string, volumes provisioner.Volumes, registry prometheus.Registerer, log *slog.Logger, beside ...func(context.Context)) error {
	libraryLog.Do(func() { klog.SetSlogLogger(slog.New(provisioner.Quiet{Handler: log.Handler()})) })
	options := provisioner.Options{
		Client: client, Volumes: withVolumeID{volumes}, Driver: driver,
		Workers: o.workers, Expand: o.expand, Metrics: registry, Log: log,
	}
	if o.capacity {
		options.Capacity = provisioner.CapacityOptions{Namespace: o.namespace(env), Owner: o.capacityOwner}
	}
	p, err := provisioner.New(options)
	if err != nil {
		return err
	}
	work := together(append(beside, p.Run))
	if !o.leaderElection {
		work(ctx)
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host's name for the lease: %w", err)
	}
	lease := provisioner.Lease{
		Client: client, Namespace: o.namespace(env), Name: o.leaseName,
		Identity: host + "_" + string(uuid.NewUUID()), Log: log,
	}
	if lease.Name == "" {
		lease.Name = driver
	}
	return lease.Lead(ctx, work)
}

// together runs all of it at once and returns when all have returned.
func together(all []func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, run := range all {
			running.Go(func() { run(ctx) })
		}
		running.Wait()
	}
}

// namespaceFile tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// namespace returns that of the lease.
func (o *kubeOptions) namespace(env environment) string {
	if o.leaseNamespace != "" {
		return o.leaseNamespace
	}
	otherwise := "default"
	if text, err := os.ReadFile(namespaceFile); err == nil && o.kubeconfig == "" {
		otherwise = strings.TrimSpace(string(text))
	}
	return env.orElse("POD_NAMESPACE", otherwise)
}

// withVolumeID has agents log the name of the volume that they work for, where
// no CSI request has an ID.
type withVolumeID struct{ provisioner.Volumes }

func (w withVolumeID) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	return w.Volumes.Create(agent.WithRequestID(ctx, spec.Handle().Name), spec)
}

func (w withVolumeID) Expand(ctx context.Context, h volume.Handle, size volume.SizeRange) (volume.Volume, error) {
	return w.Volumes.Expand(agent.WithRequestID(ctx, h.Name), h, size)
}

func (w withVolumeID) Delete(ctx context.Context, h volume.Handle) error {
	return w.Volumes.Delete(agent.WithRequestID(ctx, h.Name), h)
}
