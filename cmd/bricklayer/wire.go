package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"bricklayer.csi/agent"
	"bricklayer.csi/api/v1alpha1"
	"bricklayer.csi/internal/guard"
	"bricklayer.csi/internal/heketi"
	"bricklayer.csi/internal/plain"
	"bricklayer.csi/internal/volume"
)

// agents reaches the agents of one pool.
type agents interface {
	// Node returns the client of one agent; the same target gives the same client.
	Node(t agent.Target) (agent.Node, error)
	// Keep closes the clients of all other targets.
	Keep(targets []agent.Target) error
	// CertificateExpires returns when the controller's certificate ends, and why
	// newer files are not in use if they are not.
	CertificateExpires() (time.Time, error)
	// Close closes them all.
	Close() error
}

// dialer is agents over the network.
type dialer struct{ *agent.Dialer }

func (d dialer) Node(t agent.Target) (agent.Node, error) { return d.Dialer.Node(t) }

// dial returns the agents of a pool, reached with the certificate of the options.
func (o *poolsOptions) dial(pool string) (agents, error) {
	d, err := agent.NewDialer(agent.DialOptions{Pool: pool, TLS: o.tls(pool)})
	if err != nil {
		return nil, err
	}
	return dialer{d}, nil
}

// pools turns pool resources into backends, and implements lifecycle.Pools. It
// is safe for concurrent use.
type pools struct {
	dial func(pool string) (agents, error)
	log  *slog.Logger
	// secrets reads the Secrets that classes name; nil where there is no Kubernetes.
	secrets heketi.Secrets
	// mayBeNone is true where pools may come later: having none is being ready.
	mayBeNone bool
	// changed wakes upkeep.
	changed chan struct{}

	mu     sync.Mutex
	served map[string]*servedPool
}

// servedPool is a pool with what serves it.
type servedPool struct {
	resource v1alpha1.StoragePool
	agents   agents
	// plain is nil where the pool has no nodes, or for the reason in err.
	plain *plain.Backend
	// heketi is nil where the pool names none, or for the reason in heketiErr.
	heketi *heketi.Backend
	// err and heketiErr are why there is no backend.
	err, heketiErr error
}

func newPools(dial func(pool string) (agents, error), log *slog.Logger) *pools {
	return &pools{dial: dial, log: log, changed: make(chan struct{}, 1), served: map[string]*servedPool{}}
}

// set puts these pools in the place of the former ones. A pool that did not
// change keeps its backend, and an agent that stays in its pool its connection.
// Calls in progress on what went away end as Unavailable and are repeated.
func (p *pools) set(resources []v1alpha1.StoragePool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := maps.Clone(p.served)
	for _, r := range resources {
		s := p.served[r.Name]
		delete(gone, r.Name)
		if s != nil && s.err == nil && s.heketiErr == nil && reflect.DeepEqual(s.resource, r) {
			continue
		}
		if s == nil {
			s = &servedPool{}
			p.served[r.Name] = s
		}
		s.resource = r
		p.build(s)
	}
	for name, s := range gone {
		delete(p.served, name)
		s.close()
	}
	select {
	case p.changed <- struct{}{}:
	default: // it is to wake already
	}
}

// build makes the backends of a pool, or keeps what hindered it.
func (p *pools) build(s *servedPool) {
	s.plain, s.err = p.buildPlain(s)
	s.heketi, s.heketiErr = p.buildHeketi(s)
}

func (p *pools) buildPlain(s *servedPool) (_ *plain.Backend, err error) {
	spec := s.resource.Spec
	if len(spec.Nodes) == 0 {
		s.close()
		s.agents = nil
		return nil, nil // it has a heketi instead
	}
	if s.agents == nil {
		if s.agents, err = p.dial(s.resource.Name); err != nil {
			s.agents = nil
			return nil, err
		}
	}
	config := plain.Config{
		Pool: s.resource.Name, ClientNetworks: spec.ClientNetworks,
		BrickMultiplex: spec.BrickMultiplex, Guard: guard.SettingsOf(&spec),
	}
	targets := make([]agent.Target, 0, len(spec.Nodes))
	for _, n := range spec.Nodes {
		target := agent.Target{Node: n.Name, Address: n.Agent}
		client, err := s.agents.Node(target)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
		node := plain.Node{Name: n.Name, Address: n.Address, Zone: n.Zone, Agent: client}
		for _, r := range n.Roots {
			node.Roots = append(node.Roots, r.Name)
		}
		config.Nodes = append(config.Nodes, node)
	}
	_ = s.agents.Keep(targets) // only closes; what is not used any more cannot fail anybody
	return plain.New(config, p.log.With("pool", s.resource.Name)), nil
}

