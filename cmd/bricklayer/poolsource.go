package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"

	"bricklayer.csi/api/client/informers"
	informersv1alpha1 "bricklayer.csi/api/client/informers/api/v1alpha1"
	"bricklayer.csi/api/client/versioned"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/operator"
	"bricklayer.csi/internal/pool"
	"bricklayer.csi/internal/poolmetrics"
	"bricklayer.csi/internal/volume"
)

// Where a controller's pools come from.
const (
	fromFile = "file"
	fromAPI  = "api"
)

// sourceOptions say where pools come from.
type sourceOptions struct{ from string }

// AddFlags adds the flags.
func (o *sourceOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.from, "pools-from", fromFile, "file: pools are read from --pools; api: they are the StoragePool objects of the Kubernetes cluster, whose status is kept by the controller that holds the lease")
}

// Validate checks the flags.
func (o *sourceOptions) Validate(kube *kubeOptions) error {
	switch {
	case o.from != fromFile && o.from != fromAPI:
		return volume.NewFieldError("--pools-from", o.from, fromFile+" or "+fromAPI)
	case o.from == fromAPI && !kube.enabled():
		return usagef("--pools-from=api needs --kubernetes or --kubeconfig")
	}
	return nil
}

// poolSource gives the pools and follows their changes.
type poolSource interface {
	Subscribe(tell func([]v1alpha1.StoragePool)) (cancel func())
	Run(ctx context.Context) error
}

// storagePools are those of an API server; nil where pools come from files.
type storagePools struct {
	client   versioned.Interface
	informer informersv1alpha1.StoragePoolInformer
}

// open returns the source of the pools, and the API server's where it is that.
func (o *controllerOptions) open(ctx context.Context, env environment, log *slog.Logger) (poolSource, *storagePools, error) {
	if o.source.from == fromFile {
		files, err := pool.Open(o.pools.pools, log)
		return files, nil, err
	}
	client := env.storagePools
	if client == nil {
		config, err := o.kube.config()
		if err != nil {
			return nil, nil, err
		}
		// A custom resource has no form but JSON.
		config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
		if client, err = versioned.NewForConfig(config); err != nil {
			return nil, nil, fmt.Errorf("reach the StoragePools of Kubernetes: %w", err)
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	objects := &storagePools{client: client, informer: factory.Bricklayer().V1alpha1().StoragePools()}
	objects.informer.Informer() // so that the factory starts it
	factory.Start(ctx.Done())
	source, err := pool.Follow(ctx, objects.informer, log)
	return source, objects, err
}

// look looks after the StoragePools of an API server until ctx ends.
func (s *storagePools) look(ctx context.Context, events kubernetes.Interface, served *pools, metrics *poolmetrics.Collector, log *slog.Logger) {
	defer metrics.Clear() // another controller looks then
	operator.New(operator.Options{
		Client: s.client.BricklayerV1alpha1().StoragePools(), Informer: s.informer,
		Members: served.members, Events: operator.Recorder(ctx, events, "bricklayer"), Log: log,
		Seen: metrics.Seen, Gone: metrics.Gone,
	}).Run(ctx)
}

// members returns what serves a pool.
func (p *pools) members(name string) (operator.Members, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.served[name]
	if !ok {
		return operator.Members{}, false
	}
	m := operator.Members{Agents: map[string]operator.Agent{}, Err: s.err, HeketiErr: s.heketiErr, Guards: map[volume.BackendName]guard.State{}}
	for backend, g := range s.guards() {
		m.Guards[backend] = g.State()
	}
	if s.plain != nil {
		for _, n := range s.plain.Nodes {
			m.Agents[n.Name] = n.Agent
		}
		m.CertificateExpires, _ = s.agents.CertificateExpires() // upkeep says why newer files are not in use
	}
	if s.heketi != nil {
		m.Heketi = s.heketi
	}
	return m, true
}

// leaving is the backend of a pool that is being deleted: it makes no volumes.
type leaving struct{ volume.Backend }

// Create refuses.
func (l leaving) Create(_ context.Context, spec volume.Spec) (volume.Volume, error) {
	return volume.Volume{}, &volume.Error{
		Kind: volume.Precondition, Op: "create volume", On: "pool " + spec.Handle().Pool,
		Err: errLeaving, Next: "use another pool, or wait until it is gone and make it anew",
	}
}

// secretKey is heketi's key in a Secret.
type secretKey struct {
	secrets heketi.Secrets
	at      v1alpha1.SecretKey
}

// Key implements heketi.KeySource.
func (s secretKey) Key(ctx context.Context) (volume.Secret, error) {
	on := fmt.Sprintf("Secret %s/%s", s.at.Namespace, s.at.Name)
	if s.secrets == nil {
		return "", &volume.Error{
			Kind: volume.Precondition, Op: "read heketi's key", On: on, Err: errNoSecrets,
			Next: "use keyFile in the pool, or --kubernetes",
		}
	}
	values, err := s.secrets.Secret(ctx, s.at.Namespace, s.at.Name)
	if err != nil {
		return "", err
	}
	if key := values[s.at.Key]; key != "" {
		return key, nil
	}
	return "", &volume.Error{
		Kind: volume.Precondition, Op: "read heketi's key", On: on, Err: fmt.Errorf("it has no value %q", s.at.Key),
		Next: "its keys are " + list(slices.Sorted(maps.Keys(values))),
	}
}

var (
	errLeaving   = errors.New("the pool is being deleted")
	errNoSecrets = errors.New("there is no Kubernetes to read Secrets from")
)

// offered returns a backend of the pool as callers may use it.
func (s *servedPool) offered(b volume.Backend) volume.Backend {
	if s.resource.DeletionTimestamp != nil {
		return leaving{b}
	}
	return b
}