func (p *pools) buildHeketi(s *servedPool) (*heketi.Backend, error) {
	at := s.resource.Spec.Heketi
	if at == nil {
		return nil, nil
	}
	config := heketi.Config{
		Pool: s.resource.Name, URL: at.URL, User: at.User, CAFile: at.CAFile, ServerName: at.ServerName,
		ClusterIDs: at.ClusterIDs, MaxInFlight: at.MaxInFlight, Guard: guard.SettingsOf(&s.resource.Spec), ClientNetworks: s.resource.Spec.ClientNetworks,
		Secrets: p.secrets,
	}
	switch {
	case at.KeyFile != "":
		config.Key = heketi.FileKey(at.KeyFile)
	case at.KeySecret != nil:
		config.Key = secretKey{secrets: p.secrets, at: *at.KeySecret}
	}
	if s.plain != nil {
		var nodes heketi.AnyOf
		for _, n := range s.plain.Nodes {
			nodes = append(nodes, n.Agent)
		}
		config.Gluster = nodes
	}
	return heketi.New(config, p.log)
}

// Names returns the names of all pools, sorted.
func (p *pools) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.served))
}

// Heketi returns the name of the pool whose heketi has that address.
func (p *pools) Heketi(url string) (pool string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.served)) {
		if at := p.served[name].resource.Spec.Heketi; at != nil && strings.TrimSuffix(at.URL, "/") == url {
			return name, true
		}
	}
	return "", false
}

// Defaults returns the parameters that a class of that pool may leave out.
func (p *pools) Defaults(pool string) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.served[pool]; ok {
		return s.resource.Spec.Defaults
	}
	return nil
}

// Backend returns a pool's backend of that name.
func (p *pools) Backend(pool string, name volume.BackendName) (volume.Backend, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.served[pool]
	if !ok {
		return nil, &volume.Error{
			Kind: volume.NotFound, Op: "find pool", On: "pool " + pool,
			Err:  errors.New("it is not configured"),
			Next: "the pools are " + list(slices.Sorted(maps.Keys(p.served))),
		}
	}
	if s.err != nil || s.heketiErr != nil {
		p.build(s) // a certificate may have come since
	}
	switch {
	case name == volume.Plain && s.plain != nil:
		return s.offered(s.plain), nil
	case name == volume.Heketi && s.heketi != nil:
		return s.offered(s.heketi), nil
	case name == volume.Plain && s.err != nil:
		// Not Precondition, which says that a pool has no such backend at all.
		return nil, &volume.Error{Kind: volume.Unavailable, Op: "reach agents", On: "pool " + pool, Err: s.err}
	case name == volume.Heketi && s.heketiErr != nil:
		return nil, &volume.Error{Kind: volume.Unavailable, Op: "reach heketi", On: "pool " + pool, Err: s.heketiErr}
	}
	e := &volume.Error{Kind: volume.Precondition, Op: "find backend", On: "pool " + pool}
	if name == volume.Plain {
		e.Err, e.Next = errors.New("it has no storage nodes of its own"), `use lvm: "true", or a pool with nodes`
	} else {
		e.Err, e.Next = errors.New("it names no heketi"), `use lvm: "false", or a pool that names a heketi`
	}
	return nil, e
}

// snapshot returns what is served now.
func (p *pools) snapshot() map[string]servedPool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]servedPool, len(p.served))
	for name, s := range p.served {
		all[name] = *s
	}
	return all
}

// ready returns nil where at least one agent of each pool answers.
func (p *pools) ready(ctx context.Context) error {
	served := p.snapshot()
	if len(served) == 0 && !p.mayBeNone {
		return errors.New("no pool is configured")
	}
	answers := make(chan error, len(served))
	for _, s := range served {
		go func() { answers <- s.answers(ctx) }()
	}
	var errs []error
	for range served {
		errs = append(errs, <-answers)
	}
	return errors.Join(errs...)
}

// answers returns nil as soon as one agent of the pool has described itself.
func (s servedPool) answers(ctx context.Context) error {
	if s.err != nil {
		return fmt.Errorf("pool %s: %w", s.resource.Name, s.err)
	}
	if s.plain == nil {
		return nil // no agents serve it
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the others need not answer any more
	described := make(chan error, len(s.plain.Nodes))
	for _, n := range s.plain.Nodes {
		go func() {
			_, err := n.Agent.Describe(ctx)
			described <- err
		}()
	}
	var errs []error
	for range s.plain.Nodes {
		err := <-described
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("no agent of pool %s answers: %w", s.resource.Name, errors.Join(errs...))
}

// close ends all connections.
func (p *pools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, s := range p.served {
		delete(p.served, name)
		s.close()
	}
}

func (s servedPool) close() {
	if s.agents != nil {
		_ = s.agents.Close() // nothing is sent at a close that could be lost
	}
}
